"""A story as a Chrome trace (chrome://tracing, Perfetto): a process row for each rank, an async track for each request.

Times are microseconds from the story's start. A chunk is one event on each of its ranks; on its track a request shows
as queued, in a stage, or paused; an instant marks its deadline.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from sfumato.report.story import Life, LoadSpan, Span, Story

_CHUNKS, _LOADS = 0, 1  # thread rows of a rank


def write_chrome_trace(story: Story, path: str | Path, planned: str = "") -> None:
    """Write the trace as JSON."""
    Path(path).write_bytes(msgspec.json.encode(chrome_trace(story, planned)))


def chrome_trace(story: Story, planned: str = "") -> dict[str, Any]:
    """The trace in the JSON object format; `planned` says by whom it was planned, on what times."""
    events: list[dict[str, Any]] = []
    events.extend(_names(story))
    for span in story.spans:
        events.extend(_chunk(span, story))
    events.extend(_load(load, story) for load in story.loads)
    tracks = _Tracks(story)
    for life in story.lives.values():
        events.extend(tracks.request(life))
    return {"traceEvents": events, "displayTimeUnit": "ms", "otherData": {"planned": planned} if planned else {}}


def _names(story: Story) -> Iterator[dict[str, Any]]:
    kinds = {life.info.rank: f"{life.info.device} on {life.info.node}" for life in story.ranks}
    for place, rank in enumerate(story.rank_numbers):
        name = f"rank {rank}" + (f" ({kinds[rank]})" if rank in kinds else "")
        yield _meta("process_name", rank, 0, name=name)
        yield _meta("process_sort_index", rank, 0, sort_index=place)
        yield _meta("thread_name", rank, _CHUNKS, name="chunks")
        if any(load.rank == rank for load in story.loads):
            yield _meta("thread_name", rank, _LOADS, name="weights")
    requests = _requests_pid(story)
    yield _meta("process_name", requests, 0, name="requests")
    yield _meta("process_sort_index", requests, 0, sort_index=len(story.rank_numbers))


def _meta(kind: str, pid: int, tid: int, **args: Any) -> dict[str, Any]:
    return {"ph": "M", "name": kind, "pid": pid, "tid": tid, "args": args}


def _chunk(span: Span, story: Story) -> Iterator[dict[str, Any]]:
    args: dict[str, Any] = {
        "seq": span.seq,
        "jobs": list(span.jobs),
        "planned": span.planned,
        "units": span.units,
        "group": list(span.group),
        "halted": span.halted,
        "moved": span.moved,
        "fate": span.fate,
    }
    if span.reason is not None:
        args["why"] = msgspec.to_builtins(span.reason)
    name = f"{'+'.join(span.jobs)} {span.stage.value} x{span.units}"
    for rank in span.group:
        yield _complete(name, span.stage.value, rank, _CHUNKS, span.start, span.end, story) | {"args": args}


def _load(load: LoadSpan, story: Story) -> dict[str, Any]:
    end = story.end if load.end is None else load.end
    return _complete(f"load {load.part}", "load", load.rank, _LOADS, load.start, end, story) | {
        "args": {"part": load.part, "error": load.error}
    }


def _complete(name: str, category: str, pid: int, tid: int, start: float, end: float, story: Story) -> dict[str, Any]:
    at = _us(start, story)
    return {"ph": "X", "name": name, "cat": category, "pid": pid, "tid": tid, "ts": at, "dur": _us(end, story) - at}


class _Tracks:
    """The async tracks of requests, in a process row behind all ranks."""

    def __init__(self, story: Story) -> None:
        self._story = story
        self._pid = _requests_pid(story)

    def request(self, life: Life) -> Iterator[dict[str, Any]]:
        request = life.request
        end = life.outcome.at if life.outcome else self._story.end
        title = f"{request.id} {request.model} {request.shape}"
        args = {"slo": request.slo, "steps": request.steps, "state": life.state.value if life.state else "unfinished"}
        yield self._event("b", title, life, request.arrived_at) | {"args": args}
        at, idle = request.arrived_at, "queued"
        for span in life.spans:
            if span.start > at:
                yield from self._phase(idle, life, at, span.start)
            name = f"{span.stage.value} x{span.gained.get(life.id, 0)}"
            yield from self._phase(name, life, span.start, span.end)
            at, idle = span.end, "paused"
        if end > at:
            yield from self._phase(idle, life, at, end)
        if request.deadline is not None:
            yield self._event("n", "deadline", life, request.deadline)
        yield self._event("e", title, life, max(at, end))

    def _phase(self, name: str, life: Life, start: float, end: float) -> Iterator[dict[str, Any]]:
        yield self._event("b", name, life, start)
        yield self._event("e", name, life, end)

    def _event(self, phase: str, name: str, life: Life, at: float) -> dict[str, Any]:
        common = {"cat": "request", "id": life.id, "pid": self._pid, "tid": 0, "ts": _us(at, self._story)}
        return {"ph": phase, "name": name} | common


def _requests_pid(story: Story) -> int:
    """A process number behind all ranks."""
    return max(story.rank_numbers, default=-1) + 1


def _us(at: float, story: Story) -> float:
    return (at - story.start) * 1e6
