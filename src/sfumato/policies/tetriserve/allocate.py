"""Deadline-aware allocation: which degrees take the fewest GPU-seconds and still meet a deadline.

TetriServe section 4.2: minimise sum A_j T(A_j) subject to sum T(A_j) <= time left. Only the number of steps at each
degree matters, so this is a linear programme with two constraints and an optimum uses at most two degrees (the paper's
figure 5 has two as well); the paper gives no algorithm, all pairs are tried. The wide part is listed first.
"""

from __future__ import annotations

from math import ceil

from sfumato.core.values import Value

Speeds = tuple[tuple[int, float], ...]  # (degree, seconds a step), ascending


class Allocation(Value, frozen=True, kw_only=True):
    """`parts` are (steps, degree), the wide one first; together they take `gpu_s` GPU-seconds."""

    gpu_s: float
    parts: tuple[tuple[int, int], ...]


def allocate(speeds: Speeds, steps: int, time_s: float) -> Allocation | None:
    """The cheapest way to do `steps` in `time_s`; None: even the fastest degree takes longer."""
    found: tuple[float, tuple[tuple[int, int], ...]] | None = None
    for at, (narrow, narrow_s) in enumerate(speeds):
        if steps * narrow_s <= time_s + 1e-9:
            option = narrow * steps * narrow_s, ((steps, narrow),)
            found = option if found is None or option < found else found
            continue
        for wide, wide_s in speeds[at + 1 :]:
            if wide_s >= narrow_s:
                continue
            first = ceil((steps * narrow_s - time_s) / (narrow_s - wide_s) - 1e-9)
            if first <= steps:
                gpu_s = wide * first * wide_s + narrow * (steps - first) * narrow_s
                parts = ((first, wide), (steps - first, narrow)) if first < steps else ((steps, wide),)
                found = (gpu_s, parts) if found is None or (gpu_s, parts) < found else found
    return None if found is None else Allocation(gpu_s=found[0], parts=found[1])
