"""Seconds as a function of size: straight lines between the measured points, in logarithms of both.

Rules: a curve never falls (where a larger size was measured as faster, it keeps the slower of the two), and beyond its
ends it goes on with its last slope, held within bounds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from math import exp, log

from sfumato.core.values import Value


class Slopes(Value, frozen=True, kw_only=True):
    """Bounds of the slope (d log seconds / d log size) beyond the ends; `alone` is that of a single point."""

    low: float
    high: float
    alone: float


class Curve:
    """A function of size that goes through (the running maximum of) its points."""

    def __init__(self, points: Iterable[tuple[float, float]], slopes: Slopes) -> None:
        by_size: dict[float, list[float]] = {}
        for size, seconds in points:
            by_size.setdefault(log(size), []).append(log(seconds))
        self._x = sorted(by_size)
        self._y: list[float] = []
        for x in self._x:  # equal sizes in other proportions (landscape, portrait): their mean
            mean = sum(by_size[x]) / len(by_size[x])
            self._y.append(max(mean, self._y[-1]) if self._y else mean)
        self._before = self._slope(0, slopes, 0.0)
        self._after = self._slope(len(self._x) - 2, slopes, slopes.low)

    def __call__(self, size: float) -> float:
        x, xs, ys = log(size), self._x, self._y
        place = bisect_left(xs, x)
        if place == 0:
            return exp(ys[0] + self._before * (x - xs[0]))
        if place == len(xs):
            return exp(ys[-1] + self._after * (x - xs[-1]))
        share = (x - xs[place - 1]) / (xs[place] - xs[place - 1])
        return exp(ys[place - 1] + share * (ys[place] - ys[place - 1]))

    def _slope(self, left: int, slopes: Slopes, low: float) -> float:
        if len(self._x) == 1:
            return slopes.alone
        slope = (self._y[left + 1] - self._y[left]) / (self._x[left + 1] - self._x[left])
        return min(max(slope, low), slopes.high)
