"""A tighter offline bound for small workloads: requests are served whole, and nothing runs beside a group of all ranks.

The programme of `bound_prices` with x_i in {0, 1} and, with W_t the time that groups of all N ranks take in interval t,

    sum_ism N wall_m y_ismt = N W_t     over the ways m that take all ranks (rank-seconds, so that a batch counts once)
    W_t + sum_sm wall_sm y_ismt <= length_t     over all other ways, for each request i

No schedule beats it, for the same reasons; a request that runs on fewer ranks does so while no group has them all.
Here the number is the solver's word: HiGHS' bound on the integer programme, which holds wherever its search stops.
It says how much of the distance to `sim.bound` is the looseness of that: much, where large requests need the whole pool
(TetriServe's mixes at SLO x1), little where videos have long windows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import floor

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp

from sfumato.core.cost import Costs
from sfumato.core.values import ModelSpec, RankInfo, Request
from sfumato.errors import SfumatoError
from sfumato.sim.bound import ROUNDING, Bound
from sfumato.sim.bound_demand import Cells, Demand, Floats, Ints, cells_of
from sfumato.sim.bound_prices import Choice, Programme, choices

NODES = 2000  # of the search: most programmes of 150 requests need fewer


def whole_bound(
    requests: Sequence[Request],
    ranks: Sequence[RankInfo],
    models: Mapping[str, ModelSpec],
    costs: Costs,
    *,
    nodes: int = NODES,
) -> Bound:
    """As `sim.bound.bound`, never above it but for rounding. The time grows fast: seconds for 150 requests.

    Raises: `SfumatoError` if the solver finds no bound at all.
    """
    judged = [request for request in requests if request.deadline is not None]
    relaxed = 0.0
    if judged and ranks:
        demand = Demand(judged, ranks, models, costs)
        if len(demand):
            relaxed = _most(demand, nodes)
    return Bound(served=floor(relaxed + ROUNDING), judged=len(judged), relaxed=relaxed)


def _most(demand: Demand, nodes: int) -> float:
    edges = np.unique(np.concatenate((demand.arrived, demand.deadline)))
    cells = cells_of(demand.arrived, demand.deadline, edges)
    needed = np.array([[bool(task.ways) for task in tasks] for tasks in demand.tasks])[demand.kind].T
    programme = _Whole(np.ones(len(demand), dtype=np.int64), needed, cells, demand.capacity, edges)
    for choice in choices(demand, demand.kind, demand.opens, demand.closes, cells, edges):
        programme.offer(choice)
    return programme.most(nodes)


class _Whole(Programme):
    """Further columns: W. Further rows: a request beside W in each cell, and what W is in each interval."""

    def __init__(self, size: Ints, needed: np.ndarray, cells: Cells, capacity: Floats, edges: Floats) -> None:
        super().__init__(size, needed, cells, capacity, edges)
        self._ranks, self._length = float(capacity[0]), np.diff(edges)
        self._beside = self._pool + self._supply.size  # their first rows
        self._all = self._beside + len(cells.who)
        taken = self._columns + np.arange(len(self._length))
        self._columns += len(taken)
        self._put(self._beside + np.arange(len(cells.who)), taken[cells.at], 1.0)
        self._put(self._all + np.arange(len(taken)), taken, -1.0)

    def offer(self, choice: Choice) -> None:
        """As before; and whether it takes all ranks."""
        columns = self._columns + np.arange(len(choice.cells))
        super().offer(choice)
        way = choice.way
        ranks = way.use[0] * way.crowds.start / way.wall_s
        if ranks > self._ranks - 0.5:
            self._put(self._all + self.cells.at[choice.cells], columns, way.use[0] / self._ranks)
        else:
            self._put(self._beside + choice.cells, columns, way.wall_s)

    def most(self, nodes: int) -> float:
        """What the search has shown to be out of reach after so many nodes; the answer is the same each time."""
        limits = np.concatenate((self._limits(), self._length[self.cells.at], np.zeros(len(self._length))))
        gain, most = self._gain()
        found = milp(
            gain,
            constraints=LinearConstraint(self._matrix(len(limits)), -np.inf, limits),
            bounds=Bounds(0.0, most),
            integrality=gain < 0,
            options={"node_limit": nodes},
        )
        if found.mip_dual_bound is None:
            raise SfumatoError(f"the offline bound was not solved: {found.message}")
        return -float(found.mip_dual_bound)
