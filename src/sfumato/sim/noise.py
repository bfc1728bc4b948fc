"""Seeded noise on step times. A diffusion step varies by well under one percent on a GPU; CPU workers by more."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Noise = Callable[[], float]
"""A factor on the seconds of a chunk's units, drawn once a chunk; its mean is 1."""


def steady() -> float:
    """No noise at all."""
    return 1.0


def lognormal(seed: int, sigma: float) -> Noise:
    """Factors exp(N(-sigma^2/2, sigma)), so that the mean is 1; `sigma` 0.1 is about 10%."""
    if sigma == 0:
        return steady
    stream = np.random.Generator(np.random.PCG64([seed, 0x6E6F697365]))
    return lambda: float(stream.lognormal(-sigma * sigma / 2, sigma))
