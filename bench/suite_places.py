"""What the suite concludes: of one point that was played, and of all of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from bench.figure import Figure
from bench.suite_rates import Edge
from sfumato.cli.matches import Course
from sfumato.report.compare import attained

OURS = "sfumato"
PAPERS = {
    "tetriserve": "tetriserve",
    "genserve": "genserve",
    "tridentserve": "tridentserve",
    "mixfusion": "patchedserve",
}
WORTH_CLOSING = 0.05


class Place:
    """One point of the suite with what was found there; `lone` is the same without batches."""

    def __init__(self, file: str, course: Course, lone: Course) -> None:
        self.name = f"{file} {course.match.name}".strip()
        self.file = file
        self.point = course.match.name
        self.found = {policy: course.match.attainment(policy) or 0.0 for policy in course.runs}
        self.bound = fmean(most for most in course.match.bounds if most is not None)
        self.ours = self.found[OURS]
        self.best = max((policy for policy in self.found if policy != OURS), key=lambda policy: self.found[policy])
        self.theirs = self.found[self.best]
        self.of_bound = lone.match.of_bound(OURS) or 0.0
        self.slower = _slower(course, self.best)
        self.cpu_s = {policy: sum(ran.cpu_s for ran in runs) for policy, runs in course.runs.items()}
        self._rows = {policy: _row(runs) for policy, runs in course.match.runs.items()}

    def closed(self, policy: str) -> float | None:
        """Share of the gap from a policy to the bound that ours closes; None where the gap is below five points."""
        gap = self.bound - self.found[policy]
        return (self.ours - self.found[policy]) / gap if gap >= WORTH_CLOSING else None

    def row(self) -> dict[str, Any]:
        """For the file."""
        return {
            "file": self.file,
            "point": self.point,
            "bound": round(self.bound, 4),
            "of_bound_without_batches": round(self.of_bound, 4),
            "best_other": self.best,
            "closed": self.closed(self.best),
            "slower": self.slower,
            "policies": self._rows,
        }


def figures_of(places: Sequence[Place], rates: Mapping[str, Edge]) -> Iterator[Figure]:
    """All that is claimed."""
    ahead = max(places, key=lambda place: place.theirs - place.ours)
    points = 100 * (ahead.theirs - ahead.ours)
    yield Figure(name="another policy above sfumato: most", value=points, unit="points", limit=0.5)
    yield from _gaps(places)
    shares = [place.of_bound for place in places]
    name = "share of the bound, without batches"
    yield Figure(name=f"{name}: mean", value=fmean(shares), sense=">=", limit=0.95)
    yield Figure(name=f"{name}: lowest", value=min(shares), sense=">=", limit=0.86)
    gained = {name: edge.gain for name, edge in rates.items() if edge.gain is not None}
    if gained:
        name = "rate at 95% over the best other policy's: mean"
        yield Figure(name=name, value=fmean(gained.values()), unit="x", sense=">=", limit=1.3)
        files = sorted({name.partition(" ")[0] for name in gained})
        means = [fmean(gain for name, gain in gained.items() if name.partition(" ")[0] == file) for file in files]
        yield Figure(name="the same: mean of the means of workloads", value=fmean(means), unit="x")
    slower = [place.slower for place in places if place.slower is not None]
    yield Figure(name="latency beside the best other policy's: most", value=max(slower), unit="x", limit=1.1)
    yield Figure(name="the same: mean", value=fmean(slower), unit="x")


def _gaps(places: Sequence[Place]) -> Iterator[Figure]:
    """How much of the distance to the bound is closed: from the best other policy, and from each paper's on its own."""
    gaps = [closed for place in places if (closed := place.closed(place.best)) is not None]
    if gaps:
        name = "gap from the best other policy to the bound: closed"
        yield Figure(name=name, value=100 * fmean(gaps), unit="%", sense=">=", limit=70.0)
    for prefix, policy in PAPERS.items():
        own = [place for place in places if place.file.startswith(prefix) and policy in place.found]
        shares = [share for place in own if (share := place.closed(policy)) is not None]
        if shares:
            name = f"gap closed against {policy} on its own set-up"
            yield Figure(name=name, value=100 * fmean(shares), unit="%")


def _slower(course: Course, other: str) -> float | None:
    """Our mean latency over another policy's, on requests that both serve in time."""
    pairs = [
        (a[1], b[1])
        for mine, its in zip(course.runs[OURS], course.runs[other], strict=True)
        for a, b in zip(mine.served, its.served, strict=True)
        if a[2] and b[2] and a[1] is not None and b[1] is not None
    ]
    return sum(a for a, _ in pairs) / sum(b for _, b in pairs) if pairs else None


def _row(runs: Sequence[dict[str, Any]]) -> dict[str, Any]:
    mean, low, high = attained(runs) or (0.0, 0.0, 0.0)
    kept = ("latency_mean", "latency_p95", "latency_p99", "utilisation", "pauses", "degree_changes", "plans_refused")
    return {
        "attainment": round(mean, 4),
        "interval": [round(low, 4), round(high, 4)],
        "requests": sum(run["requests"] for run in runs),
        **{key: round(fmean(run[key] or 0.0 for run in runs), 4) for key in kept},
    }
