"""Guaranteed shares: rank-seconds that classes, and left-over work, are owed because others were served.

Who has something to run earns its share of the pool's time and pays for what it gets. A class has kept what its credit
pays for to the end (`keep.guaranteed`); left-over work gets a step, at its narrowest degree, once its credit pays one.
"""

from __future__ import annotations

from collections.abc import Iterable

from sfumato.core.values import Chunk
from sfumato.policies.sfumato.board import Board, Seat
from sfumato.policies.sfumato.choices import Choices
from sfumato.policies.sfumato.outlook import Flags, Outlook, Outlooks

LEFT_OVER = ""  # late and best-effort work, beside the classes with a share


def earned(owed: dict[str, float], choices: Choices, outlooks: Outlooks, rank_s: float) -> dict[str, float]:
    """What is owed after `rank_s` more rank-seconds of the pool. No class saves up more than two of its requests."""
    found = {}
    for slo, share in choices.shares.items():
        works = [o.work for o in outlooks if o.job.request.slo == slo and not o.hopeless]
        if works:
            found[slo] = min(owed.get(slo, 0.0) + share * rank_s, 2 * max(works))
    if choices.left_over and outlooks.hopeless.any():
        found[LEFT_OVER] = owed.get(LEFT_OVER, 0.0) + choices.left_over * rank_s
    return found


def launch_owed(owed: dict[str, float], board: Board, first: Outlook) -> bool:
    """Seat the first of the left-over work, if it is owed a step; its credit is held to two of them."""
    credit = owed.get(LEFT_OVER, 0.0)
    degree = first.paces[0].steps[0][0]
    step_s = degree * first.step_s(degree)
    owed[LEFT_OVER] = min(credit, 2 * step_s)
    return credit >= step_s and board.launch_slow(first, "owed")


def paid(owed: dict[str, float], launches: Iterable[tuple[Seat, Chunk, float]], keep: Flags) -> dict[str, float]:
    """What is owed after these launches, given with their seconds a unit."""
    left = dict(owed)
    for seat, chunk, unit_s in launches:
        request = seat.o.job.request
        slo = request.slo if keep[seat.o.place] else LEFT_OVER
        if slo in left:
            spent_s = len(chunk.group) * chunk.units * unit_s
            if chunk.onward:
                spent_s += chunk.onward * seat.o.paces[seat.part].unit_s(chunk.following.stage, 1)
            left[slo] = max(0.0, left[slo] - spent_s)
    return left
