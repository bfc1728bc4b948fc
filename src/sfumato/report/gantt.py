"""The Gantt chart: ranks over time, and below them who waits. A request has one hue; its kind and stage show by shape.

A bar is a chunk; videos are hatched, encode and decode lighter and lower than denoising, a batch is a pile of its jobs.
A request that is off the ranks has a line in a lane of its own below: thin until it first runs, thick where it is
paused. A tick above the ranks marks a deadline, with a red cross where it was missed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace

from sfumato.core.values import Group, Rank, Stage, Value
from sfumato.report.colours import FAINT, INK, MISSED, request_colour
from sfumato.report.lanes import lanes_of
from sfumato.report.plots import new_figure
from sfumato.report.story import Life, Span, Story

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_HEIGHT = 0.86
_LOW = 0.5  # of encode and decode
_MOST = 2000  # chunks drawn without being asked for: more take minutes and are too thin to see
_NAMED = 0.03  # a bar this share of the width has room for its request's name
_ROW = 0.5  # inches a rank
_LANE, _LANES = 0.15, 3.2  # rows a lane, and all of them together at the most


class _Frame(Value, frozen=True, kw_only=True):
    """What is drawn where: a row a rank, times from `low` to `high` on the journal's clock, `zero` drawn as 0.

    Below the last rank each request that had to wait has a lane; `lane` is their height.
    """

    rows: dict[Rank, int]
    places: dict[str, int]  # request -> its number, which gives its hue
    lanes: dict[str, int]
    lane: float
    zero: float
    low: float
    high: float

    def x(self, at: float) -> float:
        return at - self.zero

    def shows(self, start: float, end: float) -> bool:
        return end > self.low and start < self.high

    @property
    def bottom(self) -> float:
        """Where the lanes end."""
        return len(self.rows) - 0.4 + self.lane * (max(self.lanes.values(), default=-2) + 2)

    def lane_y(self, request: str) -> float:
        return len(self.rows) - 0.4 + self.lane * (self.lanes[request] + 1)


def plot_gantt(story: Story, *, since: float = 0.0, until: float | None = None, title: str = "") -> Figure:
    """Ranks over time, from `since` to `until` seconds after the story's start.

    By default it goes to the last end; of a long story its beginning is drawn.
    """
    frame = _frame(story, since, until)
    figure, axes = new_figure(13.0, 1.3 + _ROW * (frame.bottom + 1.35))
    lives = [life for life in story.lives.values() if _shown(life, frame)]
    for life in lives:
        _draw_bars(axes, life, frame)
        _draw_waits(axes, life, frame, story.end)
    _draw_deadlines(axes, lives, frame, story.end)
    _draw_losses(axes, story, frame)
    _dress(axes, frame)
    axes.set_title(title or _headline(story, frame), loc="left", color=INK, fontsize=12, fontweight="bold")
    _legend(axes)
    return figure


def _frame(story: Story, since: float, until: float | None) -> _Frame:
    low = story.start + since
    ends = [span.end for span in story.spans] + [life.outcome.at for life in story.lives.values() if life.outcome]
    high = max(ends, default=story.end) if until is None else story.start + until
    starts = sorted(span.start for span in story.spans if span.end > low)
    if until is None and len(starts) > _MOST:
        high = min(high, starts[_MOST])
    lanes = lanes_of(story.lives.values(), low, high, story.end)
    return _Frame(
        rows={rank: place for place, rank in enumerate(story.rank_numbers)},
        places={name: place for place, name in enumerate(story.lives)},
        lanes=lanes,
        lane=min(_LANE, _LANES / (1 + max(lanes.values(), default=0))),
        zero=story.start,
        low=low,
        high=max(high, low + 1e-6),
    )


def _draw_bars(axes: Axes, life: Life, frame: _Frame) -> None:
    for span in _joined(life.spans):
        if frame.shows(span.start, span.end):
            _draw_span(axes, span, life, frame)


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
    from matplotlib.patches import Rectangle

    lost = span.fate in ("lost", "failed")
    colour = request_colour(frame.places[life.id], span.stage)
    for first, last in _blocks(span.group, frame.rows):
        full = last - first + _HEIGHT * (1.0 if span.stage is Stage.DIFFUSE else _LOW)
        height = full / len(span.jobs)
        bottom = (first + last - full) / 2 + span.jobs.index(life.id) * height
        bar = Rectangle((frame.x(span.start), bottom), span.end - span.start, height, facecolor=colour, zorder=2)
        bar.set(edgecolor=MISSED if lost else "white", linewidth=1.2 if lost else 0.3)
        if life.request.shape.frames > 1:
            bar.set(hatch="////")
            bar.set_hatch_linewidth(0.5)
        axes.add_patch(bar)
        visible = min(span.end, frame.high) - max(span.start, frame.low)
        if visible > _NAMED * (frame.high - frame.low) and height > 0.25:
            at = frame.x(max(span.start, frame.low) + visible / 2)
            name = axes.text(at, bottom + height / 2, life.id, ha="center", va="center", fontsize=7, color=INK)
            name.set(zorder=3, clip_on=True, bbox={"facecolor": colour, "edgecolor": "none", "pad": 1.0})


def _blocks(group: Group, rows: dict[Rank, int]) -> list[tuple[int, int]]:
    """(first, last) of each run of neighbouring rows of a group: drawn as one bar."""
    blocks: list[tuple[int, int]] = []
    for row in sorted(rows[rank] for rank in group):
        if blocks and row == blocks[-1][1] + 1:
            blocks[-1] = blocks[-1][0], row
        else:
            blocks.append((row, row))
    return blocks


def _draw_waits(axes: Axes, life: Life, frame: _Frame, now: float) -> None:
    """The request's lane: thin from its arrival to its first chunk, thick in its pauses."""
    if life.id not in frame.lanes:
        return
    y, colour = frame.lane_y(life.id), request_colour(frame.places[life.id])
    end = life.outcome.at if life.outcome else now
    waits = [(life.request.arrived_at, life.spans[0].start if life.spans else end, 0.9)]
    waits += [(start, stop, 2.6) for start, stop in life.pauses]
    for start, stop, width in waits:
        if stop > start and frame.shows(start, stop):
            xs = [frame.x(max(start, frame.low)), frame.x(stop)]
            axes.plot(xs, [y, y], color=colour, linewidth=width, solid_capstyle="butt", zorder=2.5)
            if xs[1] - xs[0] > 2 * _NAMED * (frame.high - frame.low):
                name = axes.text(xs[0], y, f" {life.id} ", va="center", fontsize=6, color=INK, zorder=3, clip_on=True)
                name.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.3})


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


