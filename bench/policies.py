"""A policy for `bench.pauses`: how a request is cut into chunks is written on it."""

from __future__ import annotations

from sfumato.core.policy import Plan
from sfumato.core.values import Chunk, Group, Job, Stage
from sfumato.core.view import View

WHOLE, PAUSED, MOVED, SPREAD, CHANGED = range(5)  # as the request's priority


class Stepwise:
    """WHOLE: all steps in one chunk. All others: a chunk a step.

    PAUSED: on one rank. MOVED: each on another rank than the last. SPREAD: on all ranks. CHANGED: on one rank and on
    all of them in turn. One request at a time; every other stage runs through at home.
    """

    name = "stepwise"
    work_conserving = True

    def plan(self, view: View) -> Plan:
        job = next(view.ready(), None)
        if job is None or len(view.free) < len(view.ranks):
            return Plan()
        cut = job.stage is Stage.DIFFUSE and job.request.priority != WHOLE
        group = self._group(view, job) if cut else (job.home or view.free)[:1]
        units = 1 if cut else view.units_left(job)
        return Plan(launches=(Chunk(jobs=(job.id,), stage=job.stage, units=units, group=tuple(group)),))

    def _group(self, view: View, job: Job) -> Group:
        home = job.home or (view.free[0],)
        mode = job.request.priority
        if mode == SPREAD or (mode == CHANGED and job.done % 2):
            return tuple(view.free)
        if mode == MOVED:
            return next((rank,) for rank in (*view.free, *home) if rank not in home)
        return home[:1]
