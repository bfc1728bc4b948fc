"""Which requests to save when not all can be: the keep-set.

In deadline order, the least work of the kept requests must fit what the pool can give until each deadline; while it
does not, the kept request with the largest work^2 / (deadline - now) / weight is given up. Nothing is final: it is done
anew at each decision. Half of the observed load of smaller classes is reserved: they will come and cost little to save.
A class with a guaranteed share has its cheapest requests kept, begun ones first, up to what it is owed.

A sum of work does not see width: beside a group of all ranks nothing runs. Whoever needs such a group, and cannot bear
to be without it as long as a smaller kept request takes that cannot wait for its end either, is given up for that.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from heapq import heapify, heappop, heappush

import numpy as np

from sfumato.policies.sfumato.memo import Memo
from sfumato.policies.sfumato.outlook import Flags, Outlooks
from sfumato.policies.sfumato.paces import Floats, Ints

USABLE = 0.95  # share of the pool that a feasible backlog may fill; flat between .9 and 1 in the prototype
RESERVED = 0.5  # share of the expected load of smaller classes that is kept free


class Capacity:
    """Ranks that may be counted on, beside the smaller requests that are still to come."""

    def __init__(self, memo: Memo, now: float, ranks: float) -> None:
        self._ranks = ranks
        smaller = memo.smaller(now)
        self._works = np.array([work for work, _ in smaller])
        self._loads = np.array([0.0, *(load for _, load in smaller)])

    def beside(self, work: Floats) -> Floats:
        """For requests of this much work."""
        smaller = self._loads[np.searchsorted(self._works, work * 0.999)]
        free: Floats = np.maximum(0.0, np.minimum(USABLE * self._ranks, self._ranks - RESERVED * smaller))
        return free


class Line:
    """Places in order of their deadlines: GPU-seconds that wait until each of them, and those that are there.

    `busy` is rank-seconds that running chunks still take.
    """

    __slots__ = ("left_s", "order", "room", "wait", "work")

    def __init__(self, outlooks: Outlooks, places: Ints, capacity: Capacity, now: float, busy: float) -> None:
        self.order = places[np.argsort(outlooks.deadline[places], kind="stable")]
        self.work = outlooks.work[self.order]
        self.left_s = np.maximum(1e-9, outlooks.deadline[self.order] - now)
        self.room = self.left_s * capacity.beside(self.work)
        self.wait: Floats = np.cumsum(np.concatenate(([busy], self.work)))[1:]


def kept(
    outlooks: Outlooks,
    capacity: Capacity,
    now: float,
    busy: float,
    *,
    weights: Mapping[str, float],
    safe: Collection[int] = (),
    width: bool = True,
) -> Flags:
    """Whom to save, by place. `safe` are never given up; without `width` none for the ranks that it needs."""
    found: Flags = ~outlooks.hopeless
    places = found.nonzero()[0]
    if not len(places):
        return found
    line = Line(outlooks, places, capacity, now, busy)
    order, work = line.order, line.work
    burden = work * work / line.left_s
    if weights:
        burden /= [weights.get(outlooks.jobs[place].request.slo, 1.0) for place in order.tolist()]
    over = (line.wait > line.room).nonzero()[0]
    if len(over):
        found[_given_up(order, work, line.room, burden, busy, int(over[0]), safe)] = False
    stall = outlooks.stall[order]
    if width and stall.any():
        _make_way(found, outlooks, order, burden, stall, safe)
    return found


def _make_way(
    found: Flags, outlooks: Outlooks, order: Ints, burden: Floats, stall: Floats, safe: Collection[int]
) -> None:
    """Give up who needs all ranks and would make a smaller one late, the largest first."""
    start_by, fastest_s, ready_at = outlooks.start_by[order], outlooks.fastest_s[order], outlooks.ready_at[order]
    done_at = ready_at + fastest_s - outlooks.ends_s[order]
    for at in sorted(stall.nonzero()[0].tolist(), key=lambda at: -burden[at]):
        place = int(order[at])
        if not found[place] or place in safe:
            continue
        laxity = start_by[at] - ready_at[at]
        smaller = found[order] & (burden < burden[at])
        if (smaller & (start_by < done_at[at]) & (stall[at] * fastest_s > laxity)).any():
            found[place] = False


def _given_up(
    order: Ints, work: Floats, room: Floats, burden: Floats, busy: float, first: int, safe: Collection[int]
) -> list[int]:
    """Who does not fit, beginning with what the `first` too many makes too much."""
    places, works, rooms, burdens = order.tolist(), work.tolist(), room.tolist(), burden.tolist()
    heap = list(zip((-burden[:first]).tolist(), places, works, strict=False))
    if safe:
        heap = [entry for entry in heap if entry[1] not in safe]
    heapify(heap)
    total = sum(works[:first], start=busy)
    lost = []
    for at in range(first, len(places)):
        total += works[at]
        if places[at] not in safe:
            heappush(heap, (-burdens[at], places[at], works[at]))
        while heap and total > rooms[at]:
            _, place, spent = heappop(heap)
            lost.append(place)
            total -= spent
    return lost


def guaranteed(outlooks: Outlooks, owed: Mapping[str, float]) -> set[int]:
    """Places of the jobs that what their class is owed pays for to their end: begun ones first, then the cheapest."""
    found: set[int] = set()
    for slo, rank_s in owed.items():
        credit = rank_s
        mine = [o for o in outlooks if o.job.request.slo == slo and not o.hopeless]
        for o in sorted(mine, key=lambda o: (o.job.first_launch is None, o.work, o.place)):
            if o.work > credit:
                break
            credit -= o.work
            found.add(o.place)
    return found
