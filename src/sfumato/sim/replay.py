"""Replay: do the recorded events, fed to a fresh Serving, give the recorded commands? (P2)

Every segment stands on its own, so a journal from production can be replayed from any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from sfumato.core.commands import AnyCommand
from sfumato.core.journal import Checkpoint, Entry
from sfumato.core.serving import Serving
from sfumato.core.values import Value


class Mismatch(Value, frozen=True, kw_only=True):
    """The first record that replayed to other commands: its number in the journal, and both."""

    record: int
    at: float
    expected: tuple[AnyCommand, ...]
    got: tuple[AnyCommand, ...]


class Replay(Value, frozen=True, kw_only=True):
    """What a replay found."""

    segments: int
    records: int
    mismatch: Mismatch | None = None


def replay(entries: Iterable[Entry], build: Callable[[Checkpoint], Serving]) -> Replay:
    """Replay every segment from its checkpoint; `build` makes the Serving that a checkpoint's `setup` describes."""
    segments = records = 0
    serving: Serving | None = None
    for entry in entries:
        if isinstance(entry, Checkpoint):
            segments += 1
            serving = build(entry)
            serving.restore(entry)
            continue
        if serving is None:
            continue  # the journal begins in the middle of a segment
        records += 1
        got = serving.handle(entry.events)
        if got != entry.commands:
            at = entry.events[-1].at
            mismatch = Mismatch(record=records, at=at, expected=entry.commands, got=got)
            return Replay(segments=segments, records=records, mismatch=mismatch)
    return Replay(segments=segments, records=records)
