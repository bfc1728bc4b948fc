"""The words in which papers are compared: scores, runs, settings, claims, and how claims are judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any, NamedTuple


class Score(NamedTuple):
    """What a policy reached in a setting."""

    attainment: float
    by_kind: dict[str, float]
    mean_s: float
    p95_s: float

    @property
    def shown(self) -> str:
        """Overall, and images and videos apart where there are both."""
        parts = {"image", "video"} & set(self.by_kind)
        apart = " / ".join(percent(self.by_kind[kind]) for kind in sorted(parts))
        return percent(self.attainment) + (f" ({apart})" if len(parts) == 2 else "")


Scores = Mapping[str, Mapping[str, Score]]  # setting -> label -> score


class Run(NamedTuple):
    """A policy with options, under the paper's name for it."""

    label: str
    policy: str
    options: dict[str, Any] = {}


class Setting(NamedTuple):
    """`file` of recipes/workloads, its rate and SLOs multiplied, `pool` the part of its ranks."""

    name: str
    file: str
    runs: tuple[Run, ...]
    rate: float = 1.0
    slo: float = 1.0
    pool: float = 1.0
    shares: Mapping[str, float] = {}


class Claim(NamedTuple):
    """`judge` gives our figures in words, and whether they say what the paper does."""

    what: str
    reported: str
    judge: Callable[[Scores], tuple[str, bool]]
    why: str


class Paper(NamedTuple):
    """One paper's part of the page."""

    name: str
    title: str
    setup: str
    settings: tuple[Setting, ...]
    claims: tuple[Claim, ...]


def percent(value: float) -> str:
    return f"{100 * value:.0f}%"


def rising(setting: str, *labels: str) -> Callable[[Scores], tuple[str, bool]]:
    """No run below the one before."""

    def judge(scores: Scores) -> tuple[str, bool]:
        found = [scores[setting][label].attainment for label in labels]
        return " -> ".join(map(percent, found)), all(b >= a for a, b in pairwise(found))

    return judge


def above(setting: str, ours: str, *others: str) -> Callable[[Scores], tuple[str, bool]]:
    """Points of one run over the best of others."""

    def judge(scores: Scores) -> tuple[str, bool]:
        best = max(others, key=lambda label: scores[setting][label].attainment)
        mine, theirs = scores[setting][ours].attainment, scores[setting][best].attainment
        return f"{percent(mine)} against {percent(theirs)} ({best}): {100 * (mine - theirs):+.0f} points", mine > theirs

    return judge


def at_least(setting: str, label: str, least: float, kind: str = "") -> Callable[[Scores], tuple[str, bool]]:
    """A run's attainment, of a kind of request if it is named."""

    def judge(scores: Scores) -> tuple[str, bool]:
        one = scores[setting][label]
        value = one.by_kind[kind] if kind else one.attainment
        return percent(value), value >= least

    return judge


def at_most(setting: str, most: float, *labels: str) -> Callable[[Scores], tuple[str, bool]]:
    """The best attainment of some runs."""

    def judge(scores: Scores) -> tuple[str, bool]:
        best = max(labels, key=lambda label: scores[setting][label].attainment)
        value = scores[setting][best].attainment
        return f"{percent(value)} ({best})", value <= most

    return judge


def faster(setting: str, ours: str, other: str, times: float) -> Callable[[Scores], tuple[str, bool]]:
    """Mean and p95 latency of another run over ours; at least half of what is reported agrees."""

    def judge(scores: Scores) -> tuple[str, bool]:
        mine, theirs = scores[setting][ours], scores[setting][other]
        mean, p95 = theirs.mean_s / mine.mean_s, theirs.p95_s / mine.p95_s
        return f"mean {mean:.1f} times, p95 {p95:.1f} times", mean >= times / 2

    return judge
