"""Which requests to save when not all can be: the keep-set.

In deadline order, the least work of the kept requests must fit what the pool can give until each deadline; while it
does not, the kept request with the largest work^2 / (deadline - now) / weight is given up. Nothing is final: it is done
anew at each decision. Half of the observed load of smaller classes is reserved: they will come and cost little to save.
A class with a guaranteed share has its cheapest requests kept, begun ones first, up to what it is owed.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Mapping, Sequence
from heapq import heappop, heappush
from operator import attrgetter

from sfumato.policies.sfumato.memo import Memo
from sfumato.policies.sfumato.outlook import Outlook

USABLE = 0.95  # share of the pool that a feasible backlog may fill; flat between .9 and 1 in the prototype
RESERVED = 0.5  # share of the expected load of smaller classes that is kept free


class Capacity:
    """Ranks that may be counted on, beside the smaller requests that are still to come."""

    def __init__(self, memo: Memo, now: float, ranks: float) -> None:
        self._ranks = ranks
        smaller = memo.smaller(now)
        self._works = [work for work, _ in smaller]
        self._loads = [0.0, *(load for _, load in smaller)]

    def beside(self, work: float) -> float:
        """For requests of this much work."""
        smaller = self._loads[bisect_left(self._works, work * 0.999)]
        return max(0.0, min(USABLE * self._ranks, self._ranks - RESERVED * smaller))


def kept(
    outlooks: Sequence[Outlook],
    capacity: Capacity,
    now: float,
    busy: float,
    *,
    weights: Mapping[str, float],
    safe: Collection[str] = (),
) -> set[str]:
    """Ids of the jobs to save. `busy` is rank-seconds that running chunks still take; `safe` are never given up."""
    hopeful = [o for o in outlooks if not o.hopeless]
    hopeful.sort(key=attrgetter("order"))
    result: set[str] = set()
    worst: list[tuple[float, str, float]] = []
    total = busy
    for o in hopeful:
        name, left_s = o.job.request.id, max(1e-9, o.deadline - now)
        result.add(name)
        total += o.work
        if name not in safe:
            weight = weights.get(o.job.request.slo, 1.0) if weights else 1.0
            heappush(worst, (-o.work * o.work / left_s / weight, name, o.work))
        room = left_s * capacity.beside(o.work)
        while worst and total > room:
            _, lost, work = heappop(worst)
            result.discard(lost)
            total -= work
    return result


def guaranteed(outlooks: Sequence[Outlook], owed: Mapping[str, float]) -> set[str]:
    """The jobs that what their class is owed pays for to their end: begun ones first, then the cheapest."""
    found: set[str] = set()
    for slo, rank_s in owed.items():
        credit = rank_s
        mine = [o for o in outlooks if o.job.request.slo == slo and not o.hopeless]
        for o in sorted(mine, key=lambda o: (o.job.first_launch is None, o.work, o.job.request.id)):
            if o.work > credit:
                break
            credit -= o.work
            found.add(o.job.request.id)
    return found
