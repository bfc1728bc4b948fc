"""The offline bound: more requests than this no schedule serves on time, not even one that knows all arrivals.

A linear programme. x of a request is how much of it is served on time; time is cut into intervals at arrivals and
deadlines, and in each a request may do shares of its steps in any mode (`modes`), and of its encode and decode. A
request takes no more wall time in an interval than its window leaves there (times x), all together no more rank-time
than the pool has, and groups whose first rank is of one kind no more than there are ranks of it.

Everything left out only makes it easier, so the optimum stays above every schedule: the order of encode, steps and
decode, launch gaps and moves, weights and memory, which ranks form a group, whole units. Where the programme would grow
past `CELLS`, intervals are merged: the pool is then counted over longer spans, each request still by its own window.

It holds for steady times (noise can be lucky) and for requests that are served as asked, without an admission that
lowers steps or size.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from math import floor, inf

import numpy as np
from scipy.optimize import linprog
from scipy.sparse import coo_array

from sfumato.core.cost import Costs
from sfumato.core.values import ModelSpec, RankInfo, Request, Stage, Value
from sfumato.errors import SfumatoError
from sfumato.sim.modes import Catalogue, Mode

CELLS = 3000  # (request, interval) pairs: seconds on one core; twice as many took 9 times as long and gave the same
SLACK = 1e-5  # what the solver's tolerances may hide


class Bound(Value, frozen=True, kw_only=True):
    """At most `served` of `judged` requests with a deadline can be on time; `relaxed` is the programme's own value."""

    served: int
    judged: int
    relaxed: float

    @property
    def attainment(self) -> float | None:
        return self.served / self.judged if self.judged else None


class Need(Value, frozen=True, kw_only=True):
    """A request in the programme: modes of a step, and wall and rank seconds of encode and decode together."""

    request: Request
    deadline: float
    modes: tuple[Mode, ...]
    ends_s: float
    ends_rank_s: float

    @property
    def possible(self) -> bool:
        """Whether it would be on time alone."""
        fastest_s = min((mode.wall_s for mode in self.modes), default=inf) * self.request.steps + self.ends_s
        return self.request.arrived_at + fastest_s <= self.deadline + SLACK


def bound(
    requests: Sequence[Request], ranks: Sequence[RankInfo], models: Mapping[str, ModelSpec], costs: Costs
) -> Bound:
    """The bound for `requests` on `ranks` that are all up from the first arrival on. `costs` is not told anything."""
    judged = [request for request in requests if request.deadline is not None]
    catalogue = Catalogue(requests, ranks, models, costs)
    needs = [need for need in (_need(request, models, catalogue) for request in judged if ranks) if need.possible]
    relaxed = _Programme(needs, ranks).solve() if needs else 0.0
    return Bound(served=floor(relaxed + SLACK * max(1, len(needs))), judged=len(judged), relaxed=relaxed)


def _need(request: Request, models: Mapping[str, ModelSpec], catalogue: Catalogue) -> Need:
    wall_s = rank_s = 0.0
    for stage in (Stage.ENCODE, Stage.DECODE):
        modes = catalogue.modes(request, stage)
        units = models[request.model].units(stage, request.shape, request.steps)
        wall_s += units * min((mode.wall_s for mode in modes), default=inf)
        rank_s += units * min((mode.rank_s for mode in modes), default=inf)
    return Need(
        request=request,
        deadline=request.deadline or 0.0,
        modes=tuple(catalogue.modes(request, Stage.DIFFUSE)),
        ends_s=wall_s,
        ends_rank_s=rank_s,
    )


def edges_of(needs: Sequence[Need], cells: int) -> list[float]:
    """Where time is cut: all arrivals and deadlines, or as many of them, evenly, as keep to `cells` pairs."""
    marks = sorted({at for need in needs for at in (need.request.arrived_at, need.deadline)})
    every = 1
    while True:
        edges = [*marks[:-1:every], marks[-1]]
        pairs = sum(_span(need, edges)[1] - _span(need, edges)[0] for need in needs)
        if pairs <= cells or len(edges) <= 2:
            return edges
        every += max(1, every // 4)


def _span(need: Need, edges: Sequence[float]) -> tuple[int, int]:
    """The intervals, from and to, that a request's window touches."""
    return bisect_right(edges, need.request.arrived_at) - 1, bisect_left(edges, need.deadline)


class _Programme:
    """max sum x, as minimise c v with A v <= b, v >= 0: x of every request first, then shares of units by cell."""

    def __init__(self, needs: Sequence[Need], ranks: Sequence[RankInfo]) -> None:
        self._needs = needs
        self._edges = edges_of(needs, CELLS)
        self._columns = len(needs)
        self._limits: list[float] = []
        self._entries: list[tuple[int, int, float]] = []
        lengths = np.diff(self._edges)
        self._pool = [self._row(len(ranks) * float(length)) for length in lengths]
        devices = sorted({info.device for info in ranks})
        counts = {device: sum(info.device == device for info in ranks) for device in devices}
        self._leads = {
            (device, at): self._row(counts[device] * float(length))
            for device in (devices if len(devices) > 1 else ())
            for at, length in enumerate(lengths)
        }
        for place, need in enumerate(needs):
            self._add(place, need)

    def solve(self) -> float:
        """The optimum. HiGHS' dual simplex on one thread, without a time limit: equal needs give equal answers."""
        rows, columns, values = zip(*self._entries, strict=True)
        matrix = coo_array((values, (rows, columns)), shape=(len(self._limits), self._columns)).tocsr()
        served = len(self._needs)
        gain = np.zeros(self._columns)
        gain[:served] = -1.0
        upper = np.full(self._columns, np.inf)
        upper[:served] = 1.0
        limits = np.column_stack((np.zeros(self._columns), upper))
        found = linprog(gain, A_ub=matrix, b_ub=np.array(self._limits), bounds=limits, method="highs-ds")
        if found.status != 0:
            raise SfumatoError(f"the offline bound was not solved: {found.message}")
        return float(-found.fun)

    def _add(self, place: int, need: Need) -> None:
        """The columns and rows of one request: its steps and its ends must be done x-fold, in its windows' time."""
        steps, ends = self._row(0.0), self._row(0.0)
        self._put(steps, place, 1.0)
        self._put(ends, place, 1.0)
        first, last = _span(need, self._edges)
        for at in range(first, last):
            within_s = min(need.deadline, self._edges[at + 1]) - max(need.request.arrived_at, self._edges[at])
            wall = self._row(0.0)
            self._put(wall, place, -within_s)
            self._column(ends, wall, at, need.ends_s, need.ends_rank_s)
            for mode in need.modes:
                n = need.request.steps
                share = self._column(steps, wall, at, n * mode.wall_s, n * mode.rank_s)
                if self._leads:
                    self._put(self._leads[mode.device, at], share, n * mode.lead_s)

    def _column(self, work: int, wall: int, at: int, wall_s: float, rank_s: float) -> int:
        """A share of some work in an interval."""
        column = self._columns
        self._columns += 1
        self._put(work, column, -1.0)
        self._put(wall, column, wall_s)
        self._put(self._pool[at], column, rank_s)
        return column

    def _row(self, limit: float) -> int:
        self._limits.append(limit)
        return len(self._limits) - 1

    def _put(self, row: int, column: int, value: float) -> None:
        self._entries.append((row, column, value))
