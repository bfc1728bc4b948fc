"""Stage one: what each video could do next, and what that is worth. Also the plain slack that the paper orders by.

GenServe, section on the SLO-aware scheduler: a video's candidates are to hold (pause, or go on waiting), to go on at
its degree, and to move to other degrees. The paper's own value of a candidate was not available to us; here a candidate
counts 1 if the video makes its deadline that way to its end, a little less if it is only still able to after this
round at its fastest (the less slack it then has, the less), and 0 if it is lost. Less what it
costs: pausing 0.2, so that it happens for a request that would miss otherwise, changing degree 0.01, a rank 0.0001.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from sfumato.core.values import Value
from sfumato.policies.pace import Standing

ALIVE = 0.1  # how much less a video counts that just makes it at its fastest than one that is safe
PAUSE = 0.2  # more than ALIVE: a video pauses for who would miss otherwise; 3 to 4 points over 0.01 with 80% videos
SWITCH = 0.01
RANK = 0.0001


class Candidate(Value, frozen=True, kw_only=True):
    """`degree` ranks (0: hold) and what that is worth."""

    degree: int
    worth: float


def slack_s(s: Standing, degree: int) -> float:
    """Deadline - (now + steps left * step at this degree), encode and decode set aside."""
    return s.time_s - s.steps * s.pace.step_s(degree)


def candidates(s: Standing, degrees: Sequence[int], current: int, may_hold: bool, round_s: float) -> list[Candidate]:
    """The list of one video; `current` is the degree it runs at or ran at last (0: never), holding comes first."""
    found = [Candidate(degree=0, worth=_held(s, round_s) - (PAUSE if current else 0))] if may_hold else []
    for degree in degrees:
        switch = SWITCH if current not in (0, degree) else 0.0
        found.append(Candidate(degree=degree, worth=_run(s, degree, round_s) - switch - RANK * degree))
    return found


def alive(slack: float, round_s: float) -> float:
    """What a request counts that has `slack` seconds left at its fastest: 0 if none, near 1 if many rounds."""
    if slack < -1e-9:
        return 0.0
    return 1 - ALIVE * (round_s / (round_s + slack) if round_s + slack > 0 else 1.0)


def chosen(groups: Sequence[list[Candidate]], rest: Sequence[float]) -> list[int]:
    """Stage two, a group knapsack: a degree for each video, so that videos and `rest` (images, by ranks) count most.

    O(G N K) for G videos, N ranks, K candidates each.
    """
    ranks = len(rest) - 1
    best = [0.0] + [-inf] * ranks
    taken: list[list[int]] = []
    for group in groups:
        after, how = [-inf] * (ranks + 1), [0] * (ranks + 1)
        for candidate in group:
            for used in range(candidate.degree, ranks + 1):
                worth = best[used - candidate.degree] + candidate.worth
                if worth > after[used]:
                    after[used], how[used] = worth, candidate.degree
        best = after
        taken.append(how)
    used = max(range(ranks + 1), key=lambda at: (best[at] + rest[ranks - at], -at))
    degrees = []
    for how in reversed(taken):
        degrees.append(how[used])
        used -= how[used]
    return degrees[::-1]


def _held(s: Standing, round_s: float) -> float:
    return alive(s.laxity - round_s, round_s)


def _run(s: Standing, degree: int, round_s: float) -> float:
    """One round at `degree`, then whatever it takes."""
    if slack_s(s, degree) >= -1e-9:
        return 1.0
    step_s = s.pace.step_s(degree)
    steps = min(s.steps, max(1, int(round_s / step_s + 1e-6))) if step_s > 0 else s.steps
    return alive(s.laxity - steps * (step_s - s.pace.fastest_s), round_s)
