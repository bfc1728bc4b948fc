"""Everything that the core can ask of a driver. A driver executes commands in the order given and reports by events."""

from __future__ import annotations

from sfumato.core.values import Chunk, Group, Outcome, PartId, Rank, Shape, Value


class Command(Value, frozen=True, kw_only=True, tag=True):
    """Base of all commands."""


class Launch(Command, frozen=True, kw_only=True):
    """Run `chunk` now under the number `seq`; workers run their launches in the order of `seq`.

    `sources` says, job by job, which group holds the latent (None: take its snapshot, or nothing yet exists); a
    source other than the chunk's group implies the move. Predicted seconds: `start_s` once, `unit_s` a unit.
    `onward_s` is that of a unit of what its rank goes on with. `follows`: the rank has done so, after chunk `seq - 1`.
    """

    seq: int
    chunk: Chunk
    sources: tuple[Group | None, ...]
    start_s: float
    unit_s: float
    onward_s: float = 0.0
    follows: bool = False

    @property
    def following(self) -> Launch:
        """Of a chunk that goes `onward`: what its rank is to do then."""
        chunk = self.chunk.following
        sources = (chunk.group,) * len(chunk.jobs)
        return Launch(seq=self.seq + 1, chunk=chunk, sources=sources, start_s=0.0, unit_s=self.onward_s, follows=True)


class Halt(Command, frozen=True, kw_only=True):
    """End chunk `seq` after the unit in flight; with `jobs`, only those leave the batch and the others go on.

    `undone`: the chunk was never launched, its rank has gone on by itself and should not have; nothing of it counts.
    """

    seq: int
    jobs: tuple[str, ...] = ()
    undone: bool = False


class Load(Command, frozen=True, kw_only=True):
    """Make a weight part resident on a rank, beside its chunks."""

    rank: Rank
    part: PartId


class Drop(Command, frozen=True, kw_only=True):
    """Free a weight part on a rank."""

    rank: Rank
    part: PartId


class Admit(Command, frozen=True, kw_only=True):
    """A waiting request is to be made with less than it asked for; comes before its first launch."""

    job: str
    shape: Shape
    steps: int


class Reply(Command, frozen=True, kw_only=True):
    """A request has ended; tell its client, and free whatever is still held for it."""

    outcome: Outcome


class WakeAt(Command, frozen=True, kw_only=True):
    """Send `Woke` at this time; a later WakeAt replaces an earlier one."""

    at: float


Order = Admit | Launch | Halt | Load | Drop
"""What workers are concerned with; the rest is for clients and the clock."""

AnyCommand = Admit | Launch | Halt | Load | Drop | Reply | WakeAt
