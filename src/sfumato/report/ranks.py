"""How the ranks spent their time: busy, computing, idle while work waited, and the gap between two chunks."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import pairwise
from math import inf

from sfumato.core.values import Rank, Value
from sfumato.report.story import Span, Story

Window = tuple[float, float]


class RankUse(Value, frozen=True, kw_only=True):
    """Shares of the `up_s` seconds that a rank was up: in chunks, and in the units of chunks (without their starts)."""

    up_s: float
    busy: float
    computing: float


def use_of_ranks(story: Story, window: Window) -> dict[Rank, RankUse]:
    """Use of every rank within a window."""
    up = dict.fromkeys(story.rank_numbers, 0.0)
    for life in story.ranks:
        up[life.info.rank] += _overlap((life.up, story.end if life.down is None else life.down), window)
    used: dict[Rank, RankUse] = {}
    for rank, spans in _by_rank(story).items():
        whole = up[rank] or window[1] - window[0]
        busy = sum(_overlap((span.start, span.end), window) for span in spans)
        computing = sum(_overlap((span.end - span.seconds, span.end), window) for span in spans)
        share = 1.0 / whole if whole > 0 else 0.0
        used[rank] = RankUse(up_s=whole, busy=busy * share, computing=computing * share)
    return used


def control_gaps(story: Story, window: Window) -> Iterator[float]:
    """Seconds from a chunk's end to the next one's first unit on the same rank, where work waited all the while.

    Chunks that moved a latent are left out: their start is a transfer. In simulated journals this is the modelled gap.
    """
    waiting = _waiting(story)
    for spans in _by_rank(story).values():
        for before, after in pairwise(spans):
            if not window[0] <= before.end <= window[1] or after.moved or after.fate != "done":
                continue
            if _covers(waiting, before.end, after.start):
                yield after.end - after.seconds - before.end


def idle_with_work(story: Story, window: Window) -> float:
    """Rank-seconds without a chunk while at least one request was ready to run."""
    waiting = _clipped(_waiting(story), window)
    ready_s = sum(end - start for start, end in waiting)
    idle = 0.0
    for life in story.ranks:
        up = life.up, story.end if life.down is None else life.down
        idle += sum(_overlap(up, stretch) for stretch in waiting)
    if not story.ranks:
        idle = ready_s * len(story.rank_numbers)
    busy = sum(_overlap_all((span.start, span.end), waiting) * len(span.group) for span in story.spans)
    return max(0.0, idle - busy)


def queue_lengths(story: Story) -> list[tuple[float, int, int, int]]:
    """(time, waiting, paused, running) after each change, in order of time."""
    changes: list[tuple[float, int, int]] = []  # (time, which count, by how much)
    for life in story.lives.values():
        start = max(story.start, life.request.arrived_at)
        begun = life.first_launch is not None and life.first_launch < start
        for stretch, place in _phases(life.spans, start, life.outcome.at if life.outcome else story.end, begun):
            changes += [(stretch[0], place, 1), (stretch[1], place, -1)]
    counts = [0, 0, 0]
    found: list[tuple[float, int, int, int]] = []
    for at, place, by in sorted(changes):
        counts[place] += by
        if found and found[-1][0] == at:
            found.pop()
        found.append((at, counts[0], counts[1], counts[2]))
    return found


def _phases(spans: Iterable[Span], start: float, end: float, begun: bool) -> Iterator[tuple[Window, int]]:
    """A request's time cut into stretches of waiting (0), paused (1) and running (2)."""
    at, idle = start, 1 if begun else 0
    for span in spans:
        yield (at, max(at, span.start)), idle
        yield (max(at, span.start), span.end), 2
        at, idle = span.end, 1
    if end > at:
        yield (at, end), idle


def _by_rank(story: Story) -> dict[Rank, list[Span]]:
    ranks: dict[Rank, list[Span]] = {rank: [] for rank in story.rank_numbers}
    for span in sorted(story.spans, key=lambda span: (span.start, span.seq)):
        for rank in span.group:
            ranks[rank].append(span)
    return ranks


def _waiting(story: Story) -> list[Window]:
    """The stretches of time in which some request was ready to run, touching ones joined."""
    stretches: list[Window] = []
    for life in story.lives.values():
        end = life.outcome.at if life.outcome else story.end
        starts = max(story.start, life.request.arrived_at)
        stretches += [s for s, place in _phases(life.spans, starts, end, False) if place < 2 and s[1] > s[0]]
    joined: list[Window] = []
    for start, end in sorted(stretches):
        if joined and start <= joined[-1][1]:
            joined[-1] = joined[-1][0], max(end, joined[-1][1])
        else:
            joined.append((start, end))
    return joined


def _covers(stretches: list[Window], start: float, end: float) -> bool:
    """Whether one stretch holds all of start to end; an instant without a gap needs no waiting work."""
    place = bisect_right(stretches, (start, inf)) - 1
    return start == end or (place >= 0 and end <= stretches[place][1])


def _clipped(stretches: list[Window], window: Window) -> list[Window]:
    cut = [(max(start, window[0]), min(end, window[1])) for start, end in stretches]
    return [(start, end) for start, end in cut if end > start]


def _overlap(one: Window, other: Window) -> float:
    return max(0.0, min(one[1], other[1]) - max(one[0], other[0]))


def _overlap_all(one: Window, others: list[Window]) -> float:
    """The overlap with sorted stretches that do not touch each other."""
    place = max(0, bisect_right(others, (one[0], inf)) - 1)
    last = bisect_right(others, (one[1], inf))
    return sum(_overlap(one, other) for other in others[place:last])
