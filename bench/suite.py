"""The published policies and ours on the suite (recipes/workloads): at least 3,000 requests a point, policies paired.

Figures, over all points: how far another policy is ahead of sfumato; how much of the gap between the best other policy
and the offline bound it closes; its share of the bound, without batches; the rate that it holds at 95%; its latency on
requests that both serve in time. Seeds from EVALUATION on are used for nothing else.

Runs are kept by what they depend on (cli/trials.py), so a suite that was stopped goes on, and one after a change to a
single policy plays that policy alone. `--modelled-factor 0.7` (1.3) asks whether the modelled figures decide.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

from msgspec import to_builtins
from msgspec.structs import replace

from bench.figure import Figure, Result, run
from sfumato.cli.matches import Course, course_of, tasks_of
from sfumato.cli.searches import distinct, held_at
from sfumato.cli.trials import BOUND, Trial, play
from sfumato.config import usable_cores
from sfumato.core.values import Value
from sfumato.policies import POLICIES
from sfumato.report.compare import attained
from sfumato.sim.search import most
from sfumato.sim.sweep import Kept, sweep
from sfumato.workload.load import load
from sfumato.workload.points import swept

FOLDER = Path(__file__).parents[1] / "recipes" / "workloads"
EVALUATION = 1_000_000
OURS = "sfumato"
OTHERS = (*(name for name in POLICIES if name != OURS), *(f"fixed,degree={degree}" for degree in (2, 4, 8)))
QUICK_OTHERS = ("tetriserve", "genserve", "tridentserve", "patchedserve", "srtf", "static")
PAPERS = {
    "tetriserve": "tetriserve",
    "genserve": "genserve",
    "tridentserve": "tridentserve",
    "mixfusion": "patchedserve",
}
HELD = 0.95
RATE_SEEDS = 3
CLOSE = 1.05  # how near the edge is sought


class Place:
    """One point of the suite with what was found there."""

    def __init__(self, file: str, course: Course, lone: Course) -> None:
        self.name = f"{file} {course.match.name}".strip()
        self.file = file
        self.course = course
        self.found = {policy: course.match.attainment(policy) or 0.0 for policy in course.runs}
        self.bound = fmean(most for most in course.match.bounds if most is not None)
        self.ours = self.found[OURS]
        self.best = max((policy for policy in self.found if policy != OURS), key=lambda policy: self.found[policy])
        self.theirs = self.found[self.best]
        self.of_bound = lone.match.of_bound(OURS) or 0.0

    def closed(self, policy: str) -> float | None:
        """Share of the gap from a policy to the bound that ours closes; None where the gap is below five points."""
        gap = self.bound - self.found[policy]
        return (self.ours - self.found[policy]) / gap if gap >= 0.05 else None

    @property
    def slower(self) -> float | None:
        """Our mean latency over the best other's, on requests that both serve in time."""
        ours, theirs = self.course.runs[OURS], self.course.runs[self.best]
        pairs = [
            (a[1], b[1])
            for mine, its in zip(ours, theirs, strict=True)
            for a, b in zip(mine.served, its.served, strict=True)
            if a[2] and b[2] and a[1] is not None and b[1] is not None
        ]
        return sum(a for a, _ in pairs) / sum(b for _, b in pairs) if pairs else None

    def row(self) -> dict[str, Any]:
        """For the file."""
        return {
            "bound": round(self.bound, 4),
            "of_bound_without_batches": round(self.of_bound, 4),
            "best_other": self.best,
            "closed": self.closed(self.best),
            "slower": self.slower,
            "policies": {policy: _row(runs) for policy, runs in self.course.match.runs.items()},
        }


def measure(quick: bool, factor: float = 1.0) -> Result:
    others = QUICK_OTHERS if quick else OTHERS
    bases = {
        path.stem: _base(path, factor, quick=quick) for path in sorted(FOLDER.glob("*.toml")) if _is_in(path, quick)
    }
    places = list(_places(bases, (OURS, *others)))
    rates = {} if quick else _rates(bases, places, others)
    details = {
        "modelled_factor": factor,
        "policies": [OURS, *others],
        "first_seed": EVALUATION,
        "points": {place.name: place.row() for place in places},
        "rates": {name: {**to_builtins(edge), "gain": edge.gain} for name, edge in rates.items()},
        "cpu_s": {policy: round(_cpu_s(places, policy), 1) for policy in (OURS, *others)},
    }
    return Result(figures=tuple(_figures(places, rates)), details=details)


def _figures(places: Sequence[Place], rates: dict[str, Edge]) -> Iterator[Figure]:
    ahead = max(place.theirs - place.ours for place in places)
    yield Figure(name="another policy above sfumato: most", value=100 * ahead, unit="points", limit=0.5)
    gaps = [closed for place in places if (closed := place.closed(place.best)) is not None]
    if gaps:
        yield Figure(
            name="gap from the best other policy to the bound: closed",
            value=100 * fmean(gaps),
            unit="%",
            sense=">=",
            limit=70.0,
        )
    for prefix, policy in PAPERS.items():
        own = [place for place in places if place.file.startswith(prefix) and policy in place.found]
        shares = [share for place in own if (share := place.closed(policy)) is not None]
        if shares:
            name = f"gap closed against {policy} on its own set-up"
            yield Figure(name=name, value=100 * fmean(shares), unit="%")
    shares = [place.of_bound for place in places]
    name = "share of the bound, without batches"
    yield Figure(name=f"{name}: mean", value=fmean(shares), sense=">=", limit=0.95)
    yield Figure(name=f"{name}: lowest", value=min(shares), sense=">=", limit=0.86)
    gained = [edge.gain for edge in rates.values() if edge.gain]
    if gained:
        name = "rate at 95% over the best other policy's: mean"
        yield Figure(name=name, value=fmean(gained), unit="x", sense=">=", limit=1.3)
    slower = [ratio for place in places if (ratio := place.slower) is not None]
    yield Figure(name="latency beside the best other policy's: most", value=max(slower), unit="x", limit=1.1)
    yield Figure(name="the same: mean", value=fmean(slower), unit="x")


