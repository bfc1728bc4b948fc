"""What reuse between steps leaves of their seconds: the expected share by model, device and quality, learnt in serving.

Rules: a pure fold of the chunks in their order. The share is seconds over those of computed steps, summed over the last
`WINDOW` steps or so: the first steps of a request are computed and later ones are not, so a chunk by itself says
little. It starts from what the profile says (nothing: all is left) as if that had been seen over `PRIOR` steps, and is
never above 1: more than a computed step no step is planned for. Batches of unlike qualities teach nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import exp
from typing import Any

import msgspec

from sfumato.core.cost import Work
from sfumato.core.values import EXACT

WINDOW = 200.0  # steps: some eight requests
PRIOR = 12.0  # steps: half a request, so that two of them show

Key = tuple[str, str, str]  # model, device, quality
Left = tuple[tuple[float, list[float]], ...]
"""Of each job of a batch, its weight in it and the cell of its share."""


def left_of(jobs: Left) -> float:
    """The share of a batch's seconds that is expected to be left; 1 where nothing is reused."""
    return sum(weight * cell[0] for weight, cell in jobs) if jobs else 1.0


class Savings:
    """Shares by key, from what profiles say of a (model, device) and what was observed."""

    def __init__(self, said: Mapping[tuple[str, str], Mapping[str, float]]) -> None:
        self._said = said
        self._seen: dict[Key, tuple[float, float]] = {}  # seconds that were spent, of how many, in computed steps
        self._cells: dict[Key, list[float]] = {}

    def left(self, work: Work) -> Left:
        """What is expected of a batch, by the sizes of its jobs; cells change in place with what is observed."""
        sizes = [shape.height * shape.width * shape.frames for shape in work.shapes]
        return tuple(
            (size / sum(sizes), self._cell((work.model, work.device, quality)))
            for size, quality in zip(sizes, work.qualities, strict=False)
        )

    def observe(self, work: Work, units: int, ratio: float) -> None:
        """Fold in a chunk that took `ratio` of its computed steps' seconds."""
        if len(set(work.qualities)) > 1:
            return
        key = (work.model, work.device, work.qualities[0])
        spent, steps = self._seen.get(key, (0.0, 0.0))
        kept = exp(-units / WINDOW)
        self._seen[key] = kept * spent + units * min(ratio, 2.0), kept * steps + units
        self._cell(key)[0] = self._share(key)

    def state(self) -> list[list[Any]]:
        """Rows of plain JSON values, in the order in which they were first seen."""
        return [[*key, *seen] for key, seen in self._seen.items()]

    def restore(self, state: Any) -> None:
        """Take up what `state` described; None is the state of having seen nothing."""
        rows = msgspec.convert(state or [], list[tuple[str, str, str, float, float]])
        self._seen = {(model, device, quality): (spent, steps) for model, device, quality, spent, steps in rows}
        for key, cell in self._cells.items():
            cell[0] = self._share(key)

    def _cell(self, key: Key) -> list[float]:
        cell = self._cells.get(key)
        if cell is None:
            cell = self._cells[key] = [self._share(key)]
        return cell

    def _share(self, key: Key) -> float:
        model, device, quality = key
        if quality == EXACT:
            return 1.0
        said = self._said.get((model, device), {}).get(quality, 1.0)
        spent, steps = self._seen.get(key, (0.0, 0.0))
        return min(1.0, (PRIOR * said + spent) / (PRIOR + steps))
