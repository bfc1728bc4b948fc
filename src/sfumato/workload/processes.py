"""When requests arrive: endless, increasing times in seconds for each arrival process.

Rates only stretch a stream of unit gaps, so the same seed at another rate is the same pattern, faster or slower.
"""

from __future__ import annotations

from collections.abc import Iterator
from heapq import merge
from itertools import count
from math import inf, log1p

from numpy.random import Generator

from sfumato.workload.spec import Bursts, Gamma, Piecewise, Poisson, Process, Trace
from sfumato.workload.streams import stream


def times(process: Process, seed: int, factor: float = 1.0) -> Iterator[float]:
    """Arrival times of a process, `factor` times as dense as written. Not for traces, which carry their own."""
    rng = stream(seed, "arrivals")
    match process:
        case Poisson():
            return _spaced(_exponential(rng), rate_of(process) * factor)
        case Gamma(cv=cv):
            return _spaced(_gamma(rng, cv), rate_of(process) * factor)
        case Bursts():
            bursts = _bursts(process, stream(seed, "bursts"), factor)
            rate = rate_of(process) * factor
            return merge(_spaced(_exponential(rng), rate), bursts) if rate else bursts
        case Piecewise():
            return _piecewise(process, _exponential(rng), factor)
        case Trace(file=file):
            raise ValueError(f"the times of trace {file} are in the file")


def _exponential(rng: Generator) -> Iterator[float]:
    while True:
        yield -log1p(-rng.random())


def _gamma(rng: Generator, cv: float) -> Iterator[float]:
    """Gaps of mean 1 and standard deviation `cv`."""
    while True:
        yield 1.0 if cv == 0 else cv * cv * rng.standard_gamma(1.0 / (cv * cv))


def _spaced(gaps: Iterator[float], rate: float) -> Iterator[float]:
    at = 0.0
    for gap in gaps:
        at += gap / rate
        yield at


def _bursts(process: Bursts, rng: Generator, factor: float) -> Iterator[float]:
    for number in count(1):
        start = number * process.every_s / factor
        yield from sorted(start + rng.random() * process.within_s / factor for _ in range(process.size))


def _piecewise(process: Piecewise, gaps: Iterator[float], factor: float) -> Iterator[float]:
    """Each unit gap is spent along the integral of the rate."""
    legs = _legs(process.pieces, process.repeat_s)
    at, end, rate, room = 0.0, 0.0, 0.0, 0.0
    for gap in gaps:
        left = gap
        while left >= room:  # the gap reaches beyond this stretch
            left -= room
            at = end
            end, rate = next(legs)
            if end == inf and rate == 0:
                return
            room = (end - at) * rate * factor
        room -= left
        at += left / (rate * factor)
        yield at


def _legs(pieces: tuple[tuple[float, float], ...], repeat_s: float | None) -> Iterator[tuple[float, float]]:
    """(end, rate) of each stretch of constant rate, in turn."""
    for lap in count():
        offset = lap * (repeat_s or 0.0)
        ends = [offset + start for start, _ in pieces[1:]] + [inf if repeat_s is None else offset + repeat_s]
        yield from zip(ends, (rate for _, rate in pieces), strict=True)


def mean_rate(process: Process) -> float:
    """Arrivals a second in the long run; 0 where the file does not say."""
    match process:
        case Trace():
            return 0.0
        case Piecewise(repeat_s=repeat_s):
            pieces = process.pieces
            if repeat_s is None:
                return pieces[-1][1]
            ends = [start for start, _ in pieces[1:]] + [repeat_s]
            return sum(rate * (end - start) for (start, rate), end in zip(pieces, ends, strict=True)) / repeat_s
        case Bursts(size=size, every_s=every_s):
            return size / every_s + rate_of(process)
        case _:
            return rate_of(process)


def rate_of(process: Poisson | Gamma | Bursts) -> float:
    """The stated rate, in arrivals a second."""
    return process.per_second or (process.per_minute or 0.0) / 60.0