# -- what is played ---------------------------------------------------------------------------------------------------


def _is_in(path: Path, quick: bool) -> bool:
    """The demo is for the embedded models; a quick look leaves out what takes long."""
    slow = ("tridentserve", "pool", "diurnal")
    return path.stem != "demo" and not (quick and path.stem.startswith(slow))


def _base(path: Path, factor: float, *, quick: bool) -> Trial:
    workload = replace(load(path), seed=EVALUATION)
    if quick:
        point = workload.points[len(workload.points) // 2 :][:1]
        workload = replace(workload, points=point, seeds=1, requests=200)
    return Trial(workload=workload, policy="", seed=EVALUATION, factor=factor)


def _places(bases: dict[str, Trial], policies: Sequence[str]) -> Iterator[Place]:
    """All of them played in one go, so that all cores are busy to the end."""
    points = [
        (file, name, replace(base, workload=workload))
        for file, base in bases.items()
        for name, workload in swept(base.workload)
    ]
    lone = [replace(trial, workload=replace(trial.workload, batches=False)) for *_, trial in points]
    asked = [tasks_of(trial, (*policies, BOUND)) for *_, trial in points]
    asked += [tasks_of(trial, (OURS, BOUND)) for trial in lone]
    runs = iter(play([trial for tasks in asked for trial in tasks], what="suite"))
    played = [[(task, next(runs)) for task in tasks] for tasks in asked]
    for place, (file, name, trial) in enumerate(points):
        alone = course_of(name, lone[place], played[len(points) + place])
        yield Place(file, course_of(name, trial, played[place]), alone)


# -- the highest rate -------------------------------------------------------------------------------------------------


class Search(Value, frozen=True, kw_only=True):
    """For which workload; `ranked` begins with the policy that is likeliest to hold the highest rate."""

    trial: Trial
    ranked: tuple[str, ...]


class Edge(Value, frozen=True, kw_only=True):
    """Rates as factors of the file's: that of sfumato, and the best of the others with who holds it."""

    ours: float
    theirs: float
    holder: str = ""

    @property
    def gain(self) -> float | None:
        return self.ours / self.theirs if self.theirs else None


def edge_of(search: Search) -> Edge:
    """After the first, a policy is asked only whether it holds more than the best so far."""
    held = partial(_holds, search.trial)
    ours = most(partial(held, OURS), within=CLOSE - 1.0)
    best, holder = 0.0, ""
    for policy in search.ranked:
        start = best * CLOSE or ours or 1.0
        if best and not held(policy, start):
            continue
        found = most(partial(held, policy), start=start, within=CLOSE - 1.0)
        if found > best:
            best, holder = found, policy
    return Edge(ours=ours, theirs=best, holder=holder)


def _rates(bases: dict[str, Trial], places: Sequence[Place], others: Sequence[str]) -> dict[str, Edge]:
    """By workload, points that differ in rate alone taken as one; each search on one core."""
    searches = []
    for file, base in bases.items():
        own = [place for place in places if place.file == file]
        ranked = tuple(sorted(others, key=lambda policy: -sum(place.found[policy] for place in own)))
        for name, workload in distinct(base.workload):
            few = replace(workload, seeds=min(RATE_SEEDS, workload.seeds))
            searches.append((f"{file} {name}".strip(), Search(trial=replace(base, workload=few), ranked=ranked)))
    edges = sweep(searches, edge_of, Kept(None, Edge), processes=usable_cores())
    return {name: edge for (name, _), edge in zip(searches, edges, strict=True)}


def _holds(base: Trial, policy: str, factor: float) -> bool:
    faster = replace(base.workload, rate_factor=base.workload.rate_factor * factor)
    return held_at(replace(base, workload=faster, policy=policy), HELD, jobs=1)


def _row(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    mean, low, high = attained(runs) or (0.0, 0.0, 0.0)
    kept = ("latency_mean", "latency_p95", "latency_p99", "utilisation", "pauses", "degree_changes", "plans_refused")
    return {
        "attainment": round(mean, 4),
        "interval": [round(low, 4), round(high, 4)],
        "requests": sum(run["requests"] for run in runs),
        **{key: round(fmean(run[key] or 0.0 for run in runs), 4) for key in kept},
    }


def _cpu_s(places: Sequence[Place], policy: str) -> float:
    return sum(ran.cpu_s for place in places for ran in place.course.runs[policy])


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a point of some workloads, 200 requests: a look")
    parser.add_argument("--modelled-factor", type=float, default=1.0)
    given = parser.parse_args()
    factor = given.modelled_factor
    name = "suite" if factor == 1.0 else f"suite-modelled-{factor:g}"
    run(name, lambda quick: measure(quick, factor), quick=given.quick)


if __name__ == "__main__":
    main()
