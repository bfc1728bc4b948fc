"""Images: which share a chunk, and how many of them some ranks can still deliver in time.

GenServe's dynamic batching: images of one resolution share a chunk only if every member still makes its deadline at
the batch's speed to its end. Each batch takes one slot of the narrowest degree (one GPU) and runs through.
"""

from __future__ import annotations

from collections.abc import Sequence
from heapq import heapify, heapreplace

from sfumato.core.values import Value
from sfumato.core.view import View
from sfumato.policies.genserve.candidates import alive, slack_s
from sfumato.policies.pace import Standing

PAYS = 0.95  # a batch takes at most this share of the time that its members take apart
FORESEEN = 64  # images, by deadline, that the knapsack counts; more cannot start within a round


class Batch(Value, frozen=True, kw_only=True):
    """Images that run together for `seconds`; the first is the most urgent."""

    members: tuple[Standing, ...]
    seconds: float


def batches(view: View, images: Sequence[Standing], share: bool) -> list[Batch]:
    """The images in order of deadline, each alone or with later ones of its kind."""
    left = sorted(images, key=lambda s: (s.deadline, -s.job.request.priority, s.job.request.arrived_at, s.job.id))
    result = []
    while left:
        batch = _led_by(view, left[0], left[1:] if share else ())
        left = [s for s in left if s not in batch.members]
        result.append(batch)
    return result


def delivered(queue: Sequence[Batch], ranks: int, now: float, round_s: float) -> list[float]:
    """For 0 to `ranks` slots, what the images count: those in time one after the other on them, and who can wait."""
    return [_count(queue, slots, now, round_s) for slots in range(ranks + 1)]


def _count(queue: Sequence[Batch], slots: int, now: float, round_s: float) -> float:
    free_at = [now] * slots
    heapify(free_at)
    count, seen = 0.0, 0
    for batch in queue:
        seen += len(batch.members)
        if seen > FORESEEN:
            break
        ends_at = free_at[0] + batch.seconds if slots else 0.0
        met = [slots > 0 and ends_at + s.ends_s <= s.deadline + 1e-9 for s in batch.members]
        if any(met):
            heapreplace(free_at, ends_at)
        for s, in_time in zip(batch.members, met, strict=True):
            count += 1.0 if in_time else alive(slack_s(s, s.pace.steps[0][0]) - round_s, round_s)
    return count


def _led_by(view: View, lead: Standing, others: Sequence[Standing]) -> Batch:
    job, narrow = lead.job, lead.pace.steps[0][0]
    members, step_s = [lead], lead.pace.step_s(narrow)
    most = view.models[job.request.model].diffuse.max_batch
    for other in others:
        if len(members) >= most:
            break
        if not _alike(lead, other):
            continue
        together_s = view.unit_s(job, degree=narrow, batch=len(members) + 1)
        if together_s > PAYS * (len(members) + 1) * lead.pace.step_s(narrow):
            break
        if all(m.steps * together_s <= m.time_s for m in (*members, other)):
            members.append(other)
            step_s = together_s
    steps = min(m.steps for m in members)
    return Batch(members=tuple(members), seconds=steps * step_s + lead.pace.start_s)


def _alike(one: Standing, other: Standing) -> bool:
    a, b = one.job, other.job
    return a.request.model == b.request.model and a.request.guided == b.request.guided and a.shape == b.shape
