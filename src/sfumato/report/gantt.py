"""The Gantt chart: ranks over time. A request has one hue; what it made, its stages, pauses and fate show by shape.

Videos are hatched. Encode and decode are lighter and lower than denoising. A thin line joins a request's chunks across
a pause. A tick above the ranks marks a deadline, with a red cross where it was missed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sfumato.core.values import Group, Rank, Stage
from sfumato.report.colours import FAINT, INK, MISSED, request_colour
from sfumato.report.plots import new_figure
from sfumato.report.story import Life, Span, Story

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HEIGHT = 0.84
_LOW = 0.5  # of encode and decode
_NAMED = 0.045  # a bar this share of the width has room for its request's name


def plot_gantt(story: Story, *, since: float | None = None, until: float | None = None, title: str = "") -> Figure:
    """Ranks over time, on the journal's clock from `since` to `until` (default: from the first arrival to the end)."""
    low = _first(story) if since is None else since
    high = max(_last(story), low + 1e-6) if until is None else until
    rows = {rank: place for place, rank in enumerate(story.rank_numbers)}
    figure, axes = new_figure(12.0, 1.7 + 0.46 * max(1, len(rows)))
    lives = [life for life in story.lives.values() if _shows(life, low, high)]
    places = {name: place for place, name in enumerate(story.lives)}
    for life in lives:
        _draw_life(axes, life, places[life.id], rows, (low, high))
    _draw_deadlines(axes, lives, places, (low, high), story.end)
    _draw_losses(axes, story, rows)
    axes.set_xlim(low, high)
    axes.set_ylim(len(rows) - 0.4, -1.35)
    axes.set_yticks(list(rows.values()), [f"rank {rank}" for rank in rows])
    axes.grid(False, axis="y")
    axes.set_xlabel("time, s", color=INK, fontsize=9)
    axes.set_title(title or _headline(story), loc="left", color=INK, fontsize=11, fontweight="bold")
    _legend(axes)
    return figure


def _draw_life(axes: Axes, life: Life, place: int, rows: dict[Rank, int], window: tuple[float, float]) -> None:
    before: Span | None = None
    for span in life.spans:
        if before is not None and before.end < span.start:
            ys = [_middle(before.group, rows), _middle(span.group, rows)]
            colour = request_colour(place)
            axes.plot([before.end, span.start], ys, color=colour, linewidth=1.1, alpha=0.85, zorder=1.5)
        if span.end > window[0] and span.start < window[1]:
            _draw_span(axes, span, life, place, rows, window)
        before = span


def _draw_span(
    axes: Axes, span: Span, life: Life, place: int, rows: dict[Rank, int], window: tuple[float, float]
) -> None:
    """The share of a chunk that this job has: a batch is a pile of its jobs."""
    share = _HEIGHT * (1.0 if span.stage is Stage.DIFFUSE else _LOW) / len(span.jobs)
    offset = (span.jobs.index(life.id) - len(span.jobs) / 2) * share
    lost = span.fate in ("lost", "failed")
    style: dict[str, Any] = {
        "facecolor": request_colour(place, span.stage),
        "edgecolor": MISSED if lost else "white",
        "linewidth": 1.2 if lost else 0.4,
        "hatch": "////" if life.request.shape.frames > 1 else None,
        "zorder": 2,
    }
    for low, high in _blocks(span.group, rows):
        inner = (high - low) * 1.0
        bottom = low + offset if high == low else low - share / 2
        axes.broken_barh([(span.start, span.end - span.start)], (bottom, share + inner), **style)
        visible = min(span.end, window[1]) - max(span.start, window[0])
        if visible > _NAMED * (window[1] - window[0]) and len(span.jobs) <= 2:
            middle = max(span.start, window[0]) + visible / 2
            box = {"facecolor": request_colour(place, span.stage), "edgecolor": "none", "pad": 1.0}
            axes.text(
                middle, bottom + (share + inner) / 2, life.id, ha="center", va="center", fontsize=7, color=INK,
                bbox=box, zorder=3, clip_on=True,
            )  # fmt: skip


def _blocks(group: Group, rows: dict[Rank, int]) -> list[tuple[int, int]]:
    """(first, last) of each run of neighbouring rows of a group: drawn as one bar."""
    blocks: list[tuple[int, int]] = []
    for row in sorted(rows[rank] for rank in group):
        if blocks and row == blocks[-1][1] + 1:
            blocks[-1] = blocks[-1][0], row
        else:
            blocks.append((row, row))
    return blocks


def _middle(group: Group, rows: dict[Rank, int]) -> float:
    """Where the line of a pause leaves a group: the middle of its first block."""
    low, high = _blocks(group, rows)[0]
    return (low + high) / 2


def _draw_deadlines(
    axes: Axes, lives: list[Life], places: dict[str, int], window: tuple[float, float], now: float
) -> None:
    axes.axhline(-0.62, color=FAINT, linewidth=0.8)
    for life in lives:
        deadline = life.request.deadline
        if deadline is None or not window[0] <= deadline <= window[1]:
            continue
        colour = request_colour(places[life.id])
        axes.plot([deadline, deadline], [-0.62, -0.88], color=colour, linewidth=1.8, zorder=3)
        if life.met(now) is False:
            axes.plot(deadline, -1.06, marker="x", color=MISSED, markersize=5, markeredgewidth=1.5, zorder=4)


def _draw_losses(axes: Axes, story: Story, rows: dict[Rank, int]) -> None:
    """Grey where a rank was down."""
    for life in story.ranks:
        if life.down is None:
            continue
        row = rows[life.info.rank]
        back = [other.up for other in story.ranks if other.info.rank == life.info.rank and other.up >= life.down]
        end = min(back, default=story.end)
        axes.broken_barh([(life.down, end - life.down)], (row - 0.46, 0.92), facecolor="#e4e4e4", zorder=0.5)


def _legend(axes: Axes) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    hue = request_colour(0)
    handles = [
        Patch(facecolor=hue, label="image"),
        Patch(facecolor=hue, edgecolor="white", hatch="////", label="video"),
        Patch(facecolor=request_colour(0, Stage.ENCODE), label="encode, decode (low bars)"),
        Line2D([], [], color=hue, linewidth=1.1, label="paused"),
        Line2D([], [], color=hue, marker="|", markersize=9, markeredgewidth=1.8, linestyle="", label="deadline"),
        Line2D([], [], color=MISSED, marker="x", markeredgewidth=1.5, linestyle="", label="missed"),
    ]
    axes.figure.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=8.5, labelcolor=INK
    )


def _headline(story: Story) -> str:
    verdicts = [verdict for life in story.lives.values() if (verdict := life.met(story.end)) is not None]
    return f"{len(story.lives)} requests, {sum(verdicts)} of {len(verdicts)} deadlines met"


def _shows(life: Life, low: float, high: float) -> bool:
    deadline = life.request.deadline
    in_spans = any(span.end > low and span.start < high for span in life.spans)
    return in_spans or (deadline is not None and low <= deadline <= high)


def _first(story: Story) -> float:
    return max(story.start, min((life.request.arrived_at for life in story.lives.values()), default=story.start))


def _last(story: Story) -> float:
    ends = [span.end for span in story.spans] + [life.outcome.at for life in story.lives.values() if life.outcome]
    return max(ends, default=story.end)
