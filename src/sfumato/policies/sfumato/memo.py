"""What `sfumato` remembers between two plans: the tightest slack, the load by kind, shares owed, residuals.

All of it is a fold over views, so that equal histories give equal plans. Loads forget over ten of the longest SLOs.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp

from msgspec.structs import replace

from sfumato.core.values import Value
from sfumato.policies.sfumato.outlook import Outlook, Outlooks
from sfumato.policies.sfumato.residuals import Residuals


class Load(Value, frozen=True, kw_only=True):
    """Observed demand of one kind of request: GPU-seconds each, and how many arrived, decayed to `at`."""

    kind: str
    model: str
    work: float
    count: float
    at: float

    def count_at(self, at: float, horizon_s: float) -> float:
        """The count at a later time."""
        return self.count * exp(-max(0.0, at - self.at) / (10 * horizon_s)) if horizon_s else self.count


class Memo(Value, frozen=True, kw_only=True):
    """`at` is when it was made, `newest` the last arrival (id, time) that it knows.

    `tightest_s` is the least SLO - fastest time seen, `horizon_s` the longest SLO; `owed` is rank-seconds by class that
    a guaranteed share has not been given yet; `told` is how those stand who are not kept, where that is to be told.
    """

    at: float = -1.0
    newest: tuple[str, float] = ("", -1.0)
    tightest_s: float = 0.0
    horizon_s: float = 0.0
    loads: tuple[Load, ...] = ()
    owed: dict[str, float] = {}
    told: dict[str, str] = {}
    residuals: Residuals = Residuals()

    def smaller(self, now: float) -> list[tuple[float, float]]:
        """(work, ranks that requests of at most this work keep busy), ascending."""
        if not self.horizon_s:
            return []
        ordered = sorted((load.work, load.work * load.count_at(now, self.horizon_s)) for load in self.loads)
        found, total = [], 0.0
        for work, demand in ordered:
            total += demand / (10 * self.horizon_s)
            found.append((work, total))
        return found


def fresh(memo: Memo, outlooks: Outlooks, *, known: bool) -> list[Outlook]:
    """Those that arrived since the memo was made; the backlog is in order of arrival.

    A live client's `arrived_at` may lie before the memo, so the newest that it knows is looked for (`known`: it lives).
    """
    name, at = memo.newest
    first = len(outlooks)
    for job in reversed(outlooks.jobs):
        if job.request.id == name or (not known and job.request.arrived_at <= at):
            break
        first -= 1
    return [outlooks[place] for place in range(first, len(outlooks))]


def newest(memo: Memo, outlooks: Outlooks) -> tuple[str, float]:
    """The last arrival that is known now."""
    if not outlooks.jobs:
        return memo.newest
    request = outlooks.jobs[-1].request
    return request.id, max(memo.newest[1], request.arrived_at)


def demand_of(memo: Memo, arrived: Sequence[Outlook]) -> Memo:
    """With new arrivals folded in."""
    if not arrived:
        return memo
    tightest, horizon = memo.tightest_s, memo.horizon_s
    loads = {load.kind: load for load in memo.loads}
    for o in arrived:
        request = o.job.request
        if request.deadline is not None:
            slo_s = request.deadline - request.arrived_at
            slack_s = slo_s - o.fastest_s
            if slack_s > 0:
                tightest = min(tightest, slack_s) if tightest else slack_s
            horizon = max(horizon, slo_s)
        kind = f"{request.model} {o.job.shape} {o.job.steps} {request.guided} {request.quality}"
        known = loads.get(kind)
        count = known.count_at(request.arrived_at, horizon) + 1 if known else 1.0
        loads[kind] = Load(kind=kind, model=request.model, work=o.work, count=count, at=request.arrived_at)
    return replace(memo, tightest_s=tightest, horizon_s=horizon, loads=tuple(loads.values()))
