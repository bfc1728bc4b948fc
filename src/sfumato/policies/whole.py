"""Launching whole stages in a given order: what systems do that cannot pause a request.

A job gets the width asked for, or the largest below it that its stage allows and that its ranks can ever make up; its
own ranks first (no move), then the lowest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from sfumato.core.values import Chunk, Group, Job, Rank
from sfumato.core.view import View

Degree = Callable[[Job], int]


def usable(view: View) -> Group:
    """The ranks that are free or at work, sorted: all but those that are drained and will not be given out again."""
    busy = (rank for running in view.running.values() for rank in running.chunk.group)
    return tuple(sorted({*view.free, *busy}))


def whole_stages(
    view: View, jobs: Iterable[Job], ranks: Sequence[Rank], degree: Degree, *, overtake: bool
) -> list[Chunk]:
    """A chunk for each of `jobs` in turn on the free ones of `ranks`.

    Who has to wait for ranks is overtaken, or blocks; who has no place at all (weights, memory) never blocks.
    """
    free = [rank for rank in view.free if rank in ranks]
    launches: list[Chunk] = []
    for job in jobs:
        if not free:
            break
        width = width_of(view, job, ranks, degree(job))
        group = group_of(view, job, free, width)
        if group is not None:
            launches.append(Chunk(jobs=(job.id,), stage=job.stage, units=view.units_left(job), group=group))
            free = [rank for rank in free if rank not in group]
        elif not overtake and _waits(view, job, ranks, free, width):
            break
    return launches


def width_of(view: View, job: Job, ranks: Sequence[Rank], wanted: int) -> int:
    """The largest degree of the job's stage that is not above `wanted` nor above the ranks that can run it."""
    degrees = view.models[job.request.model].stage(job.stage).degrees
    most = min(wanted, sum(view.can_run(job, rank) for rank in ranks))
    return max((degree for degree in degrees if degree <= most), default=min(degrees))


def group_of(view: View, job: Job, free: Sequence[Rank], width: int) -> Group | None:
    """`width` of the free ranks, by memory where the first choice has too little; None: too few, or too full."""
    home = job.home or ()
    able = [rank for rank in free if view.can_run(job, rank)]
    if len(able) < width:
        return None
    near = sorted(able, key=lambda rank: (rank not in home, rank))
    empty = sorted(able, key=lambda rank: (-view.spare_bytes(rank), rank))
    for order in (near, empty):
        group = tuple(sorted(order[:width]))
        if view.fits(Chunk(jobs=(job.id,), stage=job.stage, units=1, group=group)):
            return group
    return None


def _waits(view: View, job: Job, ranks: Sequence[Rank], free: Sequence[Rank], width: int) -> bool:
    """Whether there are ranks enough for a job, only not free."""
    able = [rank for rank in ranks if view.can_run(job, rank)]
    return len(able) >= width > sum(rank in free for rank in able)
