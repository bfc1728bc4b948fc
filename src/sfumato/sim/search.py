"""The most that is held, and the least that is enough: bisection over a probe that says yes below a limit, no above."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt


def most(held: Callable[[float], bool], *, start: float = 1.0, within: float = 0.05, reach: float = 64.0) -> float:
    """The highest factor that is held, to a share `within`; 0 if not even `start / reach` is."""
    low, high = 0.0, start
    while held(high):
        low, high = high, high * 2.0
        if high > start * reach:
            return low
    step = high
    while not low:
        step /= 2.0
        if step < start / reach:
            return 0.0
        if held(step):
            low = step
        else:
            high = step
    while high > low * (1.0 + within):
        middle = sqrt(low * high)
        low, high = (middle, high) if held(middle) else (low, middle)
    return low


def least(enough: Callable[[int], bool], *, start: int, top: int = 4096) -> int | None:
    """The smallest number that is enough, from 1 to `top`; None if none is."""
    low, high = 0, start
    while not enough(high):
        low, high = high, high * 2
        if high > top:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
