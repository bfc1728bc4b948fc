"""One table of both runs: what was measured on the live server, beside what the simulator predicted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import fmean
from typing import Any

from examples.demo.runs import Run
from sfumato.core.values import Value
from sfumato.report.metrics import Metrics, Summary
from sfumato.report.tables import NONE, Table, number, percent

LIVE = "live server"
Figure = Callable[[Metrics], float | None]
Text = Callable[[float | None], str]


class Compared(Value, frozen=True, kw_only=True):
    """A run beside its predictions; `pace` is seconds that units took over what the profile says."""

    run: Run
    predicted: tuple[Metrics, ...]
    pace: float = 1.0


def table(compared: Sequence[Compared], kind: str = LIVE) -> Table:
    """A row a figure; for every policy what was measured, and the mean of what was simulated.

    Shares have the range over the simulated seeds. The last row is what to hold a gap between the two against: how much
    slower the machine ran than when its profile was measured.
    """
    columns = ["", *(f"{one.run.policy}{kind}" for one in compared for kind in ("", ", simulated"))]
    rows = [(name, *(cell for one in compared for cell in _cells(one, figure, text))) for name, figure, text in FIGURES]
    pace = (cell for one in compared for cell in (f"{one.pace:.2f}", "1.00"))
    rows.append(("pace, x profile", *pace))
    count = len(compared[0].run.played)
    return Table(title=f"{count} requests on a {kind}", columns=tuple(columns), rows=tuple(rows))


def _cells(one: Compared, figure: Figure, text: Text) -> tuple[str, str]:
    measured = text(figure(one.run.metrics))
    predicted = [value for value in map(figure, one.predicted) if value is not None]
    if not predicted:
        return measured, NONE
    low, high = min(predicted), max(predicted)
    spread = f" ({100 * low:.0f}-{100 * high:.0f})" if text is percent else ""
    return measured, text(fmean(predicted)) + spread


def _part(kind: str) -> Callable[[Metrics], Summary | None]:
    return lambda metrics: metrics.by_modality.get(kind)


def _attainment(part: Callable[[Metrics], Summary | None]) -> Figure:
    return lambda metrics: None if (found := part(metrics)) is None else found.attainment


def _latency(part: Callable[[Metrics], Summary | None], key: str) -> Figure:
    def figure(metrics: Metrics) -> float | None:
        found = part(metrics)
        return None if found is None or found.latency is None else float(getattr(found.latency, key))

    return figure


def _whole(metrics: Metrics) -> Summary:
    return metrics.overall


def _count(value: float | None) -> str:
    return NONE if value is None else f"{value:.0f}"


_image, _video = _part("image"), _part("video")
FIGURES: tuple[tuple[str, Figure, Text], ...] = (
    ("in time", _attainment(_whole), percent),
    ("images in time", _attainment(_image), percent),
    ("videos in time", _attainment(_video), percent),
    ("latency, mean s", _latency(_whole, "mean"), number),
    ("latency, p95 s", _latency(_whole, "p95"), number),
    ("images, mean s", _latency(_image, "mean"), number),
    ("images, p95 s", _latency(_image, "p95"), number),
    ("videos, mean s", _latency(_video, "mean"), number),
    ("videos, p95 s", _latency(_video, "p95"), number),
    ("ranks busy", lambda metrics: metrics.utilisation, percent),
    ("pauses", lambda metrics: float(metrics.overall.pauses), _count),
)


def results(compared: Sequence[Compared]) -> dict[str, Any]:
    """Everything for results.json."""
    return {
        one.run.policy: {
            "step_time_over_profile": one.pace,
            "measured": one.run.metrics.results(),
            "simulated": [metrics.results() for metrics in one.predicted],
            "requests": [played.row() for played in one.run.played],
        }
        for one in compared
    }
