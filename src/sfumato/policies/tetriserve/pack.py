"""Round packing: which requests run in this round, at which of their degrees, so that the most survive it.

TetriServe algorithm 1, a group knapsack over the ranks: each request takes one of {nothing, a degree of its
allocation}; an option survives if what is left after it still meets the deadline at the fastest degree. O(R N).

The algorithm leaves ties open, and there are many: with some slack a request survives whether it runs or not. Here the
packing with the fewest GPU-seconds to come wins (a request that is put off needs wider degrees later), then whoever has
the least slack.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from sfumato.core.values import Value
from sfumato.policies.pace import Standing
from sfumato.policies.tetriserve.allocate import Speeds, allocate

SURVIVES = 1e6  # one survivor outweighs any saving of GPU-seconds
RUNS = 1e-3  # breaks what is still a tie for the request with the least slack


class Option(Value, frozen=True, kw_only=True):
    """Run on `degree` ranks for `steps` this round (0, 0: do not), and what that is worth."""

    degree: int
    steps: int
    worth: float


def options(s: Standing, ranks: int, round_s: float, *, whole: bool) -> list[Option]:
    """What a request can do this round, doing nothing first; `whole`: it goes on at its degree to the round's end."""
    allocation = allocate(_in_rounds(s, round_s), s.steps, s.time_s) or allocate(s.pace.steps, s.steps, s.time_s)
    found = [Option(degree=0, steps=0, worth=_worth(s, 0, 0.0, 0.0, round_s))]
    for share, degree in allocation.parts if allocation else ():
        steps = in_round(s, degree, round_s)
        steps = steps if whole else min(share, steps)
        if steps and degree <= ranks:
            seconds = steps * s.pace.step_s(degree)
            worth = _worth(s, steps, seconds, degree * seconds, round_s if whole else seconds) + RUNS / (
                1 + max(0.0, s.laxity)
            )
            found.append(Option(degree=degree, steps=steps, worth=worth))
    return found


def in_round(s: Standing, degree: int, round_s: float) -> int:
    """Steps at `degree` that end within a round."""
    encode_s = s.pace.encode_s + s.pace.start_s if s.job.stage == "encode" else 0.0
    step_s = s.pace.step_s(degree)
    return min(s.steps, int((round_s - s.pace.start_s - encode_s) / step_s + 1e-6)) if step_s > 0 else s.steps


def _in_rounds(s: Standing, round_s: float) -> Speeds:
    """Seconds a step over whole rounds: what does not fill a round idles to its end. Worth 2 to 9 points."""
    whole = ((k, step_s, in_round(s, k, round_s)) for k, step_s in s.pace.steps)
    return tuple((k, round_s / n if 0 < n < s.steps else step_s) for k, step_s, n in whole)


def packed(groups: Sequence[list[Option]], ranks: int) -> list[Option]:
    """The best choice, an option of every group, within `ranks`."""
    best = [0.0] + [-inf] * ranks
    taken: list[list[Option | None]] = []
    for group in groups:
        after = [-inf] * (ranks + 1)
        how: list[Option | None] = [None] * (ranks + 1)
        for option in group:
            for used in range(option.degree, ranks + 1):
                worth = best[used - option.degree] + option.worth
                if worth > after[used]:
                    after[used], how[used] = worth, option
        best = after
        taken.append(how)
    used = max(range(ranks + 1), key=lambda at: (best[at], -at))
    chosen = []
    for how in reversed(taken):
        found = how[used]
        assert found is not None, "doing nothing is always an option"
        chosen.append(found)
        used -= found.degree
    return chosen[::-1]


def _worth(s: Standing, steps: int, seconds: float, gpu_s: float, next_s: float) -> float:
    """A survivor, less the GPU-seconds of these steps and of the cheapest way on in `next_s` seconds; else nothing."""
    if steps == s.steps:
        return SURVIVES - gpu_s if seconds <= s.time_s + 1e-9 else 0.0
    onward = allocate(s.pace.steps, s.steps - steps, s.time_s - next_s)
    return SURVIVES - gpu_s - onward.gpu_s if onward else 0.0
