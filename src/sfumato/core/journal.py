"""What happened, append-only: segments of (batch of events, commands), each opened by a checkpoint.

Everything that is reported, drawn or replayed is made from it. It holds no prompts and no tensors. `write` takes one
entry at a time; a list's `append` keeps it in memory, the live driver's sink writes lines of JSON. A segment is whole
in itself: its checkpoint carries the set-up that built the Serving.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from sfumato.core.commands import AnyCommand
from sfumato.core.events import AnyEvent
from sfumato.core.policy import Reason, Swap
from sfumato.core.values import Group, Job, JobState, PartId, Rank, RankInfo, Running, Value


class Checkpoint(Value, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """The whole state of a Serving between two batches. `setup`, `memo` and `costs` are plain JSON values."""

    now: float
    seq: int
    setup: Any
    memo: Any
    costs: Any
    jobs: tuple[Job, ...]
    running: tuple[Running, ...]
    ranks: tuple[RankInfo, ...]
    draining: Group
    resident: dict[Rank, dict[PartId, int]]
    loading: dict[Rank, dict[PartId, int]]
    held: dict[str, tuple[Group, int]]
    arrived: int
    ended: dict[JobState, int]
    failed: dict[Rank, dict[PartId, int]] = {}


class Record(Value, frozen=True, kw_only=True, tag=True, omit_defaults=True):
    """One call of `Serving.handle`. `broken` says which law the plan of the policy broke; `reasons` and `swaps` explain
    it.
    """

    events: tuple[AnyEvent, ...]
    commands: tuple[AnyCommand, ...]
    broken: str = ""
    reasons: tuple[Reason, ...] = ()
    swaps: tuple[Swap, ...] = ()


Entry = Checkpoint | Record

_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Checkpoint | Record)


def encode(entry: Entry) -> bytes:
    """One line of JSON, newline included; equal entries give equal bytes."""
    return _ENCODER.encode(entry) + b"\n"


def decode(lines: Iterable[bytes]) -> Iterator[Entry]:
    """The entries of a journal. A last line that was cut short by a crash is left out."""
    pending: bytes | None = None
    for line in lines:
        if pending is not None:
            yield _DECODER.decode(pending)
        pending = line
    if pending is not None and pending.endswith(b"\n"):
        yield _DECODER.decode(pending)


class Journal:
    """Writes entries, and asks for a checkpoint every `segment` records."""

    def __init__(self, write: Callable[[Entry], object], *, segment: int = 10_000) -> None:
        self._write = write
        self._segment = segment
        self._left = 0

    def append(self, record: Record) -> None:
        self._left -= 1
        self._write(record)

    @property
    def wants_checkpoint(self) -> bool:
        return self._left <= 0

    def open_segment(self, checkpoint: Checkpoint) -> None:
        self._left = self._segment
        self._write(checkpoint)
