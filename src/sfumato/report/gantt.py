"""The Gantt chart: ranks over time. A request has one hue; what it made, its stages, pauses and fate show by shape.

Videos are hatched. Encode and decode are lighter and lower than denoising. A thin line joins a request's chunks across
a pause. A tick above the ranks marks a deadline, with a red cross where it was missed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from sfumato.core.values import Group, Rank, Stage, Value
from sfumato.report.colours import FAINT, INK, MISSED, request_colour
from sfumato.report.plots import new_figure
from sfumato.report.story import Life, Span, Story

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HEIGHT = 0.84
_LOW = 0.5  # of encode and decode
_MOST = 2000  # chunks drawn without being asked for: more take minutes and are too thin to see
_NAMED = 0.045  # a bar this share of the width has room for its request's name


class _Frame(Value, frozen=True, kw_only=True):
    """What is drawn where: a row a rank, times from `low` to `high` on the journal's clock, `zero` drawn as 0."""

    rows: dict[Rank, int]
    places: dict[str, int]  # request -> its number, which gives its hue
    zero: float
    low: float
    high: float

    def x(self, at: float) -> float:
        return at - self.zero

    def shows(self, start: float, end: float) -> bool:
        return end > self.low and start < self.high


def plot_gantt(story: Story, *, since: float = 0.0, until: float | None = None, title: str = "") -> Figure:
    """Ranks over time, from `since` to `until` seconds after the story's start.

    By default it goes to the last end; of a long story its beginning is drawn.
    """
    frame = _frame(story, since, until)
    figure, axes = new_figure(12.0, 1.7 + 0.46 * max(1, len(frame.rows)))
    lives = [life for life in story.lives.values() if _shown(life, frame)]
    for life in lives:
        _draw_life(axes, life, frame)
    _draw_deadlines(axes, lives, frame, story.end)
    _draw_losses(axes, story, frame)
    axes.set_xlim(frame.x(frame.low), frame.x(frame.high))
    axes.set_ylim(len(frame.rows) - 0.4, -1.35)
    axes.set_yticks([-0.75, *frame.rows.values()], ["deadlines", *(f"rank {rank}" for rank in frame.rows)])
    axes.grid(False, axis="y")
    axes.set_xlabel("time, s", color=INK, fontsize=9)
    axes.set_title(title or _headline(story, frame), loc="left", color=INK, fontsize=11, fontweight="bold")
    _legend(axes)
    return figure


def _frame(story: Story, since: float, until: float | None) -> _Frame:
    low = story.start + since
    ends = [span.end for span in story.spans] + [life.outcome.at for life in story.lives.values() if life.outcome]
    high = max(ends, default=story.end) if until is None else story.start + until
    starts = sorted(span.start for span in story.spans if span.end > low)
    if until is None and len(starts) > _MOST:
        high = min(high, starts[_MOST])
    return _Frame(
        rows={rank: place for place, rank in enumerate(story.rank_numbers)},
        places={name: place for place, name in enumerate(story.lives)},
        zero=story.start,
        low=low,
        high=max(high, low + 1e-6),
    )


def _draw_life(axes: Axes, life: Life, frame: _Frame) -> None:
    before: Span | None = None
    for span in _joined(life.spans):
        if before is not None and before.end < span.start:
            ys = [_middle(before.group, frame.rows), _middle(span.group, frame.rows)]
            colour = request_colour(frame.places[life.id])
            xs = [frame.x(before.end), frame.x(span.start)]
            axes.plot(xs, ys, color="white", linewidth=2.8, alpha=0.8, zorder=2.4)
            axes.plot(xs, ys, color=colour, linewidth=1.2, marker="o", markersize=2.5, zorder=2.5)
        if frame.shows(span.start, span.end):
            _draw_span(axes, span, life, frame)
        before = span


def _joined(spans: tuple[Span, ...]) -> list[Span]:
    """Chunks that go on at once with the same jobs on the same ranks look like one."""
    joined: list[Span] = []
    for span in spans:
        last = joined[-1] if joined else None
        if last is not None and (last.group, last.jobs, last.stage, last.end, last.fate) == (
            span.group, span.jobs, span.stage, span.start, span.fate,
        ):  # fmt: skip
            joined[-1] = replace(last, end=span.end)
        else:
            joined.append(span)
    return joined


def _draw_span(axes: Axes, span: Span, life: Life, frame: _Frame) -> None:
    """The share of a chunk that this job has: a batch is a pile of its jobs."""
    lost = span.fate in ("lost", "failed")
    colour = request_colour(frame.places[life.id], span.stage)
    style: dict[str, Any] = {
        "facecolor": colour,
        "edgecolor": MISSED if lost else "white",
        "linewidth": 1.2 if lost else 0.4,
        "hatch": "////" if life.request.shape.frames > 1 else None,
        "zorder": 2,
    }
    for first, last in _blocks(span.group, frame.rows):
        full = last - first + _HEIGHT * (1.0 if span.stage is Stage.DIFFUSE else _LOW)
        height = full / len(span.jobs)
        bottom = (first + last - full) / 2 + span.jobs.index(life.id) * height
        axes.broken_barh([(frame.x(span.start), span.end - span.start)], (bottom, height), **style)
        visible = min(span.end, frame.high) - max(span.start, frame.low)
        if visible > _NAMED * (frame.high - frame.low) and height > 0.25:
            at = frame.x(max(span.start, frame.low) + visible / 2)
            box = {"facecolor": colour, "edgecolor": "none", "pad": 1.0}
            style_of_name: dict[str, Any] = {"ha": "center", "va": "center", "fontsize": 7, "color": INK, "bbox": box}
            axes.text(at, bottom + height / 2, life.id, zorder=3, clip_on=True, **style_of_name)


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


def _draw_deadlines(axes: Axes, lives: list[Life], frame: _Frame, now: float) -> None:
    axes.axhline(-0.58, color=FAINT, linewidth=0.8)
    for life in lives:
        deadline = life.request.deadline
        if deadline is None or not frame.low <= deadline <= frame.high:
            continue
        x, colour = frame.x(deadline), request_colour(frame.places[life.id])
        axes.plot([x, x], [-0.62, -0.88], color=colour, linewidth=1.8, zorder=3)
        if life.met(now) is False:
            axes.plot(x, -1.1, marker="x", color=MISSED, markersize=5, markeredgewidth=1.5, zorder=4)


def _draw_losses(axes: Axes, story: Story, frame: _Frame) -> None:
    """Grey where a rank was down."""
    for life in story.ranks:
        if life.down is None:
            continue
        row = frame.rows[life.info.rank]
        back = [other.up for other in story.ranks if other.info.rank == life.info.rank and other.up >= life.down]
        end = min(back, default=frame.high)
        axes.broken_barh([(frame.x(life.down), end - life.down)], (row - 0.46, 0.92), facecolor="#e4e4e4", zorder=0.5)


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


def _headline(story: Story, frame: _Frame) -> str:
    verdicts = [verdict for life in story.lives.values() if (verdict := life.met(story.end)) is not None]
    part = (
        "" if frame.low <= story.start and not any(span.end > frame.high for span in story.spans) else " (part shown)"
    )
    return f"{len(story.lives)} requests, {sum(verdicts)} of {len(verdicts)} deadlines met{part}"


def _shown(life: Life, frame: _Frame) -> bool:
    deadline = life.request.deadline
    due = deadline is not None and frame.low <= deadline <= frame.high
    return due or any(frame.shows(span.start, span.end) for span in life.spans)
