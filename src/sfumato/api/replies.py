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
    """Where the seconds from arrival to end went: queue, stages, pauses between; they add up to `total_s`.

    `rank_s` is its share of the ranks' time instead: two ranks for 1 s are 2, one of a batch of two has half.
    """
    started = outcome.at if outcome.first_launch is None else outcome.first_launch
    queue_s, total_s = started - outcome.arrived_at, outcome.at - outcome.arrived_at
    stages = {f"{stage}_s": seconds for stage, seconds in zip(Stage, outcome.stage_s, strict=True)}
    paused_s = max(0.0, total_s - queue_s - sum(outcome.stage_s))
    row = {"queue_s": queue_s, **stages, "paused_s": paused_s, "total_s": total_s, "rank_s": sum(outcome.busy_s)}
    return {name: round(seconds, 6) for name, seconds in row.items()}


def joint_timings(outcomes: Sequence[Outcome]) -> Json:
    """Of several images: those of the last to end, which the answer waited for, and the rank-seconds of all."""
    last = max(outcomes, key=lambda outcome: outcome.at)
    return timings(last) | {"rank_s": round(sum(sum(outcome.busy_s) for outcome in outcomes), 6)}


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
            return rejected(outcome.reason, outcome.field)
        case JobState.CANCELLED:
            return ApiError(503, "the server cancelled the request", code="cancelled", headers=NO_RETRY)
        case _:
            message = f"generation failed: {outcome.reason or 'no reason was given'}"
            return ApiError(500, message, code="generation_failed", headers=NO_RETRY)
