"""Charts of stories as matplotlib figures: latency, attainment, the queue. The Gantt chart has a file of its own.

matplotlib is imported inside, and figures are made without pyplot, so nothing global is touched.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from sfumato.core.values import Value
from sfumato.report.colours import FAINT, INK, SERIES, series_colour
from sfumato.report.ranks import queue_lengths
from sfumato.report.story import Life, Story

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINES = ("-", "--", "-.", ":")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
_NOTE_INCH, _NOTE_LINE = 17, 0.13  # letters an inch, inches a line


class Point(Value, frozen=True, kw_only=True):
    """One measured point of a line; `low` and `high` are its interval, if it has one."""

    x: float
    y: float
    low: float | None = None
    high: float | None = None


def save(figure: Figure, path: str | Path, *, dpi: int = 150, note: str = "") -> None:
    """Write a figure as PNG, SVG or PDF, by the name's ending; `note` says above it what it rests on."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    if note:
        lines = wrap(note, int(_NOTE_INCH * figure.get_figwidth()))
        figure.set_figheight(figure.get_figheight() + _NOTE_LINE * len(lines))
        figure.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=7, color=INK, parse_math=False)
    FigureCanvasAgg(figure)
    figure.savefig(path, dpi=dpi, facecolor="white")


def new_figure(width: float, height: float) -> tuple[Figure, Axes]:
    """An empty figure (inches) with one pair of axes in the house's look."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    dress(axes)
    return figure, axes


def dress(axes: Axes) -> None:
    """A light grid behind the data, no box."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(FAINT)
    axes.tick_params(colors=INK, labelsize=9, length=3)
    axes.grid(True, color=FAINT, linewidth=0.6, alpha=0.7)
    axes.set_axisbelow(True)


def plot_latency(groups: Mapping[str, Iterable[Life]], *, title: str = "Latency of delivered requests") -> Figure:
    """A cumulative distribution of latency for each named group of requests, as a share of all that arrived in it.

    A line ends below 1 where requests were refused, cancelled, failed or never ended. A tick marks each deadline that
    a whole group shares.
    """
    figure, axes = new_figure(7.0, 4.2)
    for place, (name, group) in enumerate(groups.items()):
        lives = list(group)
        found = sorted(latency for life in lives if (latency := life.latency_s) is not None)
        shares = [count / len(lives) for count in range(len(found) + 1)] if lives else [0.0]
        colour, line = series_colour(place), line_style(place)
        axes.step([0.0, *found], shares, where="post", color=colour, linestyle=line, linewidth=2, label=name)
        slo = _shared_slo(lives)
        if slo is not None:
            axes.axvline(slo, color=colour, linestyle=line, linewidth=1, alpha=0.5)
    latencies = [life.latency_s for lives in groups.values() for life in lives if life.latency_s]
    if latencies and max(latencies) > 50 * min(latencies):
        axes.set_xscale("symlog", linthresh=min(latencies))
        axes.set_xlim(left=min(latencies) * 0.5)
    else:
        axes.set_xlim(left=0)
    axes.set_ylim(0, 1.02)
    label(axes, title, "latency, s (faint: the SLO)", "share of requests that arrived")
    legend(axes, groups)
    return figure


def plot_attainment(
    lines: Mapping[str, Sequence[Point]],
    *,
    x: str = "arrivals a minute",
    y: str = "SLO attainment",
    title: str = "SLO attainment",
) -> Figure:
    """A line with its interval for each policy over rate, SLO scale or the like."""
    figure, axes = new_figure(7.0, 4.2)
    for place, (name, line) in enumerate(lines.items()):
        points = sorted(line, key=lambda point: point.x)
        xs, ys = [point.x for point in points], [point.y for point in points]
        colour = series_colour(place)
        style: dict[str, Any] = {"color": colour, "linestyle": line_style(place), "linewidth": 2}
        axes.plot(xs, ys, marker=_MARKERS[place % len(_MARKERS)], markersize=5, label=name, **style)
        lows = [point.y if point.low is None else point.low for point in points]
        highs = [point.y if point.high is None else point.high for point in points]
        if lows != ys or highs != ys:
            axes.fill_between(xs, lows, highs, color=colour, alpha=0.13, linewidth=0)
    axes.set_ylim(0, 1.02)
    label(axes, title, x, y)
    legend(axes, lines)
    return figure


def plot_queue(story: Story, *, title: str = "Requests in the system") -> Figure:
    """How many requests were running, paused and waiting, stacked, over time."""
    figure, axes = new_figure(9.0, 3.2)
    lengths = queue_lengths(story) or [(story.start, 0, 0, 0)]
    ats = [at - story.start for at, *_ in lengths]
    stacks = [[row[place] for row in lengths] for place in (3, 2, 1)]
    colours = (series_colour(0), series_colour(4), FAINT)
    axes.stackplot(ats, *stacks, labels=("running", "paused", "not started"), colors=colours, step="post")
    axes.set_xlim(0, max(story.end - story.start, 1e-9))
    axes.set_ylim(bottom=0)
    label(axes, title, "time, s", "requests")
    legend(axes, stacks)
    return figure


def _shared_slo(lives: Sequence[Life]) -> float | None:
    """The SLO of a group in seconds, if all of it has the same (to a microsecond)."""
    slos = {
        None if life.request.deadline is None else round(life.request.deadline - life.request.arrived_at, 6)
        for life in lives
    }
    return slos.pop() if len(slos) == 1 else None


def line_style(place: int) -> str:
    """The dashes of the `place`-th line; they repeat out of step with the colours."""
    return _LINES[(place + place // len(SERIES)) % len(_LINES)]


def label(axes: Axes, title: str, x: str, y: str) -> None:
    """Title and axes in the house's look."""
    axes.set_title(title, loc="left", color=INK, fontsize=11, fontweight="bold")
    axes.set_xlabel(x, color=INK, fontsize=9)
    axes.set_ylabel(y, color=INK, fontsize=9)


def legend(axes: Axes, series: object) -> None:
    """Beside the axes, so that it never covers data."""
    if series:
        axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1.0), frameon=False, fontsize=9, labelcolor=INK)
