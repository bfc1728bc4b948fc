"""The words in which papers are compared: scores, runs, settings, claims with their verdicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

UNKNOWN = "not known"
AS_REPORTED = "as reported"
SMALLER = "same direction, smaller"
LARGER = "same direction, larger"
DIFFERS = "**differs**"
WITHIN = 2.0  # a gain is of the reported size within this factor
LEAST = 0.005  # less is no gain, and no loss


class Score(NamedTuple):
    """What a policy reached in a setting; latencies are of what was delivered, sorted, "" being every kind."""

    attainment: float
    by_kind: Mapping[str, float]
    took_s: Mapping[str, Sequence[float]]

    @property
    def shown(self) -> str:
        """Overall, and images and videos apart where there are both."""
        parts = {"image", "video"} & set(self.by_kind)
        apart = " / ".join(percent(self.by_kind[kind]) for kind in sorted(parts))
        return percent(self.attainment) + (f" ({apart})" if len(parts) == 2 else "")

    def met(self, kind: str = "") -> float:
        """The part in time, of a kind of request if it is named."""
        return self.by_kind[kind] if kind else self.attainment

    def mean_s(self, kind: str = "") -> float:
        took = self.took_s[kind]
        return sum(took) / len(took)

    def quantile_s(self, part: float, kind: str = "") -> float:
        took = self.took_s[kind]
        return took[int(part * (len(took) - 1))]


Scores = Mapping[str, Mapping[str, Score]]  # setting -> label -> score
Judge = Callable[[Scores], tuple[str, str]]


class Run(NamedTuple):
    """A policy with options, under the paper's name for it."""

    label: str
    policy: str
    options: dict[str, Any] = {}


class Setting(NamedTuple):
    """`file` of recipes/workloads, its rate and SLOs multiplied, `pool` the part of its ranks.

    `length` multiplies the requests of a run. With `per_second` arrivals are Poisson at that rate, not as in the file.
    """

    name: str
    file: str
    runs: tuple[Run, ...]
    rate: float = 1.0
    slo: float = 1.0
    pool: float = 1.0
    length: float = 1.0
    shares: Mapping[str, float] = {}
    per_second: float | None = None


class Claim(NamedTuple):
    """`judge` gives our figures in words and a verdict. `why`: of less or another order; `larger`: of more."""

    what: str
    reported: str
    judge: Judge
    why: str = UNKNOWN
    larger: str = UNKNOWN

    def because(self, verdict: str) -> str:
        """What is said of a verdict that is not "as reported"."""
        return self.larger if verdict == LARGER else self.why


class Paper(NamedTuple):
    """One paper's part of the page; `missing` is what it reports that is not compared."""

    name: str
    title: str
    setup: str
    settings: tuple[Setting, ...]
    claims: tuple[Claim, ...]
    missing: str = ""


def percent(value: float) -> str:
    return f"{100 * value:.0f}%"


def points(gain: float) -> str:
    return f"{100 * gain:+.0f} points"


# -- verdicts ---------------------------------------------------------------------------------------------------------


def sized(gain: float, reported: float | None) -> str:
    """Of a gain, where the reported one is known: without it the direction is all there is to judge."""
    if gain < LEAST:
        return DIFFERS
    if reported is None:
        return AS_REPORTED
    if gain * WITHIN < reported - 1e-9:
        return SMALLER
    return LARGER if gain > reported * WITHIN + 1e-9 else AS_REPORTED


def held(bound: bool) -> str:
    return AS_REPORTED if bound else DIFFERS


# -- judges -----------------------------------------------------------------------------------------------------------


def above(setting: str, ours: str, *others: str, by: float | None = None, kind: str = "") -> Judge:
    """Points of one run over the best of others."""

    def judge(scores: Scores) -> tuple[str, str]:
        found = scores[setting]
        best = max(others, key=lambda label: found[label].met(kind))
        mine, theirs = found[ours].met(kind), found[best].met(kind)
        return f"{percent(mine)} against {percent(theirs)} ({best}): {points(mine - theirs)}", sized(mine - theirs, by)

    return judge


