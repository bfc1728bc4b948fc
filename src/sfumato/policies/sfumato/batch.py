"""Who may share a chunk: requests of one kind whose steps cost less together than one by one.

A request joins only if every member with a deadline that can still be met meets it at the batch's speed to its end (a
looser test lost ten points of attainment in the prototype), and only while the profile says that it pays.
"""

from __future__ import annotations

from collections.abc import Iterable

from sfumato.core.values import Stage
from sfumato.core.view import View
from sfumato.policies.sfumato.outlook import Outlook

PAYS = 0.95  # a larger batch must take at most this share of the time that its members take apart


def batch_of(view: View, lead: Outlook, degree: int, others: Iterable[Outlook]) -> tuple[list[Outlook], float]:
    """(members, seconds a step) of the chunk that `lead` opens on `degree` ranks; `others` are tried in their order."""
    members, step_s = [lead], lead.step_s(degree)
    most = view.models[lead.job.request.model].diffuse.max_batch
    if lead.job.stage is not Stage.DIFFUSE or most == 1:
        return members, step_s
    for other in others:
        if len(members) == most:
            break
        if not _alike(lead, other):
            continue
        together_s = view.unit_s(lead.job, degree=degree, batch=len(members) + 1)
        if together_s > PAYS * (step_s + lead.step_s(degree)):
            break
        if all(_makes_it(o, together_s) for o in (*members, other)):
            members.append(other)
            step_s = together_s
    return members, step_s


def _alike(one: Outlook, other: Outlook) -> bool:
    a, b = one.job, other.job
    same = a.request.model == b.request.model and a.request.guided == b.request.guided
    return same and b.stage is Stage.DIFFUSE and a.shape == b.shape and a.done <= a.saved and b.done <= b.saved


def _makes_it(o: Outlook, step_s: float) -> bool:
    """Whether a request that could be on time stays on time at this step time to its end."""
    return o.hopeless or o.ready_at + o.steps * step_s + o.ends_s <= o.deadline
