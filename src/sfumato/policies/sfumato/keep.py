"""Which requests to save when not all can be: the keep-set, and the load that is expected beside it.

In deadline order, the least work of the kept requests must fit what the pool can give until each deadline; while it
does not, the kept request with the largest work^2 / (deadline - now) is given up. Nothing is final: it is done anew at
each decision. Half of the observed load of smaller classes is reserved: they will come and cost little to save.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp

from sfumato.core.values import Value
from sfumato.policies.sfumato.outlook import Outlook

USABLE = 0.95  # share of the pool that a feasible backlog may fill; flat between .9 and 1 in the prototype
RESERVED = 0.5  # share of the expected load of smaller classes that is kept free


class Load(Value, frozen=True, kw_only=True):
    """Observed demand of one kind of request: GPU-seconds each, and how many arrived, decayed to `at`."""

    kind: str
    work: float
    count: float
    at: float


class Memo(Value, frozen=True, kw_only=True):
    """What the policy remembers: the tightest SLO - fastest time seen, the longest SLO, and the load by kind."""

    seen_until: float = -1.0
    tightest_s: float = 0.0
    horizon_s: float = 0.0
    loads: tuple[Load, ...] = ()


def remembered(memo: Memo, outlooks: Sequence[Outlook], now: float) -> Memo:
    """The memo with all requests that arrived since it was made folded in."""
    fresh = [o for o in outlooks if o.job.request.arrived_at > memo.seen_until]
    if not fresh:
        return memo
    tightest, horizon = memo.tightest_s, memo.horizon_s
    loads = {load.kind: load for load in memo.loads}
    for o in fresh:
        request = o.job.request
        if request.deadline is not None:
            slo_s = request.deadline - request.arrived_at
            slack_s = slo_s - o.fastest_s
            if slack_s > 0:
                tightest = min(tightest, slack_s) if tightest else slack_s
            horizon = max(horizon, slo_s)
        kind = f"{request.model} {o.job.shape} {o.job.steps} {request.guided}"
        known = loads.get(kind)
        count = _decayed(known, request.arrived_at, horizon) + 1 if known else 1.0
        loads[kind] = Load(kind=kind, work=o.work, count=count, at=request.arrived_at)
    return Memo(seen_until=now, tightest_s=tightest, horizon_s=horizon, loads=tuple(loads.values()))


def _decayed(load: Load, at: float, horizon_s: float) -> float:
    """The count at a later time; it forgets over ten of the longest SLOs."""
    return load.count * exp(-max(0.0, at - load.at) / (10 * horizon_s)) if horizon_s else load.count


def kept(outlooks: Sequence[Outlook], memo: Memo, now: float, ranks: int, busy: float) -> set[str]:
    """Ids of the jobs to save. `busy` is rank-seconds that running chunks still take."""
    keep = sorted(
        (o for o in outlooks if not o.hopeless), key=lambda o: (o.deadline, o.job.request.arrived_at, o.job.id)
    )
    capacity = {id(o): _capacity(o.work, memo, now, ranks) for o in keep}
    result: list[Outlook] = []
    total = busy
    for o in keep:
        result.append(o)
        total += o.work
        while result and total > max(0.0, o.deadline - now) * capacity[id(o)]:
            worst = max(result, key=lambda r: (r.work * r.work / max(1e-9, r.deadline - now), r.job.id))
            result.remove(worst)
            total -= worst.work
    return {o.job.id for o in result}


def _capacity(work: float, memo: Memo, now: float, ranks: int) -> float:
    """Ranks that may be counted on beside the smaller requests that are still to come."""
    if not memo.horizon_s:
        return USABLE * ranks
    smaller = sum(
        load.work * _decayed(load, now, memo.horizon_s) for load in memo.loads if load.work < work * 0.999
    ) / (10 * memo.horizon_s)
    return max(0.0, min(USABLE * ranks, ranks - RESERVED * smaller))
