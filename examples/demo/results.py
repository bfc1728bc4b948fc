"""One table of both runs: what was measured on the live server, beside what the simulator predicted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

from examples.demo.runs import Run

from sfumato.core.values import Value
from sfumato.report.metrics import Metrics, Summary
from sfumato.report.tables import NONE, Table, number, percent

Figure = Callable[[Metrics], float | None]


class Compared(Value, frozen=True, kw_only=True):
    """A run beside its predictions."""

    run: Run
    predicted: tuple[Metrics, ...]


def table(compared: Sequence[Compared]) -> Table:
    """A row a figure; for every policy what was measured, and what was simulated with its range over the seeds."""
    columns = ["", *(f"{one.run.policy}{kind}" for one in compared for kind in ("", ", simulated"))]
    rows = []
    for name, figure, text in _figures():
        cells = (cell for one in compared for cell in _cells(one, figure, text))
        rows.append((name, *cells))
    count = len(compared[0].run.played)
    return Table(title=f"{count} requests on a live server", columns=tuple(columns), rows=tuple(rows))


def _cells(one: Compared, figure: Figure, text: Callable[[float | None], str]) -> tuple[str, str]:
    predicted = [value for value in map(figure, one.predicted) if value is not None]
    if not predicted:
        return text(figure(one.run.metrics)), NONE
    low, high = text(min(predicted)), text(max(predicted))
    spread = "" if low == high else f" ({low} - {high})"
    return text(figure(one.run.metrics)), text(fmean(predicted)) + spread


def _figures() -> list[tuple[str, Figure, Callable[[float | None], str]]]:
    parts = ((kind, _part(kind)) for kind in ("image", "video"))
    rows: list[tuple[str, Figure, Callable[[float | None], str]]] = [
        ("in time", lambda m: m.overall.attainment, percent)
    ]
    latencies: list[tuple[str, Figure, Callable[[float | None], str]]] = [
        ("latency, mean s", _latency(lambda m: m.overall, "mean"), number),
        ("latency, p95 s", _latency(lambda m: m.overall, "p95"), number),
    ]
    for kind, part in parts:
        rows.append((f"{kind}s in time", _attainment(part), percent))
        latencies += [(f"{kind}s, {key} s", _latency(part, key), number) for key in ("mean", "p95")]
    return [*rows, *latencies, ("ranks busy", lambda m: m.utilisation, percent), ("pauses", _pauses, number)]


def _part(kind: str) -> Callable[[Metrics], Summary | None]:
    return lambda metrics: metrics.by_modality.get(kind)


def _attainment(part: Callable[[Metrics], Summary | None]) -> Figure:
    return lambda metrics: None if (found := part(metrics)) is None else found.attainment


def _latency(part: Callable[[Metrics], Summary | None], key: str) -> Figure:
    def figure(metrics: Metrics) -> float | None:
        found = part(metrics)
        return None if found is None or found.latency is None else float(getattr(found.latency, key))

    return figure


def _pauses(metrics: Metrics) -> float:
    return float(metrics.overall.pauses)


def results(compared: Sequence[Compared]) -> dict[str, Any]:
    """Everything for results.json."""
    return {
        one.run.policy: {
            "measured": one.run.metrics.results(),
            "simulated": [metrics.results() for metrics in one.predicted],
            "requests": [played.row() for played in one.run.played],
        }
        for one in compared
    }
