"""What an answer says about a request beyond its output: when it ran, whether it met its SLO, how it failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sfumato.api.errors import NO_RETRY, ApiError, rejected
from sfumato.core.values import JobState, Outcome, Shape, Stage
from sfumato.runtime.service import Pixels, Ticket

Json = dict[str, Any]
DELIVERED = (JobState.DONE, JobState.LATE)


def size_text(shape: Shape) -> str:
    return f"{shape.width}x{shape.height}"


def drawn_shape(pixels: Pixels) -> Shape:
    """What was delivered: admission may have lowered what was asked for."""
    frames, height, width, _ = pixels.shape
    return Shape(height=height, width=width, frames=frames)


def timings(outcome: Outcome) -> Json:
    """Seconds: `queue_s` and `total_s` on the clock, the stages in rank-seconds (two ranks for 1 s count as 2)."""
    started = outcome.at if outcome.first_launch is None else outcome.first_launch
    stages = {f"{stage}_s": round(spent, 6) for stage, spent in zip(Stage, outcome.busy_s, strict=True)}
    queue_s, total_s = started - outcome.arrived_at, outcome.at - outcome.arrived_at
    return {"queue_s": round(queue_s, 6), **stages, "total_s": round(total_s, 6)}


def joint_timings(outcomes: Sequence[Outcome]) -> Json:
    """Of several images together: the first start, the last end, and all that their stages took."""
    rows = [timings(outcome) for outcome in outcomes]
    joined = {name: round(sum(row[name] for row in rows), 6) for name in rows[0]}
    return joined | {"queue_s": min(row["queue_s"] for row in rows), "total_s": max(row["total_s"] for row in rows)}


def slo(tickets: Sequence[Ticket]) -> Json:
    """The deadline in unix milliseconds (None: best effort) and whether it was met (None: open or no deadline)."""
    first = tickets[0]
    if first.ask.slo_s is None:
        return {"deadline_ms": None, "met": None}
    outcomes = [ticket.outcome for ticket in tickets]
    met = None if None in outcomes else all(outcome is not None and outcome.met for outcome in outcomes)
    return {"deadline_ms": round((first.created + first.ask.slo_s) * 1000), "met": met}


def failure(outcome: Outcome) -> ApiError | None:
    """What to answer to one who waits for the output; None if there is one."""
    match outcome.state:
        case JobState.DONE | JobState.LATE:
            return None
        case JobState.REJECTED:
            return rejected(outcome.reason)
        case JobState.CANCELLED:
            return ApiError(503, "the server cancelled the request", code="cancelled", headers=NO_RETRY)
        case _:
            message = f"generation failed: {outcome.reason or 'no reason was given'}"
            return ApiError(500, message, code="generation_failed", headers=NO_RETRY)
