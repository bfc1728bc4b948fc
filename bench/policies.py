"""A policy for `bench.pauses`: how a request is cut into chunks is written on it."""

from __future__ import annotations

from sfumato.core.policy import Plan
from sfumato.core.values import Chunk, Stage
from sfumato.core.view import View

WHOLE, PAUSED, MOVED = range(3)  # as the request's priority


class Stepwise:
    """WHOLE: all steps in one chunk. PAUSED: a chunk a step, on one rank. MOVED: a chunk a step, each on another rank.

    One request at a time; every other stage runs through at home.
    """

    name = "stepwise"
    work_conserving = True

    def plan(self, view: View) -> Plan:
        job = next(view.ready(), None)
        if job is None or len(view.free) < len(view.ranks):
            return Plan()
        mode = job.request.priority
        home = job.home[0] if job.home else view.free[0]
        away = next((rank for rank in view.free if rank != home and view.can_run(job, rank)), home)
        cut = job.stage is Stage.DIFFUSE and mode != WHOLE
        rank = away if cut and mode == MOVED else home
        units = 1 if cut else view.units_left(job)
        return Plan(launches=(Chunk(jobs=(job.id,), stage=job.stage, units=units, group=(rank,)),))
