"""Figures as tables: for the terminal (rich), for a page (Markdown) and plain. One table, three renderings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sfumato.core.values import Value
from sfumato.report.intervals import Spread
from sfumato.report.metrics import Metrics, Summary
from sfumato.report.story import Life, Story

if TYPE_CHECKING:
    from rich.table import Table as RichTable

NONE = "-"


class Table(Value, frozen=True, kw_only=True):
    """Cells as text; the first column is aligned to the left, all others to the right."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """A Markdown table under its title in bold."""
        rule = ["---", *(["---:"] * (len(self.columns) - 1))]
        lines = [self.columns, rule, *([cell.replace("|", "\\|") for cell in row] for row in self.rows)]
        return "\n".join([f"**{self.title}**", "", *(f"| {' | '.join(line)} |" for line in lines)]) + "\n"

    def plain(self) -> str:
        """Aligned by spaces, for logs."""
        lines = [self.columns, *self.rows]
        widths = [max(len(line[place]) for line in lines) for place in range(len(self.columns))]
        return "\n".join([self.title, *("  " + _aligned(line, widths) for line in lines)]) + "\n"

    def rich(self) -> RichTable:
        """For a rich console."""
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable(title=self.title, title_justify="left", title_style="bold")
        for place, column in enumerate(self.columns):
            table.add_column(Text(column), justify="right" if place else "left")
        for row in self.rows:
            table.add_row(*(Text(cell) for cell in row))
        return table


def overview(metrics: Metrics) -> Table:
    """The whole run, one figure a row."""
    all_ = metrics.overall
    counts = ", ".join(f"{number} {state}" for state, number in all_.counts.items() if number)
    rows = [
        ("requests", f"{all_.requests} ({counts})" if counts else "0"),
        ("SLO attainment", f"{attainment(all_)} ({all_.met} of {all_.judged})" if all_.judged else NONE),
        ("goodput, throughput", f"{number(all_.goodput_qps)} /s, {number(all_.throughput_qps)} /s"),
        ("latency", _spread(all_.latency)),
        ("queueing", _spread(all_.queue)),
        ("pauses", f"{all_.pauses}, {_spread(all_.pause)}" if all_.pauses else "0"),
        ("moves, degree changes", f"{all_.moves}, {all_.degree_changes}"),
        ("utilisation", percent(metrics.utilisation)),
        ("rank-seconds idle while work waited", number(metrics.idle_with_work_s)),
        ("control gap", _spread(metrics.control_gap, 1000.0, "ms")),
        ("chunks", f"{metrics.chunks} ({metrics.halted} halted, {metrics.lost} lost), batch {metrics.mean_batch:.2f}"),
        ("duration", f"{number(metrics.duration_s)} s"),
    ]
    if metrics.broken:
        rows.append(("plans refused for breaking a law", str(metrics.broken)))
    return Table(title="Run", columns=("figure", "value"), rows=tuple(rows))


def breakdown(title: str, parts: dict[str, Summary]) -> Table:
    """A row for each class, model or modality."""
    columns = (title, "requests", "attainment", "95% interval", "missed", "mean s", "p50", "p95", "p99", "queued s")
    rows = tuple((name, *_summary_cells(summary)) for name, summary in parts.items())
    return Table(title=f"By {title}", columns=columns, rows=rows)


def rank_table(metrics: Metrics) -> Table:
    """A row for each rank."""
    rows = tuple(
        (str(r), percent(use.busy), percent(use.computing), number(use.up_s)) for r, use in metrics.ranks.items()
    )
    return Table(title="Ranks", columns=("rank", "busy", "computing", "up s"), rows=rows)


def request_table(story: Story, *, limit: int | None = None) -> Table:
    """A row for each request, in order of arrival; at most `limit` of them."""
    lives = list(story.lives.values())[:limit]
    columns = ("request", "class", "shape", "steps", "arrived", "queued s", "latency s", "slo s", "state", "chunks")
    rows = tuple(_request_cells(life) for life in lives)
    return Table(title=f"Requests ({len(lives)} of {len(story.lives)})", columns=columns, rows=rows)


def all_tables(metrics: Metrics) -> list[Table]:
    """What a report shows of a run."""
    parts = (("class", metrics.by_slo), ("model", metrics.by_model), ("modality", metrics.by_modality))
    return [overview(metrics), *(breakdown(title, part) for title, part in parts if part), rank_table(metrics)]


def attainment(summary: Summary) -> str:
    """A summary's attainment with its interval."""
    if summary.attainment is None:
        return NONE
    return f"{percent(summary.attainment)} {interval(summary.attainment_low, summary.attainment_high)}"


def interval(low: float | None, high: float | None) -> str:
    return NONE if low is None or high is None else f"[{100 * low:.1f}, {100 * high:.1f}]"


def percent(share: float | None) -> str:
    return NONE if share is None else f"{100 * share:.1f}%"


def number(value: float | None) -> str:
    """Three significant digits where they matter."""
    if value is None:
        return NONE
    size = abs(value)
    return (
        f"{value:.0f}"
        if size >= 100
        else f"{value:.1f}"
        if size >= 10
        else f"{value:.2f}"
        if size >= 1
        else f"{value:.3f}"
    )


def _spread(spread: Spread | None, scale: float = 1.0, unit: str = "s") -> str:
    if spread is None:
        return NONE
    figures = (("mean", spread.mean), ("p50", spread.p50), ("p95", spread.p95), ("p99", spread.p99))
    return ", ".join(f"{name} {number(value * scale)}" for name, value in figures) + f" {unit}"


def _summary_cells(summary: Summary) -> tuple[str, ...]:
    latency = summary.latency
    times = (
        [NONE] * 4 if latency is None else [number(v) for v in (latency.mean, latency.p50, latency.p95, latency.p99)]
    )
    return (
        str(summary.requests),
        percent(summary.attainment),
        interval(summary.attainment_low, summary.attainment_high),
        str(summary.judged - summary.met),
        *times,
        NONE if summary.queue is None else number(summary.queue.mean),
    )


def _request_cells(life: Life) -> tuple[str, ...]:
    request = life.request
    slo = None if request.deadline is None else request.deadline - request.arrived_at
    return (
        request.id,
        request.slo,
        str(request.shape),
        str(request.steps),
        number(request.arrived_at),
        number(life.queued_s),
        number(life.latency_s),
        number(slo),
        life.state.value if life.state else "unfinished",
        str(len(life.spans)),
    )


def _aligned(line: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (
        cell.rjust(width) if place else cell.ljust(width)
        for place, (cell, width) in enumerate(zip(line, widths, strict=True))
    )
    return "  ".join([first, *others])
