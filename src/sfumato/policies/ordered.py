"""Classic orders, preemptive at step boundaries: earliest deadline first, and shortest remaining time first.

All keep every chunk to about `quantum_s`, so that whoever should go first takes over at the next boundary, and run at
a fixed degree. The first jobs in order get the free ranks; each goes to its home where that is free (no move), else to
the lowest free ranks that can run it. Best-effort requests come last under `edf`.

`srtf_stages` is the sixth baseline of TridentServe (arXiv 2510.02838), "dynamic stage-level SRTF", of which no more is
published. Decided here: the work left of the stage that a job is in orders the jobs; a stage runs at the largest
degree that keeps 0.8 of its speed-up a rank, the paper's filter, or at the largest below it that is free; and it is
paused as the others are, which serves more.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from math import inf

import msgspec

from sfumato.core.policy import Plan
from sfumato.core.values import Chunk, Group, Job, Rank
from sfumato.core.view import View
from sfumato.policies.groups import group_for


class Ordered:
    """Launches ready jobs in the order of `key`, in short chunks."""

    name = "ordered"
    work_conserving = True

    class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """`quantum_s`: length of a chunk, at least one unit. `degree`: ranks a job, or the largest below it allowed."""

        quantum_s: float = 0.1
        degree: int = 1

    def __init__(self, options: Options | None = None) -> None:
        self._options = options or self.Options()

    @abstractmethod
    def key(self, view: View, job: Job) -> tuple[float, ...]:
        """Who goes first: smaller is sooner. Ties go to the higher priority, then to the earlier arrival."""

    def degree(self, view: View, job: Job, free: Sequence[Rank]) -> int:  # noqa: ARG002 - the same for all
        """How many of the free ranks a job shall have."""
        return self._options.degree

    def plan(self, view: View) -> Plan:
        free = list(view.free)
        if not free:
            return Plan()
        launches = []
        for job in sorted(view.ready(), key=lambda job: (*self.key(view, job), -job.request.priority)):
            group = group_for(view, job, free, self.degree(view, job, free))
            if group is not None:
                launches.append(self._chunk(view, job, group))
                free = [rank for rank in free if rank not in group]
            if not free:
                break
        return Plan(launches=tuple(launches))

    def _chunk(self, view: View, job: Job, group: Group) -> Chunk:
        unit_s = view.unit_s(job, degree=len(group), rank=group[0])
        units = max(1, int(self._options.quantum_s / unit_s)) if unit_s > 0 else view.units_left(job)
        return Chunk(jobs=(job.id,), stage=job.stage, units=min(units, view.units_left(job)), group=group)


class EarliestDeadline(Ordered):
    """`edf`: the nearest deadline first."""

    name = "edf"

    def key(self, view: View, job: Job) -> tuple[float, ...]:  # noqa: ARG002 - the order is the deadline alone
        return (inf if job.request.deadline is None else job.request.deadline,)


class ShortestRemaining(Ordered):
    """`srtf`: the least work left first, over all the stages to come."""

    name = "srtf"

    def key(self, view: View, job: Job) -> tuple[float, ...]:
        return (sum(units * view.unit_s(job, stage) for stage, units in view.stages_left(job)),)


class ShortestStage(Ordered):
    """`srtf_stages`: the least work left in its stage first, at the degree that suits the stage."""

    name = "srtf_stages"

    def key(self, view: View, job: Job) -> tuple[float, ...]:
        return (view.units_left(job) * view.unit_s(job),)

    def degree(self, view: View, job: Job, free: Sequence[Rank]) -> int:
        degrees = sorted(view.models[job.request.model].stage(job.stage).degrees)
        able = sum(view.can_run(job, rank) for rank in free)
        least, alone_s = degrees[0], view.unit_s(job, degree=degrees[0])
        suited = [k for k in degrees if k <= able and least * alone_s >= EFFICIENT * k * view.unit_s(job, degree=k)]
        return max(suited, default=least)


EFFICIENT = 0.8
