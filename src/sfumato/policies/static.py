"""`static`: a degree for each class of size, first come, first served, nothing paused: RSSP and RASP.

The baselines of TetriServe and GenServe: see `sizes` for their degrees. Decided here: the queue is one and strict, so
that a request that waits for a wide group blocks those behind it (TetriServe names head-of-line blocking as the fault
of fixed engines, but not its baselines' queue); encode and decode run at what their stage allows, mostly one rank, and
the others of the group serve whoever is next meanwhile; a pool too small for a degree takes the largest it can make.
"""

from __future__ import annotations

import msgspec

from sfumato.core.policy import Plan
from sfumato.core.view import View
from sfumato.policies.sizes import Rule, degree_for
from sfumato.policies.whole import usable, whole_stages


class Static:
    """`static` in the table of policies."""

    name = "static"
    work_conserving = False  # ranks idle while the first in line waits for more of them

    class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """`rule`: whose degrees, "rssp" or "rasp"."""

        rule: Rule = "rssp"

    def __init__(self, options: Options | None = None) -> None:
        self._rule = (options or self.Options()).rule

    def plan(self, view: View) -> Plan:
        if not view.free:
            return Plan()
        launches = whole_stages(
            view, view.ready(), usable(view), lambda job: degree_for(job.shape, self._rule), overtake=False
        )
        return Plan(launches=tuple(launches))
