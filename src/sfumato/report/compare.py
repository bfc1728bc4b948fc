"""Policies side by side: one table of attainment, latency and what it took, from figures of paired runs.

Means over the seeds, attainment with Student's 95% interval. "of bound" is attainment over the most that any schedule
could reach, which knows all arrivals beforehand. Figures are under the keys of `Metrics.results`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sfumato.core.values import Value
from sfumato.report.intervals import mean_interval
from sfumato.report.tables import NONE, Table, interval, number, percent

Figures = dict[str, Any]
RATE = "slo_attainment_rate"


class Match(Value, frozen=True, kw_only=True):
    """One point of a workload: for every policy the figures of each seed; `bounds`, if known, are by seed as well."""

    name: str
    runs: dict[str, tuple[Figures, ...]]
    bounds: tuple[float | None, ...] = ()

    @property
    def classes(self) -> list[str]:
        return list(dict.fromkeys(name for runs in self.runs.values() for run in runs for name in run["by_slo"]))

    def attainment(self, policy: str) -> float | None:
        """Mean over the seeds."""
        return mean_of([run[RATE] for run in self.runs[policy]])

    def of_bound(self, policy: str) -> float | None:
        """Seeds in which nothing can be served in time are left out."""
        pairs = zip((run[RATE] for run in self.runs[policy]), self.bounds, strict=False)
        return mean_of([attained / most for attained, most in pairs if attained is not None and most])


def standings(title: str, matches: Sequence[Match]) -> Table:
    """A row a point and policy."""
    named = any(match.name for match in matches)
    bounded = any(match.bounds for match in matches)
    classes = list(dict.fromkeys(name for match in matches for name in match.classes))
    columns = (
        *(("point",) if named else ()),
        "policy",
        "in time",
        "95%",
        *(("of bound",) if bounded else ()),
        *(f"{name} ±" for name in classes),
        *("mean s", "p95 s", "p99 s", "busy", "pauses", "degrees"),
    )
    rows = []
    for match in matches:
        for place, (policy, runs) in enumerate(match.runs.items()):
            point = (match.name if place == 0 else "",) if named else ()
            share = (percent(match.of_bound(policy)),) if bounded else ()
            rows.append((*point, policy, *_attained(runs), *share, *_by_class(runs, classes), *_cost(runs)))
    return Table(title=title, columns=columns, rows=tuple(rows))


def gains(match: Match) -> list[Table]:
    """Points of attainment over the first policy, paired by seed."""
    (first, base), *others = match.runs.items()
    rows = []
    for policy, runs in others:
        found = [b[RATE] - a[RATE] for a, b in zip(base, runs, strict=True) if None not in (a[RATE], b[RATE])]
        if found:
            mean, low, high = mean_interval(found)
            rows.append((policy, f"{100 * mean:+.1f}", f"[{100 * low:+.1f}, {100 * high:+.1f}]"))
    table = Table(title=f"Points over {first}, paired", columns=("policy", "points", "95%"), rows=tuple(rows))
    return [table] if rows else []


def mean_of(values: Sequence[float | None]) -> float | None:
    """Of those that are there."""
    found = [value for value in values if value is not None]
    return sum(found) / len(found) if found else None


def attained(runs: Sequence[Figures]) -> tuple[float, float, float] | None:
    """Mean attainment of some runs with its interval."""
    found = [run[RATE] for run in runs if run[RATE] is not None]
    return mean_interval(found) if found else None


def _attained(runs: Sequence[Figures]) -> tuple[str, str]:
    found = attained(runs)
    if found is None:
        return NONE, NONE
    mean, low, high = found
    return percent(mean), NONE if len(runs) == 1 else interval(max(0.0, low), min(1.0, high))


def _by_class(runs: Sequence[Figures], classes: Sequence[str]) -> Iterator[str]:
    for name in classes:
        found = attained([run["by_slo"][name] for run in runs if name in run["by_slo"]])
        if found is None:
            yield NONE
        else:
            half = f" ±{100 * (found[2] - found[0]):.1f}" if len(runs) > 1 else ""
            yield f"{100 * found[0]:.1f}{half}"


def _cost(runs: Sequence[Figures]) -> Iterator[str]:
    yield from (number(mean_of([run[f"latency_{key}"] for run in runs])) for key in ("mean", "p95", "p99"))
    yield percent(mean_of([run["utilisation"] for run in runs]))
    yield from (number(mean_of([run[key] for run in runs])) for key in ("pauses", "degree_changes"))
