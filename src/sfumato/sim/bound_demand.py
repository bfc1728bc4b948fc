"""What the offline bound knows of a workload, as arrays: windows of all requests, ways to do a stage, what ranks give.

A stage of a request has a window of its own within the request's: it cannot begin before the stages ahead of it can be
done, nor end when those behind it no longer can be, each at its fastest. A request that would be late alone is left
out.

What the pool gives are `capacity` seconds a second of several things, so that kinds of ranks are told apart:
- the time of all ranks, and where there are several kinds,
- of the ranks of each kind, as the one that a group at its pace has at least;
- of the ranks of some kinds together, for the groups that can be of no others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sfumato.core.cost import Costs
from sfumato.core.values import STAGES, ModelSpec, RankInfo, Request, Stage
from sfumato.sim.modes import Catalogue, Mode

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

ANY_CROWD = 1 << 30
NEAR = 1e-9  # seconds that windows are wider than asked: rounding must not make a request impossible


class Way(NamedTuple):
    """A mode for a whole stage: wall seconds, what it takes of each capacity, and the crowds that may want it."""

    wall_s: float
    use: Floats
    crowds: range


class Task(NamedTuple):
    """A stage of one kind of request: its ways (none if it takes no time), and who could share a batch of it."""

    fastest_s: float
    ways: tuple[Way, ...]
    pool: Any


class Cells(NamedTuple):
    """Pairs of a window and an interval that it touches, and the seconds of the window in the interval."""

    who: Ints
    at: Ints
    seconds: Floats


class Demand:
    """Requests that would be on time alone, in order of arrival; `tasks` of a kind are its three stages."""

    def __init__(
        self, requests: Sequence[Request], ranks: Sequence[RankInfo], models: Mapping[str, ModelSpec], costs: Costs
    ) -> None:
        catalogue = Catalogue(requests, ranks, models, costs)
        self._kinds = Counter(info.device for info in ranks)
        self.capacity = self._capacity()
        kinds: dict[Any, int] = {}
        self.tasks: list[tuple[Task, ...]] = []
        kind = []
        for request in requests:
            key = request.model, request.shape, request.steps, request.guided
            if key not in kinds:
                kinds[key] = len(self.tasks)
                model = models[request.model]
                self.tasks.append(tuple(self._task(request, model, stage, catalogue) for stage in STAGES))
            kind.append(kinds[key])
        self._place(np.array(kind, dtype=np.int64), requests)

    def _place(self, kind: Ints, requests: Sequence[Request]) -> None:
        """The windows of all requests that are possible, and of their stages."""
        arrived = np.array([request.arrived_at for request in requests])
        deadline = np.array([request.deadline for request in requests], dtype=np.float64)
        fastest = np.array([[task.fastest_s for task in tasks] for tasks in self.tasks]).reshape(-1, len(STAGES))[kind]
        order = np.argsort(arrived, kind="stable")
        order = order[(arrived + fastest.sum(axis=1) <= deadline + NEAR)[order]]
        self.kind, self.arrived, self.deadline = kind[order], arrived[order], deadline[order]
        done = np.cumsum(fastest[order], axis=1).T  # after each stage
        self.opens = self.arrived + np.vstack((np.zeros(len(order)), done[:-1])) - NEAR
        self.closes = self.deadline - (done[-1] - done) + NEAR

    def __len__(self) -> int:
        return len(self.kind)

    def crowds(self, edges: Floats) -> dict[Any, Ints]:
        """By pool, the most requests in each interval that could be in the same stage at one instant."""
        members: dict[Any, list[tuple[int, int]]] = {}
        for kind, tasks in enumerate(self.tasks):
            for stage, task in enumerate(tasks):
                members.setdefault((stage, task.pool), []).append((kind, stage))
        return {pool: self._crowd(of, edges) for pool, of in members.items()}

    def _crowd(self, members: Sequence[tuple[int, int]], edges: Floats) -> Ints:
        stage = members[0][1]
        chosen = np.isin(self.kind, [kind for kind, _ in members])
        opens, closes = np.sort(self.opens[stage][chosen]), np.sort(self.closes[stage][chosen])
        when = np.concatenate((edges[:-1], opens))
        found = np.zeros(len(edges) - 1, dtype=np.int64)
        together = np.searchsorted(opens, when, "right") - np.searchsorted(closes, when, "left")
        np.maximum.at(found, np.clip(np.searchsorted(edges, when, "right") - 1, 0, len(found) - 1), together)
        return found

    # -- what a stage takes ----------------------------------------------------------------------------------------

    def _task(self, request: Request, model: ModelSpec, stage: Stage, catalogue: Catalogue) -> Task:
        units = model.units(stage, request.shape, request.steps)
        ways = tuple(
            Way(units * mode.wall_s, units * self._use(mode), crowds)
            for mode, crowds in wanted(catalogue.modes(request, stage))
        )
        fastest_s = min((way.wall_s for way in ways), default=np.inf)
        shape = None if model.stage(stage).packs else request.shape
        return Task(fastest_s, ways if fastest_s > 0 else (), (request.model, request.guided, shape))

    def _parts(self) -> Iterator[frozenset[str]]:
        """Every choice of kinds that leaves some out."""
        for count in range(1, len(self._kinds)):
            yield from (frozenset(kinds) for kinds in combinations(self._kinds, count))

    def _capacity(self) -> Floats:
        found = [self._kinds.total()]
        if len(self._kinds) > 1:
            found += self._kinds.values()
            found += [sum(self._kinds[kind] for kind in part) for part in self._parts()]
        return np.array(found, dtype=np.float64)

    def _use(self, mode: Mode) -> Floats:
        found = [mode.rank_s]
        if len(self._kinds) > 1:
            found += [mode.pace_s * (mode.device == kind) for kind in self._kinds]
            found += [mode.rank_s * (mode.company <= part) for part in self._parts()]
        return np.array(found)


def wanted(modes: Sequence[Mode]) -> Iterator[tuple[Mode, range]]:
    """Modes with the crowds that make them possible, and in which no mixture of others does as much for less.

    Only modes whose ranks are counted alike are held against each other; a larger crowd adds modes, so what is not
    wanted in one is not wanted in a larger one.
    """
    alike: dict[Any, list[Mode]] = {}
    several = len({mode.device for mode in modes}) > 1
    for mode in modes:
        key = (mode.device, mode.company, mode.rank_s / mode.pace_s) if several and mode.pace_s else None
        alike.setdefault(key, []).append(mode)
    for group in alike.values():
        crowds = sorted({mode.batch for mode in group})
        fronts = {crowd: _front([mode for mode in group if mode.batch <= crowd]) for crowd in crowds}
        for mode in group:
            until = next((crowd for crowd in crowds if crowd >= mode.batch and mode not in fronts[crowd]), ANY_CROWD)
            if until > mode.batch:
                yield mode, range(mode.batch, until)


def _front(modes: Sequence[Mode]) -> list[Mode]:
    """The corners of the least rank-seconds a second over the pace, from standing still to the fastest."""
    found: list[Mode] = []
    pace = spent = 0.0
    while ahead := [mode for mode in modes if mode.wall_s == 0.0 or 1 / mode.wall_s > pace * (1 + 1e-12)]:
        if any(mode.wall_s == 0.0 for mode in ahead):
            return list(modes)
        best = min(ahead, key=lambda m: ((m.rank_s / m.wall_s - spent) / (1 / m.wall_s - pace), m.wall_s))
        found.append(best)
        pace, spent = 1 / best.wall_s, best.rank_s / best.wall_s
    return found


def cells_of(opens: Floats, closes: Floats, edges: Floats) -> Cells:
    """Every interval that a window touches."""
    first, last = spans(opens, closes, edges)
    count = last - first
    who = np.repeat(np.arange(len(opens)), count)
    at = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count - first, count)
    seconds = np.minimum(closes[who], edges[at + 1]) - np.maximum(opens[who], edges[at])
    return Cells(who, at, seconds)


def spans(opens: Floats, closes: Floats, edges: Floats) -> tuple[Ints, Ints]:
    """The intervals, from and to, that windows touch."""
    first = np.maximum(0, np.searchsorted(edges, opens, "right") - 1)
    return first, np.minimum(len(edges) - 1, np.searchsorted(edges, closes, "left"))
