"""Who waits beside whom: a lane for each request that was off the ranks for long enough to see, shared where it can be.

A request keeps its lane from its arrival to its end, so that an eye can follow it; whoever comes later takes the first
lane that is free again.
"""

from __future__ import annotations

from collections.abc import Iterable

from sfumato.report.story import Life

_SEEN = 0.002  # share of the time shown that a wait must last


def lanes_of(lives: Iterable[Life], low: float, high: float, now: float) -> dict[str, int]:
    """Request -> its lane, from 0, for those that wait between `low` and `high`; `now` ends those that are alive."""
    free_from: list[float] = []
    lanes: dict[str, int] = {}
    for life in lives:
        arrived, end = life.request.arrived_at, life.outcome.at if life.outcome else now
        if not _waits(life, end, low, high):
            continue
        lane = next((lane for lane, free in enumerate(free_from) if free <= arrived), len(free_from))
        free_from[lane : lane + 1] = [end]
        lanes[life.id] = lane
    return lanes


def _waits(life: Life, end: float, low: float, high: float) -> bool:
    queued = life.request.arrived_at, life.spans[0].start if life.spans else end
    waits = ((max(start, low), min(stop, high)) for start, stop in (queued, *life.pauses))
    return any(stop - start > _SEEN * (high - low) for start, stop in waits)
