"""Prices of the pool's time that make the offline bound low: the linear programme, solved a stretch of time at a time.

Primal, for each request i, stage s, way m, interval t: x_i in [0, 1] is how much of i is served, y_ismt how much of
its stage is done that way in t. Maximise sum x_i subject to

    x_i <= sum_mt y_ismt                                  the whole of every stage                 (dual: worth_is)
    sum_sm wall_sm y_ismt <= seconds_it x_i               one thing at a time, within its window
    sum_ism use_smj y_ismt <= capacity_j length_t         what the pool has                         (dual: price_jt)

y_ismt is there only where the window of the stage touches t and enough others that could share its batch are about,
and where no mixture of other ways would do as much for less.
What is wanted is the dual alone: any prices and worths give a bound (`sim.bound`), good ones a low bound. So this file
may round where it likes: requests of one kind in the same intervals are one, with their mean window, and a stretch of
time is solved with only its neighbourhood.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog
from scipy.sparse import coo_array

from sfumato.errors import SfumatoError
from sfumato.sim.bound_demand import Cells, Demand, Floats, Ints, Way, cells_of, spans


class Dual(NamedTuple):
    """Prices of each capacity's second in each interval; what the whole of each stage of each request is worth."""

    prices: Floats
    worths: Floats


class Choice(NamedTuple):
    """The cells in which a stage of a kind could be done in some way."""

    stage: int
    way: Way
    cells: NDArray[np.intp]


def choices(demand: Demand, kind: Ints, opens: Floats, closes: Floats, cells: Cells, edges: Floats) -> Iterator[Choice]:
    """All that is open to requests with these kinds and stage windows."""
    crowds = demand.crowds(edges)
    for number, tasks in enumerate(demand.tasks):
        mine = np.flatnonzero(kind[cells.who] == number)
        who, at = cells.who[mine], cells.at[mine]
        for stage, task in enumerate(tasks):
            reached = (opens[stage, who] <= edges[at + 1]) & (closes[stage, who] >= edges[at])
            crowd = crowds[stage, task.pool][at]
            for way in task.ways:
                wants = (crowd >= way.crowds.start) & (crowd < way.crowds.stop)
                yield Choice(stage, way, mine[reached & wants])


class Bunches(NamedTuple):
    """Requests of one kind whose windows touch the same intervals, as one: `of` says which each request is in."""

    of: Ints
    size: Ints


def bunches(demand: Demand, some: NDArray[Any], edges: Floats) -> Bunches:
    """Of the requests `some`."""
    first, last = spans(demand.arrived[some], demand.deadline[some], edges)
    keys = np.stack((demand.kind[some], first, last))
    _, of, size = np.unique(keys, axis=1, return_inverse=True, return_counts=True)
    return Bunches(of.reshape(-1), size)


def dual_of(demand: Demand, some: NDArray[Any], edges: Floats) -> Dual:
    """The programme's dual for the requests `some`, alone in the world. Single-threaded and without a time limit."""
    bunch = bunches(demand, some, edges)
    count = len(bunch.size)
    kind = np.zeros(count, dtype=np.int64)
    kind[bunch.of] = demand.kind[some]
    opens, closes = np.full((3, count), np.inf), np.full((3, count), -np.inf)
    for stage in range(3):
        np.minimum.at(opens[stage], bunch.of, demand.opens[stage, some])
        np.maximum.at(closes[stage], bunch.of, demand.closes[stage, some])
    needed = np.array([[bool(task.ways) for task in tasks] for tasks in demand.tasks])[kind].T
    programme = Programme(bunch.size, needed, _bunched(demand, some, bunch, edges), demand.capacity, edges)
    for choice in choices(demand, kind, opens, closes, programme.cells, edges):
        programme.offer(choice)
    dual = programme.solve()
    return Dual(dual.prices, dual.worths[:, bunch.of])


def _bunched(demand: Demand, some: NDArray[Any], bunch: Bunches, edges: Floats) -> Cells:
    """The cells of bunches, with the mean seconds of their members."""
    cells = cells_of(demand.arrived[some], demand.deadline[some], edges)
    keys, place = np.unique(bunch.of[cells.who] * len(edges) + cells.at, return_inverse=True)
    who, at = np.divmod(keys, len(edges))
    return Cells(who, at, np.bincount(place.reshape(-1), cells.seconds) / bunch.size[who])


class Programme:
    """minimise c v with A v <= b, v >= 0. Columns: x, then y. Rows: stages of every bunch, cells, capacities."""

    def __init__(self, size: Ints, needed: NDArray[np.bool_], cells: Cells, capacity: Floats, edges: Floats) -> None:
        self.cells = cells
        self._size = size
        self._supply = np.outer(capacity, np.diff(edges))
        self._columns = len(size)
        self._walls = 3 * len(size)  # their first row
        self._pool = self._walls + len(cells.who)
        self._entries: list[tuple[Ints, Ints, Floats]] = []
        for stage in range(3):
            whose = np.flatnonzero(needed[stage])
            self._put(stage * len(size) + whose, whose, 1.0)
        self._put(self._walls + np.arange(len(cells.who)), cells.who, -cells.seconds)

    def offer(self, choice: Choice) -> None:
        """A column for each cell: how much of the stage is done there in this way."""
        columns = self._columns + np.arange(len(choice.cells))
        self._columns += len(columns)
        who, at = self.cells.who[choice.cells], self.cells.at[choice.cells]
        self._put(choice.stage * len(self._size) + who, columns, -1.0)
        self._put(self._walls + choice.cells, columns, choice.way.wall_s)
        for thing in np.flatnonzero(choice.way.use):
            rows = self._pool + thing * self._supply.shape[1] + at
            self._put(rows, columns, choice.way.use[thing] * self._size[who])

    def solve(self) -> Dual:
        """By HiGHS' dual simplex, which leaves optimal marginals: equal programmes give equal answers."""
        limits = self._limits()
        gain, most = self._gain()
        bounds = np.column_stack((np.zeros(self._columns), most))
        found = linprog(gain, A_ub=self._matrix(len(limits)), b_ub=limits, bounds=bounds, method="highs-ds")
        if found.status != 0:
            raise SfumatoError(f"the offline bound was not solved: {found.message}")
        marginals = np.maximum(0.0, -found.ineqlin.marginals)
        worths = marginals[: self._walls].reshape(3, -1) / self._size
        return Dual(marginals[self._pool :].reshape(self._supply.shape), worths)

    def _limits(self) -> Floats:
        return np.concatenate((np.zeros(self._pool), self._supply.ravel()))

    def _gain(self) -> tuple[Floats, Floats]:
        """What is minimised, and the most of each column."""
        gain = np.concatenate((-self._size.astype(np.float64), np.zeros(self._columns - len(self._size))))
        return gain, np.where(gain < 0, 1.0, np.inf)

    def _matrix(self, rows: int) -> Any:
        where, columns, values = (np.concatenate(part) for part in zip(*self._entries, strict=True))
        return coo_array((values, (where, columns)), shape=(rows, self._columns)).tocsc()

    def _put(self, rows: Ints, columns: Ints, values: Floats | float) -> None:
        self._entries.append((rows, columns, np.broadcast_to(np.asarray(values, dtype=np.float64), rows.shape)))
