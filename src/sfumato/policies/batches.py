"""Step-level batches on ranks that work side by side: what `same_size`, `mixed` and `patchedserve` have in common.

A request belongs to one rank from its first chunk to its last (data parallel, without migration); a new one goes to the
rank that has the fewest, running and waiting, in order of arrival. That is worked out anew at every decision, so it is
only final once the request has begun. Where a stage cannot run on one rank, its group is that rank and the lowest
other free ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sfumato.core.values import Chunk, Group, Job, Rank, Stage
from sfumato.core.view import View
from sfumato.policies.whole import usable


def dispatched(view: View) -> dict[Rank, list[Job]]:
    """The jobs of every rank, in order of arrival, running ones included; in nobody's list: no rank can run it."""
    of: dict[Rank, list[Job]] = {rank: [] for rank in usable(view)}
    fresh = []
    for job in view.jobs:
        home = next((rank for rank in job.home or () if rank in of and view.can_run(job, rank)), None)
        if home is None:
            fresh.append(job)
        else:
            of[home].append(job)
    for job in fresh:
        able = [rank for rank in of if view.can_run(job, rank)]
        if able:
            of[min(able, key=lambda rank: (len(of[rank]), rank))].append(job)
    return {rank: sorted(jobs, key=lambda job: job.request.arrived_at) for rank, jobs in of.items()}


def alike(view: View, one: Job, other: Job, *, packed: bool) -> bool:
    """Whether two may share a chunk now: of unlike size only with `packed`, where the stage packs."""
    a, b = one.request, other.request
    if (a.model, a.guided, one.stage) != (b.model, b.guided, other.stage):
        return False
    return one.shape == other.shape or (packed and view.models[a.model].stage(one.stage).packs)


def filled(view: View, lead: Job, others: Iterable[Job], *, packed: bool) -> list[Job]:
    """`lead` and those of `others`, in their order, that the stage takes into its chunk."""
    most = view.models[lead.request.model].stage(lead.stage).max_batch
    members = [lead]
    for other in others:
        if len(members) == most:
            break
        if other is not lead and alike(view, lead, other, packed=packed):
            members.append(other)
    return members


def group_at(view: View, job: Job, rank: Rank, free: Sequence[Rank]) -> Group | None:
    """`rank`, and the lowest other free ones if the stage needs more; None: too few, or too full."""
    width = min(view.models[job.request.model].stage(job.stage).degrees)
    able = [other for other in free if other != rank and view.can_run(job, other)]
    group = tuple(sorted((rank, *able[: width - 1])))
    alone = Chunk(jobs=(job.id,), stage=job.stage, units=1, group=group)
    return group if len(group) == width and view.fits(alone) else None


def chunk_of(view: View, members: Sequence[Job], group: Group, quantum_s: float) -> Chunk:
    """A chunk of about `quantum_s` if it is steps, else of all units; who does not fit into memory is left out."""
    able = [job for job in members if all(view.can_run(job, rank) for rank in group)]
    while True:
        lead = able[0]
        most = min(view.units_left(job) for job in able)
        chunk = Chunk(jobs=tuple(job.id for job in able), stage=lead.stage, units=most, group=group)
        if len(able) == 1 or view.fits(chunk):
            break
        able.pop()
    if lead.stage is Stage.DIFFUSE:
        unit_s = view.costs.unit_s(view.work(chunk))
        units = min(most, max(1, int(quantum_s / unit_s))) if unit_s > 0 else most
        return Chunk(jobs=chunk.jobs, stage=chunk.stage, units=units, group=group)
    return chunk
