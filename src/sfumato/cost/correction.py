"""What measured chunks say about the profile: a factor by which predicted seconds are multiplied, learnt while serving.

Rules: a pure fold of the observations in their order; the factor of (model, stage, device) is that of its median rank,
so that one slow rank does not make all work look long; each rank's is a running mean of log(measured / predicted),
within bounds, that starts from 1 and leans on the profile no longer than one observation does. Chunks on several ranks
count as a rank of their own (SPREAD), because nothing says which of them was slow.
"""

from __future__ import annotations

from math import exp, log
from statistics import median
from typing import Any

import msgspec

from sfumato.core.values import Rank

Key = tuple[str, str, str]  # model, stage, device
SPREAD: Rank = -1
NEWEST = 0.25  # weight of an observation once four have been made: a change shows after 4, an outlier is gone after 8
BOUND = 5.0  # beyond that the profile is of something else


class Correction:
    """Factors by (model, stage, device), and what they were learnt from."""

    def __init__(self) -> None:
        self._seen: dict[Key, dict[Rank, tuple[float, int]]] = {}
        self._cells: dict[Key, list[float]] = {}

    def cell(self, key: Key) -> list[float]:
        """The factor, in a list of one that later observations change in place (a lookup less on the hot path)."""
        return self._cells.setdefault(key, [1.0])

    def observe(self, key: Key, rank: Rank, ratio: float, bound: float = BOUND) -> None:
        """Fold in one measured chunk: `ratio` of its seconds to what the profile alone predicted."""
        ranks = self._seen.setdefault(key, {})
        mean, count = ranks.get(rank, (0.0, 0))
        newest = max(NEWEST, 1.0 / (count + 2))
        limit = log(bound)
        mean += newest * (min(limit, max(-limit, log(ratio))) - mean)
        ranks[rank] = (mean, count + 1)
        self._renew(key)

    def slowdown(self, rank: Rank) -> float:
        """How many times slower a rank is than the median of the others at the same work; 1 if nothing compares."""
        logs = []
        for ranks in self._seen.values():
            others = [mean for other, (mean, _) in ranks.items() if other not in (rank, SPREAD)]
            if rank in ranks and others:
                logs.append(ranks[rank][0] - median(others))
        return exp(sum(logs) / len(logs)) if logs else 1.0

    def state(self) -> list[list[Any]]:
        """Rows of plain JSON values, in the order in which they were first seen."""
        return [[*key, rank, mean, n] for key, ranks in self._seen.items() for rank, (mean, n) in ranks.items()]

    def restore(self, state: Any) -> None:
        """Take up what `state` described; None is the state of having seen nothing."""
        rows = msgspec.convert(state or [], list[tuple[str, str, str, Rank, float, int]])
        self._seen.clear()
        for cell in self._cells.values():
            cell[0] = 1.0
        for model, stage, device, rank, mean, count in rows:
            self._seen.setdefault((model, stage, device), {})[rank] = (mean, count)
        for key in self._seen:
            self._renew(key)

    def _renew(self, key: Key) -> None:
        self.cell(key)[0] = exp(median(mean for mean, _ in self._seen[key].values()))
