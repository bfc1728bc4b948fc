"""Everything that can happen to the core, each with its time `at` in seconds on the driver's clock.

Rules: the driver stamps an event once; events that are ready together are handled as one batch in the order of
`sort_key`, completions before arrivals, so that ranks that come free together are planned together. An event about a
chunk that has already ended (its worker was lost) is journalled and ignored.
"""

from __future__ import annotations

from sfumato.core.values import Group, PartId, Rank, RankInfo, Request, Value


class Event(Value, frozen=True, kw_only=True, tag=True):
    """Base of all events."""

    at: float


class Progress(Value, frozen=True, kw_only=True):
    """What one job gained in a chunk. A snapshot holds `saved` of the `units`; `error` ends the job as failed."""

    job: str
    units: int
    saved: int
    error: str = ""


class ChunkDone(Event, frozen=True, kw_only=True):
    """A chunk ended, by itself or halted. `seconds` is the measured time of its units, without the start.

    `onward`: its rank has gone on by itself, with what the chunk says and under the next number.
    """

    seq: int
    progress: tuple[Progress, ...]
    seconds: float
    onward: bool = False


class ChunkFailed(Event, frozen=True, kw_only=True):
    """A chunk raised as a whole: all its jobs end as failed with `reason`."""

    seq: int
    reason: str


class Loaded(Event, frozen=True, kw_only=True):
    """A weight part is resident on a rank."""

    rank: Rank
    part: PartId
    seconds: float


class LoadFailed(Event, frozen=True, kw_only=True):
    """A weight part could not be loaded; the rank is as before."""

    rank: Rank
    part: PartId
    reason: str


class Dropped(Event, frozen=True, kw_only=True):
    """A weight part has left a rank."""

    rank: Rank
    part: PartId


class WorkerUp(Event, frozen=True, kw_only=True):
    """A rank joined with these parts resident."""

    info: RankInfo
    parts: tuple[PartId, ...] = ()


class WorkerLost(Event, frozen=True, kw_only=True):
    """A rank is gone, and every chunk of a group with it. `saved`: (job, units of its stage that a snapshot holds)."""

    rank: Rank
    saved: tuple[tuple[str, int], ...] = ()


class Draining(Event, frozen=True, kw_only=True):
    """No new chunk on these ranks (a maintenance stop); an empty group means the whole pool."""

    ranks: Group = ()


class Cancelled(Event, frozen=True, kw_only=True):
    """The client gave the request up."""

    request: str


class Arrived(Event, frozen=True, kw_only=True):
    """A new request, already validated at the edge."""

    request: Request


class Woke(Event, frozen=True, kw_only=True):
    """The time that the policy asked to be woken at has come."""


AnyEvent = (
    ChunkDone
    | ChunkFailed
    | Loaded
    | LoadFailed
    | Dropped
    | WorkerUp
    | WorkerLost
    | Draining
    | Cancelled
    | Arrived
    | Woke
)

# Completions first, so that what they free is seen by everything after them; the wake-up last, as it changes nothing.
_ORDER = {kind: place for place, kind in enumerate(AnyEvent.__args__)}


def sort_key(event: Event) -> tuple[float, int, str]:
    """The written order of simultaneous events: (time, kind, id)."""
    return event.at, _ORDER[type(event)], _identity(event)


def _identity(event: Event) -> str:
    match event:
        case ChunkDone(seq=seq) | ChunkFailed(seq=seq):
            return f"{seq:012d}"
        case Loaded(rank=rank, part=part) | LoadFailed(rank=rank, part=part) | Dropped(rank=rank, part=part):
            return f"{rank:06d} {part}"
        case WorkerUp(info=info):
            return f"{info.rank:06d}"
        case WorkerLost(rank=rank):
            return f"{rank:06d}"
        case Cancelled(request=request):
            return request
        case Arrived(request=request):
            return request.id
        case _:
            return ""
