"""What is admitted: everything, what can be met, or less than was asked for where the client allows that.

A request can be met if it is worth keeping beside those that are kept already, and room is left for half of the
smaller ones that are expected. What was admitted may still be given up if more comes than that. A refusal says when it
could be done: alone and at its fastest, or once the pool has worked off what is kept, whichever is later. A lowered one
keeps as much of its work as can be met: fewer steps, down to half, or a smaller picture, down to half its sides.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from sfumato.core.policy import Admission, Refusal
from sfumato.core.values import Job, Shape

Mode = Literal["accept", "feasible", "degrade"]
LEAST = 0.5  # of the steps, or of each side
SIDES = (7 / 8, 3 / 4, 5 / 8, 1 / 2)


def refusal(job: Job, finish_at: float) -> Refusal:
    """No, and when it could be done at the earliest."""
    request = job.request
    asked_s = (request.deadline or request.arrived_at) - request.arrived_at
    reason = (
        f"its deadline cannot be met: {asked_s:.1f} s were asked for, "
        f"it would take {finish_at - request.arrived_at:.1f} s at the earliest"
    )
    return Refusal(job=request.id, reason=reason)


def lowered(job: Job, able: Callable[[Shape, int], bool]) -> Admission | None:
    """The request with the least taken off that is `able` to be met; None: nothing is."""
    offers = _offers(job)
    low, high = 0, len(offers)
    while low < high:  # whatever is less than what can be met can be met
        middle = (low + high) // 2
        low, high = (low, middle) if able(*offers[middle]) else (middle + 1, high)
    if low == len(offers):
        return None
    shape, steps = offers[low]
    return Admission(job=job.request.id, shape=shape, steps=steps)


def _offers(job: Job) -> list[tuple[Shape, int]]:
    """Fewer steps or smaller sides, never both, by the share of pixel steps that is left."""
    shape, steps = job.shape, job.steps
    found = {(shape, fewer): fewer / steps for fewer in range(max(1, int(steps * LEAST)), steps)}
    for side in SIDES:
        smaller = _scaled(shape, side)
        if smaller is not None:
            found[smaller, steps] = smaller.height * smaller.width / (shape.height * shape.width)
    return sorted(found, key=lambda offer: (-found[offer], offer[1], offer[0].height))


def _scaled(shape: Shape, side: float) -> Shape | None:
    """Both sides times `side`, on the grid of 16 pixels that the request is on (or of 8); None: not smaller."""
    grid = 16 if shape.height % 16 == 0 and shape.width % 16 == 0 else 8
    height, width = (max(grid, int(pixels * side) // grid * grid) for pixels in (shape.height, shape.width))
    if height >= shape.height or width >= shape.width:
        return None
    return Shape(height=height, width=width, frames=shape.frames)
