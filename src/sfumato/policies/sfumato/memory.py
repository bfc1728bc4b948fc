"""Which ranks have the memory for a job: whoever has begun must be able to go on where it is.

A job that holds memory on a rank runs there if its next chunk fits. Another begins there only if, beside what it will
hold, the largest chunk that is still ahead of it or of anyone with memory there fits: chunks of a rank come one at a
time, so the largest is enough, and paused work never locks the pool.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf

from sfumato.core.cost import Work
from sfumato.core.values import STAGES, Group, Job, Rank, Shape, Stage
from sfumato.core.view import View

_KINDS = 10_000  # that are remembered

Kind = tuple[str, Stage, Shape, bool, int, str]


class Bytes:
    """What the cost model says that a kind of request takes; it never changes, so it is asked once."""

    def __init__(self) -> None:
        self._ahead: dict[Kind, int] = {}

    def ahead(self, view: View, job: Job, degree: int, device: str) -> int:
        """The largest chunk from the job's stage on, with steps at `degree`."""
        kind = (job.request.model, job.stage, job.shape, job.request.guided, degree, device)
        known = self._ahead.get(kind)
        if known is None:
            if len(self._ahead) >= _KINDS:
                self._ahead.clear()
            stages = STAGES[STAGES.index(job.stage) :]
            known = self._ahead[kind] = max(self.chunk(view, job, stage, degree, device) for stage in stages)
        return known

    def chunk(self, view: View, job: Job, stage: Stage, degree: int, device: str) -> int:
        """A chunk of `stage`; at its narrowest where the stage is not what the degree is for."""
        degrees = view.models[job.request.model].stage(stage).degrees
        wide = stage is Stage.DIFFUSE or stage is job.stage
        work = Work(
            model=job.request.model,
            stage=stage,
            shapes=(job.shape,),
            degree=degree if wide and degree in degrees else min(degrees),
            guided=job.request.guided,
            device=device,
        )
        return view.costs.peak_bytes(work)


class Memory:
    """The free ranks' memory at one instant; `kinds` has a job of every kind that is live."""

    def __init__(self, view: View, kinds: Iterable[Job], sizes: Bytes, *, one_device: bool) -> None:
        self._view, self._bytes = view, sizes
        self._spare = {rank: view.spare_bytes(rank) for rank in view.free}
        self._taken: dict[Rank, int] | None = None
        largest = max((self._held(job) + sizes.ahead(view, job, 1, view.device) for job in kinds), default=0)
        self._most = largest if one_device else inf  # that any one job takes on any rank
        self.ample = min(self._spare.values(), default=0) >= 2 * self._most

    def fits(self, job: Job, degree: int, rank: Rank) -> bool:
        """Whether the job's next chunk may run on a free rank."""
        device = self._view.ranks[rank].device
        if rank in (job.home or ()):
            return self._bytes.chunk(self._view, job, job.stage, degree, device) <= self._spare[rank]
        ahead = max(self._bytes.ahead(self._view, job, degree, device), self._reserved(rank))
        return self._held(job) + ahead <= self._spare[rank]

    def takes(self, jobs: Sequence[Job], group: Group) -> bool:
        """Whether free ranks may hold all of these, who share a chunk, so that each can go on there."""
        for rank in group:
            fresh = [job for job in jobs if rank not in (job.home or ())]
            left = self._spare[rank] - sum(map(self._held, fresh))
            if fresh and left < self._most:
                device = self._view.ranks[rank].device
                ahead = [self._bytes.ahead(self._view, job, len(group), device) for job in fresh]
                if left < max(self._reserved(rank), *ahead):
                    return False
        return True

    def _reserved(self, rank: Rank) -> int:
        """The largest chunk that a job with memory on the rank still has ahead."""
        if self._taken is None:
            self._taken = {}
            for job in self._view.jobs:
                for held in job.home or ():
                    device = self._view.ranks[held].device
                    ahead = self._bytes.ahead(self._view, job, len(job.home or ()), device)
                    self._taken[held] = max(self._taken.get(held, 0), ahead)
        return self._taken.get(rank, 0)

    def _held(self, job: Job) -> int:
        return self._view.costs.held_bytes(job, self._view.models[job.request.model])
