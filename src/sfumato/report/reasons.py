"""Why chunks were launched as they were, as the policy told it in the journal: counted, and request by request.

A policy tells where it was asked to (`--explain`). A batch has the reason of its first job; the others join it. Who
was given up, late or kept again has a row for that too.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterator
from itertools import islice, takewhile
from operator import itemgetter
from statistics import fmean, median

from sfumato.core.policy import Reason
from sfumato.core.values import JobState
from sfumato.report.story import Life, Span, Story
from sfumato.report.tables import NONE, Table, number, percent

Row = tuple[str, ...]


def explained(story: Story) -> bool:
    """Whether any decision has its reason."""
    return any(span.reason is not None for span in story.spans) or any(life.turns for life in story.lives.values())


def reason_tables(story: Story, title: str = "Why chunks were launched") -> Iterator[Table]:
    """Why chunks were launched, counted, and why weights were loaded, one by one, if any were."""
    yield reason_table(story, title)
    if story.swaps:
        yield swap_table(story)


def reason_table(story: Story, title: str = "Why chunks were launched") -> Table:
    """A row for each standing and reason, the most rank-seconds first; then who was not launched for one."""
    groups: dict[tuple[str, str], list[tuple[Span, Reason]]] = {}
    for span in story.spans:
        if span.reason is not None:
            groups.setdefault((span.reason.standing, _short(span.reason.why)), []).append((span, span.reason))
    whole = sum(_rank_seconds(span) for span in story.spans)
    ordered = sorted(groups.items(), key=lambda group: (-sum(_rank_seconds(span) for span, _ in group[1]), group[0]))
    rows = [(*key, *_counted(found, whole)) for key, found in ordered]
    rows += [(*key, NONE, str(count), *(NONE,) * 5) for key, count in sorted(_unlaunched(story).items())]
    columns = ("standing", "why", "chunks", "requests", "of busy time", "slack s", "work s", "least degree", "degree")
    return Table(title=title, columns=columns, rows=tuple(rows))


def decision_table(story: Story, requests: Collection[str] = ()) -> Table:
    """What was decided when for each request (or for `requests` alone), from its arrival to its end."""
    lives = [life for life in story.lives.values() if not requests or life.id in requests]
    columns = ("request", "at s", "what", "ranks", "standing", "why", "slack s", "work s", "least", "degree", "with")
    rows = tuple(row for life in lives for row in _decisions(life, story))
    return Table(title=f"Decisions ({len(lives)} of {len(story.lives)} requests)", columns=columns, rows=rows)


def swap_table(story: Story) -> Table:
    """A row for each time that weights were loaded on a rank."""
    rows = [
        (number(at - story.start), str(swap.rank), ", ".join(swap.loads), ", ".join(swap.drops) or NONE, swap.why)
        for at, swap in story.swaps
    ]
    return Table(title="Why weights were loaded", columns=("at s", "rank", "loads", "drops", "why"), rows=tuple(rows))


def _counted(found: list[tuple[Span, Reason]], whole: float) -> Row:
    slacks = [reason.slack_s for _, reason in found if reason.slack_s is not None]
    return (
        str(len(found)),
        str(len({job for span, _ in found for job in span.jobs})),
        percent(sum(_rank_seconds(span) for span, _ in found) / whole if whole else None),
        number(median(slacks)) if slacks else NONE,
        number(median(reason.work_s for _, reason in found)),
        number(fmean(reason.least_degree for _, reason in found)),
        number(fmean(reason.degree for _, reason in found)),
    )


def _unlaunched(story: Story) -> Counter[tuple[str, str]]:
    """Requests by what became of them but a launch: their standing changed, or they were refused."""
    found: Counter[tuple[str, str]] = Counter()
    for life in story.lives.values():
        found.update({(reason.standing, reason.why.partition(":")[0]) for _, reason in life.turns})
        if life.state is JobState.REJECTED:
            found["refused", NONE] += 1
    return found


def _decisions(life: Life, story: Story) -> Iterator[Row]:
    request = life.request
    slo = "best effort" if request.deadline is None else f"due in {number(request.deadline - request.arrived_at)} s"
    arrived = f"arrives: {request.slo}, {request.shape}, {request.steps} steps, {slo}"
    yield request.id, number(request.arrived_at - story.start), arrived, *(NONE,) * 8
    if life.lowered:
        less = f"lowered to {life.lowered.shape}, {life.lowered.steps} steps"
        yield "", number(request.arrived_at - story.start), less, *(NONE,) * 8
    turns = [(at, _turned(number(at - story.start), reason)) for at, reason in life.turns]
    yield from (row for _, row in sorted([*turns, *_chunks(life, story)], key=itemgetter(0)))
    if life.outcome is not None:
        end = f"{life.outcome.state.value}: {life.outcome.reason}".removesuffix(": ")
        yield "", number(life.outcome.at - story.start), end, *(NONE,) * 8


def _chunks(life: Life, story: Story) -> Iterator[tuple[float, Row]]:
    """Its chunks and the gaps between them, with their times."""
    for before, span in zip((None, *life.spans), life.spans, strict=False):
        if before is not None and span.start > before.end:
            yield before.end, _paused(before, span, story)
        at = number(span.start - story.start)
        yield span.start, ("", at, _what(life, span), _listed(span.group), *_why(life, span))


def _turned(at: str, reason: Reason) -> Row:
    """Its standing is another now."""
    return "", at, "weighed", NONE, reason.standing, reason.why, *_numbers(reason), NONE, NONE


def _paused(before: Span, after: Span, story: Story) -> Row:
    """A gap between two chunks, and whose chunk was launched on its ranks meanwhile."""
    at = number(before.end - story.start)
    taker = _taker(before, after, story)
    why = "waits for ranks" if taker is None else f"its ranks go to {_listed(taker.jobs)}"
    standing = NONE if taker is None or taker.reason is None else f"behind {taker.reason.standing}"
    return "", at, f"paused {number(after.start - before.end)} s", _listed(before.group), standing, why, *(NONE,) * 5


def _taker(before: Span, after: Span, story: Story) -> Span | None:
    """The first chunk on ranks of `before` after its end; stories have their chunks in order of their launch."""
    first = bisect_left(story.spans, before.end, key=lambda span: span.start)
    since = takewhile(lambda span: span.start < after.start, islice(story.spans, first, None))
    return next((span for span in since if set(span.group) & set(before.group)), None)


def _what(life: Life, span: Span) -> str:
    done = span.gained.get(life.id, 0)
    cut = f" of {span.planned}" if done != span.planned else ""
    return f"{span.stage.value} x{done}{cut}" + (f", {span.fate}" if span.fate != "done" else "")


def _why(life: Life, span: Span) -> Row:
    reason = span.reason
    others = _listed(job for job in span.jobs if job != life.id)
    if reason is None or reason.job != life.id:
        why = NONE if reason is None else f"joins {reason.job}"
        return NONE, why, *(NONE,) * 3, str(len(span.group)), others
    return reason.standing, _short(reason.why), *_numbers(reason), str(reason.degree), others


def _numbers(reason: Reason) -> Row:
    slack = NONE if reason.slack_s is None else number(reason.slack_s)
    return slack, number(reason.work_s), str(reason.least_degree)


def _short(why: str) -> str:
    """Without what is said twice: a chunk may be widened again and again."""
    return ", ".join(dict.fromkeys(why.split(", ")))


def _rank_seconds(span: Span) -> float:
    return (span.end - span.start) * len(span.group)


def _listed(names: Collection[object] | Iterator[str]) -> str:
    return " ".join(map(str, names)) or NONE
