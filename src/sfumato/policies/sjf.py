"""`sjf`: shortest job first, at a fixed degree, nothing paused: who has begun runs to its end before anyone begins.

A baseline of GenServe (arXiv 2604.04335), which names no details. Decided here: a job's length is all its work left at
this degree, encode and decode included; ties go to the higher priority, then to the earlier arrival; one that too few
free ranks can run is overtaken.
"""

from __future__ import annotations

import msgspec

from sfumato.core.policy import Plan
from sfumato.core.values import Job, JobState
from sfumato.core.view import View
from sfumato.policies.whole import usable, whole_stages, width_of


class ShortestJob:
    """`sjf` in the table of policies."""

    name = "sjf"

    class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """`degree`: ranks a job, where its stage allows it (else the largest degree below that it allows)."""

        degree: int = 1

    def __init__(self, options: Options | None = None) -> None:
        self._degree = (options or self.Options()).degree
        self.work_conserving = self._degree == 1

    def plan(self, view: View) -> Plan:
        if not view.free:
            return Plan()
        order = sorted(view.ready(), key=lambda job: (*self._key(view, job), -job.request.priority))
        launches = whole_stages(view, order, usable(view), lambda _: self._degree, overtake=True)
        return Plan(launches=tuple(launches))

    def _key(self, view: View, job: Job) -> tuple[bool, float]:
        width = width_of(view, job, usable(view), self._degree)
        seconds = 0.0
        for stage, units in view.stages_left(job):
            allowed = view.models[job.request.model].stage(stage).degrees
            degree = max((d for d in allowed if d <= self._degree), default=min(allowed))
            seconds += units * view.unit_s(job, stage, degree=width if stage is job.stage else degree)
        return job.state is JobState.WAITING, seconds
