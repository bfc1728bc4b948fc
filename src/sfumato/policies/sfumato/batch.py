"""Who may share a chunk: requests of one kind whose units cost less together than one by one, also of unlike sizes
where the model packs them.

A request joins only if every member with a deadline that can still be met meets it at the batch's speed to its end (a
looser test lost ten points of attainment in the prototype), and only while the profile says that it pays.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from sfumato.core.cost import Work
from sfumato.core.values import Group, Stage
from sfumato.core.view import View
from sfumato.policies.sfumato.outlook import Outlook

PAYS = 0.95  # a larger batch must take at most this share of the time that its members take apart
TRIED = 64  # requests that are looked at for one chunk


def batch_of(
    view: View, lead: Outlook, group: Group, part: int, others: Iterable[Outlook], cfg: int = 1
) -> tuple[list[Outlook], float]:
    """(members, seconds a unit) of the chunk that `lead` opens on `group`; `others` of its kind are tried in turn."""
    degree = len(group)
    members, unit_s = [lead], lead.step_s(degree, part)
    request, stage = lead.job.request, lead.job.stage
    spec = view.models[request.model].stage(stage)
    if lead.job.done > lead.job.saved:
        return members, unit_s
    alone = Work(
        model=request.model,
        stage=stage,
        shapes=(lead.job.shape,),
        degree=degree,
        guided=request.guided,
        device=view.ranks[group[0]].device,
        cfg=cfg,
    )
    slow = unit_s / view.costs.unit_s(alone) if unit_s else 1.0
    tried = 0
    for other in others:
        if len(members) == spec.max_batch or tried == TRIED:
            break
        if other.job.done > other.job.saved or not all(view.can_run(other.job, rank) for rank in group):
            continue
        tried += 1
        shapes = tuple(o.job.shape for o in (*members, other))
        together_s = slow * view.costs.unit_s(replace(alone, shapes=shapes))
        if together_s > PAYS * (unit_s + other.step_s(degree, part)):
            if not spec.packs:
                break
            continue
        if all(_makes_it(o, together_s, view.now) for o in (*members, other)):
            members.append(other)
            unit_s = together_s
    return members, unit_s


def _makes_it(o: Outlook, unit_s: float, now: float) -> bool:
    """Whether a request that could be on time stays on time at this speed to its end."""
    if o.hopeless:
        return True
    if o.job.stage is Stage.DIFFUSE:
        return now + o.steps * unit_s + o.ends_s <= o.deadline
    return now + unit_s - o.step_s(1) <= o.start_by