def _dress(axes: Axes, frame: _Frame) -> None:
    axes.set_xlim(frame.x(frame.low), frame.x(frame.high))
    axes.set_ylim(frame.bottom, -1.35)
    ticks: dict[float, str] = {-0.75: "deadlines"} | {row: f"rank {rank}" for rank, row in frame.rows.items()}
    if frame.lanes:
        top = len(frame.rows) - 0.4
        axes.axhline(top, color=FAINT, linewidth=0.8)
        ticks[(top + frame.bottom) / 2] = "waiting"
    axes.set_yticks(list(ticks), list(ticks.values()))
    axes.grid(False, axis="y")
    axes.set_xlabel("time, s", color=INK, fontsize=9)


def _legend(axes: Axes) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    hue = request_colour(0)
    video = Patch(facecolor=hue, edgecolor="white", hatch="////", label="video")
    video.set_hatch_linewidth(0.5)
    handles = [
        Patch(facecolor=hue, label="image"),
        video,
        Patch(facecolor=request_colour(0, Stage.ENCODE), label="encode, decode"),
        Line2D([], [], color=hue, linewidth=0.9, label="not started"),
        Line2D([], [], color=hue, linewidth=2.6, label="paused"),
        Line2D([], [], color=hue, marker="|", markersize=9, markeredgewidth=1.8, linestyle="", label="deadline"),
        Line2D([], [], color=MISSED, marker="x", markeredgewidth=1.5, linestyle="", label="missed"),
    ]
    axes.figure.legend(
        handles=handles, loc="outside lower center", ncols=len(handles), frameon=False, fontsize=8.5, labelcolor=INK
    )


def _headline(story: Story, frame: _Frame) -> str:
    verdicts = [verdict for life in story.lives.values() if (verdict := life.met(story.end)) is not None]
    whole = frame.low <= story.start and not any(span.end > frame.high for span in story.spans)
    part = "" if whole else " (part shown)"
    return f"{len(story.lives)} requests, {sum(verdicts)} of {len(verdicts)} deadlines met{part}"


def _shown(life: Life, frame: _Frame) -> bool:
    deadline = life.request.deadline
    due = deadline is not None and frame.low <= deadline <= frame.high
    return due or life.id in frame.lanes or any(frame.shows(span.start, span.end) for span in life.spans)
