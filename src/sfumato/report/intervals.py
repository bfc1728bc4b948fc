"""Spreads and confidence intervals: no figure is reported without saying how sure it is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import sqrt
from statistics import fmean, stdev

import numpy as np

from sfumato.core.values import Value

_NORMAL_95 = 1.959964
# Two-sided 95% quantiles of Student's t for 1, 2, ... degrees of freedom; beyond the table it is approximated.
_STUDENT_95 = (12.71, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131)


class Spread(Value, frozen=True, kw_only=True):
    """A sample in five numbers; quantiles are interpolated linearly."""

    count: int
    mean: float
    p50: float
    p95: float
    p99: float
    max: float


def spread(values: Iterable[float | None]) -> Spread | None:
    """The spread of the values that are there, None if none is."""
    found = [value for value in values if value is not None]
    if not found:
        return None
    p50, p95, p99 = (float(q) for q in np.quantile(found, (0.50, 0.95, 0.99)))
    return Spread(count=len(found), mean=fmean(found), p50=p50, p95=p95, p99=p99, max=max(found))


def wilson(successes: int, trials: int, z: float = _NORMAL_95) -> tuple[float, float]:
    """Wilson's interval for a share (95% by default). Raises ValueError without trials."""
    if not 0 <= successes <= trials or trials == 0:
        raise ValueError(f"{successes} of {trials} is not a share")
    share = successes / trials
    centre = share + z * z / (2 * trials)
    half = z * sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    scale = 1 + z * z / trials
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """(mean, low, high): Student's 95% interval over repetitions; the mean alone where there is one."""
    mean = fmean(values)
    freedom = len(values) - 1
    if freedom < 1:
        return mean, mean, mean
    t = _STUDENT_95[freedom - 1] if freedom <= len(_STUDENT_95) else _NORMAL_95 + 2.5 / freedom
    half = t * stdev(values) / sqrt(len(values))
    return mean, mean - half, mean + half
