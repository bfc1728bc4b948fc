"""The least GPU-seconds that do so many steps in so much time: at most two degrees, the wide one first.

TetriServe's deadline-aware allocation (ASPLOS'26, arXiv 2510.01565), over all pairs of degrees. With many steps the two
are neighbours on the convex hull of (seconds, GPU-seconds) a step; with few, as steps are whole, others may be cheaper
(`tridentserve-hunyuan`, 4 steps: all on four ranks rather than all on eight, which are hard to gather: .92 to .96).
"""

from __future__ import annotations

from functools import lru_cache
from math import inf

import numpy as np

from sfumato.policies.sfumato.paces import Floats, Ints, Paces

NEAR = 1e-9  # seconds that adding up floats may be off
TINY = 1e-300  # seconds: to divide by where two rows are of one degree
BLOCK = 1024  # requests at a time: the tables of more leave the cache (10,000 in one: three times as long)


def cheapest(paces: Paces, kind: Ints, steps: Floats, time_s: Floats) -> tuple[Floats, Ints, Ints]:
    """(GPU-seconds of the first part, first degree, part) of the least work that does `steps` in `time_s`, each.

    Where even the fastest takes longer, the work is infinite.
    """
    work, degree = _cheapest_on(paces, 0, kind, steps, time_s)
    part = np.zeros(len(kind), dtype=np.intp)
    for other in range(1, len(paces.degrees)):
        found, wide = _cheapest_on(paces, other, kind, steps, time_s)
        found = found * paces.scale[other][kind]
        better = found < work * (1.0 - NEAR)
        work[better], degree[better], part[better] = found[better], wide[better], other
    return work, degree, part


def least_on(paces: Paces, part: int, kind: int, steps: int, time_s: float) -> int:
    """The first degree of the least work on a part that does `steps` in `time_s`; 0: even the fastest takes longer."""
    work, degree = _cheapest_on(paces, part, np.array([kind]), np.array([float(steps)]), np.array([time_s]))
    return int(degree[0]) if work[0] < inf else 0


def _cheapest_on(paces: Paces, part: int, kind: Ints, steps: Floats, time_s: Floats) -> tuple[Floats, Ints]:
    """(GPU-seconds, first degree) of the same on one part."""
    degrees, seconds = paces.degrees[part], paces.seconds[part]
    narrow, narrow_s = degrees[0][kind], seconds[0][kind]
    work, degree = narrow * steps * narrow_s, narrow.astype(np.intp)
    late = (steps * narrow_s > time_s + NEAR).nonzero()[0]
    for first in range(0, len(late), BLOCK):
        some = late[first : first + BLOCK]
        columns = degrees[:, kind[some]], seconds[:, kind[some]]
        work[some], degree[some] = _of_pairs(*columns, steps[some], time_s[some])
    return work, degree


def _of_pairs(degrees: Floats, seconds: Floats, steps: Floats, time_s: Floats) -> tuple[Floats, Floats]:
    """The best pair of degrees (rows, of each request a column) where the first alone takes too long."""
    if len(degrees) == 1:
        return np.full(len(steps), inf), degrees[0]
    fast, slow = _pairs(len(degrees))
    wide, wide_s, narrow, narrow_s = degrees[fast], seconds[fast], degrees[slow], seconds[slow]
    with np.errstate(over="ignore"):
        first = np.ceil((steps * narrow_s - time_s) / np.maximum(narrow_s - wide_s, TINY) - NEAR)
    first = np.minimum(np.maximum(first, 0.0), steps)
    work = wide * first * wide_s + narrow * (steps - first) * narrow_s
    work[steps * wide_s > time_s + NEAR] = inf
    best = work.argmin(axis=0), np.arange(len(steps))
    return work[best], np.where(first[best] > 0.0, wide[best], narrow[best])


@lru_cache
def _pairs(degrees: int) -> tuple[Ints, Ints]:
    """The rows of two degrees, the wider first; of the same work, the narrower pair comes first."""
    return np.tril_indices(degrees, -1)
