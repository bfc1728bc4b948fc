"""The offline bound: more requests than this no schedule serves on time, not even one that knows all arrivals.

After the time-indexed relaxation of scheduling with interval capacities (Dyer & Wolsey 1990, for one machine), with
modes as in malleable tasks; the programme is in `bound_prices`. Why no schedule beats its optimum: give x = 1 to every
request that a schedule serves on time, y the share of its stages that fell into each interval, and all rows hold. What
the rows leave out only makes things easier: the order of stages within an interval, launch gaps and moves, weights and
memory, which ranks form a group, whole units, partners of a batch that must really be there at once (`modes`).

The number that is returned is not the solver's word but weak duality's. For any prices p >= 0 of the pool's seconds
and any worths w >= 0 of the stages, with wage_t = max over what may be done in t of (w - p * use) / wall,

    sum_t p_t capacity_t  +  sum_i max(0, 1 - sum_s w_is + sum_t seconds_it wage_it)  >=  the optimum.

So a loose solution can only raise it. Programmes that are too large rest on that: intervals are merged outward (the
pool is counted over longer spans, each request still by its own window), time is solved in stretches, each with the
longest window before and after it, and requests alike are priced as one. Splitting
one programme of 3,000 requests into stretches cost it 0.006%; bench/bound.py says how long it takes.

It holds for steady times (noise can be lucky) and for requests that are served as asked, without an admission that
lowers steps or size.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import ceil, floor
from typing import NamedTuple

import numpy as np

from sfumato.core.cost import Costs
from sfumato.core.values import ModelSpec, RankInfo, Request, Value
from sfumato.sim.bound_demand import Demand, Floats, cells_of, spans
from sfumato.sim.bound_prices import Dual, bunches, choices, dual_of

CELLS = 2000  # (request, interval) pairs of one programme: about half a second; time grows with their square
WORK = 24_000  # of all programmes together; three times as many lowered bounds by 0.1 to 0.4% for six times as long
ROUNDING = 1e-6


class Bound(Value, frozen=True, kw_only=True):
    """At most `served` of `judged` requests with a deadline can be on time; `relaxed` is the same with fractions."""

    served: int
    judged: int
    relaxed: float

    @property
    def attainment(self) -> float | None:
        return self.served / self.judged if self.judged else None


class Grid(NamedTuple):
    """Where time is cut into intervals, and where into stretches, each solved with `margin_s` before and after it."""

    edges: Floats
    stretches: Floats
    margin_s: float


def bound(
    requests: Sequence[Request], ranks: Sequence[RankInfo], models: Mapping[str, ModelSpec], costs: Costs
) -> Bound:
    """The bound for `requests` on `ranks` that are all up from the first arrival on. `costs` is not told anything."""
    judged = [request for request in requests if request.deadline is not None]
    relaxed = 0.0
    if judged and ranks:
        demand = Demand(judged, ranks, models, costs)
        if len(demand):
            grid = grid_of(demand)
            relaxed = least(demand, grid.edges, solve(demand, grid))
    return Bound(served=floor(relaxed + ROUNDING), judged=len(judged), relaxed=relaxed)


def grid_of(demand: Demand) -> Grid:
    """Cuts at all arrivals and deadlines, or as many of them, evenly, as keep the programmes small."""
    marks = np.unique(np.concatenate((demand.arrived, demand.deadline)))
    every = 1
    while True:
        edges = np.append(marks[:-1:every], marks[-1])
        grid, work = _stretched(demand, edges)
        if work <= WORK or len(edges) == 2:
            return grid
        every += max(1, every // 4)


def _stretched(demand: Demand, edges: Floats) -> tuple[Grid, float]:
    """The fewest stretches of at most about `CELLS` with their margins, and the cells of all."""
    margin_s = float((demand.deadline - demand.arrived).max())
    horizon_s = float(edges[-1] - edges[0])
    cells = _bunched_cells(demand, edges)
    count = 1
    if cells > CELLS:
        length_s = CELLS / cells * horizon_s - 2 * margin_s
        if length_s <= 0:
            return Grid(edges, edges[[0, -1]], 0.0), np.inf
        count = ceil(horizon_s / length_s)
    stretches = np.linspace(edges[0], edges[-1], count + 1)
    return Grid(edges, stretches, margin_s), cells * (1 + 2 * margin_s * (count - 1) / horizon_s)


def _bunched_cells(demand: Demand, edges: Floats) -> int:
    bunch = bunches(demand, np.arange(len(demand)), edges)
    first, last = spans(demand.arrived, demand.deadline, edges)
    width = np.zeros(len(bunch.size), dtype=np.int64)
    width[bunch.of] = last - first
    return int(width.sum())


def solve(demand: Demand, grid: Grid) -> Dual:
    """Prices and worths, each from the programme of its own stretch."""
    edges = grid.edges
    prices = np.zeros((len(demand.capacity), len(edges) - 1))
    worths = np.zeros((3, len(demand)))
    interval, middle = (edges[:-1] + edges[1:]) / 2, (demand.arrived + demand.deadline) / 2
    for begin, end in _pairs(grid.stretches):
        near = (demand.arrived < end + grid.margin_s) & (demand.deadline > begin - grid.margin_s)
        some = np.flatnonzero(near)
        if not len(some):
            continue
        first, last = spans(demand.arrived[some], demand.deadline[some], edges)
        start = int(first.min())
        dual = dual_of(demand, some, edges[start : int(last.max()) + 1])
        own = np.flatnonzero((interval >= begin) & (interval <= end))
        own = own[(own >= start) & (own < last.max())]
        prices[:, own] = dual.prices[:, own - start]
        mine = (middle[some] >= begin) & (middle[some] <= end)
        worths[:, some[mine]] = dual.worths[:, mine]
    return Dual(prices, worths)


def _pairs(cuts: Floats) -> Iterator[tuple[float, float]]:
    return zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True)


def least(demand: Demand, edges: Floats, dual: Dual) -> float:
    """What these prices and worths prove: the right side of weak duality, for every request by its own windows."""
    cells = cells_of(demand.arrived, demand.deadline, edges)
    wages = np.zeros(len(cells.who))
    for stage, way, open_cells in choices(demand, demand.kind, demand.opens, demand.closes, cells, edges):
        who, at = cells.who[open_cells], cells.at[open_cells]
        left = dual.worths[stage, who] - way.use @ dual.prices[:, at]
        wages[open_cells] = np.maximum(wages[open_cells], left / way.wall_s)
    earned = np.bincount(cells.who, wages * cells.seconds, minlength=len(demand))
    gains = np.maximum(0.0, 1.0 - dual.worths.sum(axis=0) + earned)
    supply = np.outer(demand.capacity, np.diff(edges))
    return float((dual.prices * supply).sum() + gains.sum())
