"""First come, first served, at a fixed degree, each stage run to completion: what a plain server does.

A job keeps its ranks from its first stage to its last where it can. Deadlines are not looked at; nothing is paused or
batched. The first job in line that does not fit (too few free ranks, weights not there) blocks those behind it.
"""

from __future__ import annotations

import msgspec

from sfumato.core.policy import Plan
from sfumato.core.values import Chunk
from sfumato.core.view import View
from sfumato.policies.groups import group_for


class Fixed:
    """`fixed` in the table of policies."""

    name = "fixed"
    work_conserving = True

    class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """`degree`: ranks a job, where its stage allows it (else the largest degree below that it allows)."""

        degree: int = 1

    def __init__(self, options: Options | None = None) -> None:
        self._options = options or self.Options()

    def plan(self, view: View) -> Plan:
        free = list(view.free)
        launches: list[Chunk] = []
        if free:
            for job in view.ready():
                group = group_for(view, job, free, self._options.degree)
                if group is None:
                    break
                launches.append(Chunk(jobs=(job.id,), stage=job.stage, units=view.units_left(job), group=group))
                free = [rank for rank in free if rank not in group]
                if not free:
                    break
        return Plan(launches=tuple(launches))
