"""A file that sweeps: each of its points is a workload of its own, with a name."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from sfumato.workload.processes import mean_rate
from sfumato.workload.spec import Point, Workload


def swept(workload: Workload) -> Iterator[tuple[str, Workload]]:
    """(name, workload) of every point; the one of a file without points has no name."""
    for point in workload.points or (Point(),):
        yield point.name or _axes(workload, point), at(workload, point)


def at(workload: Workload, point: Point) -> Workload:
    """The workload of one point."""
    classes = tuple(replace(entry, share=point.shares.get(entry.name, entry.share)) for entry in workload.classes)
    return replace(
        workload,
        points=(),
        classes=classes,
        rate_factor=workload.rate_factor * point.rate_factor,
        slo_factor=workload.slo_factor * point.slo_factor,
    )


def per_minute(workload: Workload) -> float:
    """Arrivals a minute in the long run; 0 where the file does not say."""
    return mean_rate(workload.arrivals) * workload.rate_factor * 60.0


def _axes(workload: Workload, point: Point) -> str:
    """What a point without a name is called: where it lies on the axes along which the points differ."""
    here, words = at(workload, point), []
    if len({each.rate_factor for each in workload.points}) > 1:
        rate = per_minute(here)
        words.append(f"{rate:.3g}/min" if rate else f"rate x{here.rate_factor:g}")
    if len({each.slo_factor for each in workload.points}) > 1:
        words.append(f"SLO x{here.slo_factor:g}")
    return ", ".join(words)
