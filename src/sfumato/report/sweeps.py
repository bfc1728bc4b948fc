"""The drawings of a comparison: attainment over the rate and over the SLO, and the latency of every policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sfumato.core.values import Value
from sfumato.report.colours import series_colour
from sfumato.report.compare import Match, attained
from sfumato.report.plots import Point, label, legend, line_style, new_figure, plot_attainment

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Latencies = Mapping[str, Sequence[float | None]]  # policy -> of each request, None where it was not delivered


class Place(Value, frozen=True, kw_only=True):
    """Where a match lies on the axes; points that differ in `rest` are not joined."""

    match: Match
    per_minute: float
    slo: float
    rest: str = ""


def plot_sweeps(places: Sequence[Place], title: str, note: str = "") -> dict[str, Figure]:
    """Attainment over "rate" and over "slo", each along the longest line of points that differ in nothing else."""
    found = {}
    for name, axis, others, x in (
        ("rate", "per_minute", ("slo", "rest"), "arrivals a minute"),
        ("slo", "slo", ("per_minute", "rest"), "SLO scale"),
    ):
        groups: dict[tuple[object, ...], list[Place]] = {}
        for place in places:
            groups.setdefault(tuple(getattr(place, other) for other in others), []).append(place)
        longest = max(groups.values(), key=len)
        if len({getattr(place, axis) for place in longest}) > 1:
            found[name] = plot_attainment(_lines(longest, axis), x=x, title=f"{title}: SLO attainment{note}")
    return found


def _lines(places: Sequence[Place], axis: str) -> dict[str, list[Point]]:
    lines: dict[str, list[Point]] = {}
    for place in places:
        for policy, runs in place.match.runs.items():
            found = attained(runs)
            if found is not None:
                mean, low, high = found
                point = Point(x=getattr(place, axis), y=mean, low=max(0.0, low), high=min(1.0, high))
                lines.setdefault(policy, []).append(point)
        found = attained([{"slo_attainment_rate": most} for most in place.match.bounds])
        if found is not None:
            lines.setdefault("bound", []).append(Point(x=getattr(place, axis), y=found[0]))
    return lines


def plot_latencies(groups: Latencies, *, title: str) -> Figure:
    """The cumulative distribution of each policy's latency, as a share of all that arrived."""
    figure, axes = new_figure(7.0, 4.2)
    for place, (name, latencies) in enumerate(groups.items()):
        found = sorted(latency for latency in latencies if latency is not None)
        shares = [(count + 1) / len(latencies) for count in range(len(found))]
        style: dict[str, Any] = {"color": series_colour(place), "linestyle": line_style(place), "linewidth": 1.8}
        axes.step(found, shares, where="post", label=name, **style)
    axes.set_xscale("log")
    axes.set_ylim(0, 1.02)
    label(axes, title, "latency, s", "share of requests that arrived")
    legend(axes, groups)
    return figure