def most_above(settings: Sequence[str], ours: str, other: str, by: float) -> Judge:
    """Points of one run over another where they are most."""

    def judge(scores: Scores) -> tuple[str, str]:
        gains = {name: scores[name][ours].attainment - scores[name][other].attainment for name in settings}
        return ", ".join(f"{name}: {points(gain)}" for name, gain in gains.items()), sized(max(gains.values()), by)

    return judge


def nowhere_below(settings: Sequence[str], ours: str, *others: str) -> Judge:
    """One run is at least the best of others in each setting."""

    def judge(scores: Scores) -> tuple[str, str]:
        pairs = {
            name: (scores[name][ours].attainment, max(scores[name][label].attainment for label in others))
            for name in settings
        }
        shown = ", ".join(f"{name}: {percent(mine)} against {percent(best)}" for name, (mine, best) in pairs.items())
        return shown, held(all(best - mine < LEAST for mine, best in pairs.values()))

    return judge


def rising(setting: str, *labels: str, by: float) -> Judge:
    """No run below the one before, and the last so far above the first."""
    return _stairs([(setting, label) for label in labels], by)


def falling(label: str, *settings: str, by: float) -> Judge:
    """No setting above the one before, and the last so far below the first."""
    return _stairs([(setting, label) for setting in settings], by, sign=-1)


def _stairs(places: Sequence[tuple[str, str]], by: float, sign: int = 1) -> Judge:
    def judge(scores: Scores) -> tuple[str, str]:
        found = [scores[setting][label].attainment for setting, label in places]
        ordered = all(sign * (b - a) > -LEAST for a, b in pairwise(found))
        verdict = sized(sign * (found[-1] - found[0]), by) if ordered else DIFFERS
        return " -> ".join(map(percent, found)), verdict

    return judge


def at_least(setting: str, label: str, least: float, kind: str = "") -> Judge:
    """A run's attainment."""

    def judge(scores: Scores) -> tuple[str, str]:
        value = scores[setting][label].met(kind)
        return percent(value), held(value >= least)

    return judge


def at_most(setting: str, most: float, *labels: str) -> Judge:
    """The best attainment of some runs."""

    def judge(scores: Scores) -> tuple[str, str]:
        best = max(labels, key=lambda label: scores[setting][label].attainment)
        value = scores[setting][best].attainment
        return f"{percent(value)} ({best})", held(value <= most)

    return judge


def faster(setting: str, ours: str, other: str, times: float, part: float | None = None, kind: str = "") -> Judge:
    """Latency of another run over ours: of the mean, or of the quantile `part`."""

    def judge(scores: Scores) -> tuple[str, str]:
        mine, theirs = (
            one.mean_s(kind) if part is None else one.quantile_s(part, kind)
            for one in (scores[setting][ours], scores[setting][other])
        )
        ratio = theirs / mine
        return f"{theirs:.1f} s to {mine:.1f} s: {ratio:.1f} times", sized(ratio - 1, times - 1)

    return judge


def goodput(rates: Mapping[str, float], ours: str, other: str, times: float, least: float = 0.9) -> Judge:
    """The highest rate with `least` in time, over another run's. `rates` are those of settings, ascending."""

    def judge(scores: Scores) -> tuple[str, str]:
        mine, theirs = (
            highest([(rate, scores[name][label].attainment) for name, rate in rates.items()], least)
            for label in (ours, other)
        )
        ratio = mine / theirs
        return f"{mine:.2f} against {theirs:.2f} a second: {ratio:.2f} times", sized(ratio - 1, times - 1)

    return judge


def highest(curve: Sequence[tuple[float, float]], least: float) -> float:
    """Where a curve of (rate, part in time) falls below `least`, straight between its points and within them."""
    rate, value = curve[0]
    for after, then in curve:
        if then < least:
            return rate if value <= least else rate + (after - rate) * (value - least) / (value - then)
        rate, value = after, then
    return rate
