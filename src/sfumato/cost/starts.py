"""How much later than the profile says chunks begin, learnt while serving: machine and policy make control what it is.

Rules: a pure fold of the chunks in their order; one running mean of (measured - predicted without this) for all ranks,
as they share the controller. What was predicted with it does not enter: of many chunks in flight all would correct what
the first has, and the mean would swing. What is told moves in steps, else all work would be priced anew at every chunk.
"""

from __future__ import annotations

from typing import Any

import msgspec

NEWEST = 0.05  # weight of an observation: starts scatter more than units do
BOUND_S = 0.02  # a chunk that begins later met something else than control
STEP_S = 0.0002


class Starts:
    """`late_s` is what is told."""

    def __init__(self) -> None:
        self.late_s = self._mean_s = 0.0

    def observe(self, late_s: float) -> None:
        """Fold in a chunk that began this much later than the profile says."""
        self._mean_s += NEWEST * (min(BOUND_S, max(-BOUND_S, late_s)) - self._mean_s)
        if abs(self._mean_s - self.late_s) > STEP_S:
            self.late_s = self._mean_s

    def state(self) -> list[float]:
        """Plain JSON values."""
        return [self.late_s, self._mean_s]

    def restore(self, state: Any) -> None:
        """Take up what `state` described; None is the state of having seen nothing."""
        self.late_s, self._mean_s = msgspec.convert(state or (0.0, 0.0), tuple[float, float])
