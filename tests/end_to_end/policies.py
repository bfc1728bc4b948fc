"""A policy of the tests' own, named to the server as `package.module:Class` like any user's."""

from __future__ import annotations

from sfumato.core.policy import Plan
from sfumato.core.values import Chunk, Job, Rank
from sfumato.core.view import View


class Wander:
    """Who has priority runs each stage through at its home; all others go one unit at a time, elsewhere if possible.

    The fewest launches go first, so that with more requests than ranks everybody is paused after every unit;
    of those with equally many, who would have to move.
    """

    name = "wander"
    work_conserving = True

    def plan(self, view: View) -> Plan:
        free, launches = list(view.free), []
        here = set(view.free)

        def turn(job: Job) -> tuple[int, int, bool]:
            return -job.request.priority, job.launches, bool(here.intersection(job.home or ()))

        for job in sorted(view.ready(), key=turn):
            rank = self._rank(view, job, free)
            if rank is not None:
                free.remove(rank)
                units = view.units_left(job) if job.request.priority else 1
                launches.append(Chunk(jobs=(job.id,), stage=job.stage, units=units, group=(rank,)))
        return Plan(launches=tuple(launches))

    def _rank(self, view: View, job: Job, free: list[Rank]) -> Rank | None:
        able = [rank for rank in free if view.can_run(job, rank)]
        at_home = [rank for rank in able if rank in (job.home or ())]
        away = [rank for rank in able if rank not in at_home]
        best = at_home + away if job.request.priority else away + at_home
        return best[0] if best else None
