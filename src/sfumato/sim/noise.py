"""Seeded noise on the times of chunks. A diffusion step varies by well under one percent on a GPU; CPU workers by more.

Two kinds, because they hurt in unlike ways: noise that each chunk has on its own is averaged out over a request's
chunks; the speed of a machine that wanders is not, within the seconds over which it holds. The means of both are 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import exp, sqrt

import numpy as np

from sfumato.core.values import Group, RankInfo

Noise = Callable[[], float]
"""A factor on the seconds of a chunk's units, drawn once a chunk."""

Pace = Callable[[Group, float], float]
"""A factor on the seconds of the units of a chunk that a group begins at a time."""

DRIFT_S = 30.0  # over which the speed of a shared machine was seen to hold: it changed by 20% in that time
STEPS = 16  # at which a wandering speed is drawn, in the time over which it holds


def steady() -> float:
    """No noise at all."""
    return 1.0


def even(group: Group, at: float) -> float:  # noqa: ARG001 (Pace's)
    """All ranks as fast as the profile says, always."""
    return 1.0


def lognormal(seed: int, sigma: float) -> Noise:
    """Factors exp(N(-sigma^2/2, sigma)); `sigma` 0.1 is about 10%."""
    if sigma == 0:
        return steady
    stream = np.random.Generator(np.random.PCG64([seed, 0x6E6F697365]))
    return lambda: float(stream.lognormal(-sigma * sigma / 2, sigma))


def drifting(seed: int, sigma: float, over_s: float, ranks: Sequence[RankInfo]) -> Pace:
    """Each node's speed wanders on its own: exp of an Ornstein-Uhlenbeck process that forgets within `over_s`.

    What a node's speed is at a time depends on the seed alone, so policies that ask at unlike times see one machine.
    """
    if sigma == 0:
        return even
    nodes = {node: place for place, node in enumerate(dict.fromkeys(info.node for info in ranks))}
    node_of = {info.rank: nodes[info.node] for info in ranks}
    speeds = [_Wandering(seed, node, sigma, over_s / STEPS) for node in nodes.values()]
    return lambda group, at: max(speeds[node].at(at) for node in {node_of[rank] for rank in group})


class _Wandering:
    """The process of one node, drawn as far as it was asked for."""

    def __init__(self, seed: int, node: int, sigma: float, every_s: float) -> None:
        self._stream = np.random.Generator(np.random.PCG64([seed, 0x6472696674, node]))
        self._sigma, self._every_s = sigma, every_s
        self._kept = exp(-1.0 / STEPS)
        self._logs = [float(self._stream.normal(0.0, sigma))]

    def at(self, at: float) -> float:
        place = int(at / self._every_s)
        while len(self._logs) <= place:
            fresh = float(self._stream.normal(0.0, self._sigma * sqrt(1.0 - self._kept**2)))
            self._logs.append(self._kept * self._logs[-1] + fresh)
        return exp(self._logs[place] - self._sigma**2 / 2)
