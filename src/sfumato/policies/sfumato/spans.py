"""How long chunks are and steps may be, in seconds: what a plan derives from the tightest slack seen."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

PRESSED = 2.0  # steps: who has less laxity than that cannot wait for more ranks
LAUNCHES = 40.0  # a chunk is as long as so many launches take, at least: these are then 2.5% of it
AT_MOST = 0.5  # of the tightest slack: a chunk is not made longer than that for the sake of launches


class Spans(NamedTuple):
    """`quantum_s` is the length of a chunk. Kept work runs narrower than it should in steps of at most `limit_s`, or
    of at most `slack_s`, the tightest slack, where it cannot wait.

    Without the latter, requests with little slack that go fastest on all ranks had those or nothing (up to 3 points).
    For those that can wait such steps are too long: 2 to 4 points beside videos.
    """

    quantum_s: float
    limit_s: float
    slack_s: float

    @classmethod
    def of(cls, slack_s: float, quantum: float, limit: float, launch_s: float) -> Spans:
        """From shares of the tightest slack, and the seconds of a launch.

        Small models on two cores had chunks of one step of 7 ms: launches took 1.6 ms, steps ran 10% slower beside the
        busy planner, and with longer chunks up to 15 points more were in time (docs/decisions/0021).
        """
        longer_s = min(LAUNCHES * launch_s, AT_MOST * slack_s)
        return cls(max(quantum * slack_s, longer_s), limit * slack_s, slack_s)

    def bears(self, step_s: float, laxity: float) -> bool:
        """Whether a request with this much laxity may take a step so long."""
        return step_s <= self.limit_s or (step_s <= self.slack_s and laxity < PRESSED * step_s)

    def bear(self, step_s: NDArray[np.float64], laxity: NDArray[np.float64]) -> NDArray[np.bool_]:
        """The same of many."""
        found: NDArray[np.bool_] = (step_s <= self.limit_s) | ((step_s <= self.slack_s) & (laxity < PRESSED * step_s))
        return found
