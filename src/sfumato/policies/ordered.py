"""Two classic orders, preemptive at step boundaries: earliest deadline first, and shortest remaining time first.

Both keep every chunk to about `quantum_s`, so that whoever should go first takes over at the next boundary, and run at
a fixed degree. The first jobs in order get the free ranks; each goes to its home where that is free (no move), else to
the lowest free ranks that can run it. Best-effort requests come last under `edf`.
"""

from __future__ import annotations

from abc import abstractmethod
from math import inf

import msgspec

from sfumato.core.policy import Plan
from sfumato.core.values import Chunk, Group, Job
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

    def plan(self, view: View) -> Plan:
        free = list(view.free)
        if not free:
            return Plan()
        launches = []
        for job in sorted(view.ready(), key=lambda job: (*self.key(view, job), -job.request.priority)):
            group = group_for(view, job, free, self._options.degree)
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
