"""Which ranks a job gets where a policy has no opinion: its own if they are free, else the lowest that can run it."""

from __future__ import annotations

from collections.abc import Sequence

from sfumato.core.values import Chunk, Group, Job, Rank
from sfumato.core.view import View


def group_for(view: View, job: Job, free: Sequence[Rank], degree: int) -> Group | None:
    """A group of `degree` of the free ranks, or of the largest degree below that the stage allows.

    None: too few of them, or too little memory on them.
    """
    degrees = view.models[job.request.model].stage(job.stage).degrees
    width = max((d for d in degrees if d <= degree), default=degrees[0])
    able = [rank for rank in free if view.can_run(job, rank)]
    home = job.home or ()
    at_home = len(home) == width and all(rank in able for rank in home)
    group = home if at_home else tuple(able[:width])
    if len(group) < width or not view.fits(Chunk(jobs=(job.id,), stage=job.stage, units=1, group=group)):
        return None
    return group
