"""How a chunk ends when it goes wrong: a rank of it raises, dies, or is cut off from the others.

Rules: the first word ends the chunk, and its other ranks are told to drop it; nobody holds its jobs' states from then
on, so they go on from their snapshots. A chunk that raised fails its jobs, but of a batch for which a rank has no
memory only the largest. A death blames nobody until a request has taken a few workers with it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from sfumato.core.commands import Launch
from sfumato.core.events import AnyEvent, ChunkDone, ChunkFailed, Progress, WorkerLost
from sfumato.core.values import Rank
from sfumato.runtime.kept import MAX_LOSSES, Keeping
from sfumato.runtime.names import Names
from sfumato.runtime.watch import Watch
from sfumato.runtime.wire import Failed, Message, Stop

# A rank that was cut off from its group says so at once; the one that died or failed is heard of within milliseconds.
_REASON_S = 1.0


class Losses:
    """Ends chunks, and posts what the core is to know of it."""

    def __init__(
        self,
        watch: Watch,
        kept: Keeping,
        names: Names,
        *,
        send: Callable[[Rank, Message], None],
        post: Callable[[AnyEvent], None],
        clock: Callable[[], float],
    ) -> None:
        self._watch = watch
        self._kept = kept
        self._names = names
        self._send = send
        self._post = post
        self._clock = clock

    def failed(self, rank: Rank, failed: Failed) -> None:
        """A chunk has raised on a rank."""
        launch = self._end(failed.seq, rank)
        if launch is None:
            return
        jobs = launch.chunk.jobs
        self._kept.dissolve(jobs)
        if failed.exhausted and len(jobs) > 1:
            self._gained_nothing(launch, [self._kept.largest(jobs)], f"out of memory: {failed.reason}", self._clock())
        else:
            self._post(ChunkFailed(at=self._clock(), seq=launch.seq, reason=failed.reason))

    def severed(self, seq: int) -> None:
        """A rank was cut off from its group; who did it is waited for, but not for long."""
        if self._watch.get(seq) is not None:
            asyncio.get_running_loop().call_later(_REASON_S, self._give_up, seq)

    def lost(self, rank: Rank, saved_units: Callable[[str], int | None]) -> None:
        """A rank is gone, its groups and chunks with it."""
        at = self._clock()  # of all: an end of a chunk is heard before the loss of its rank at the same time
        self._names.lose(rank)
        for launch in self._watch.on(rank):
            self._end(launch.seq, rank)
            culprits = self._kept.blame(launch.chunk.jobs)
            if culprits:
                self._gained_nothing(launch, culprits, f"{MAX_LOSSES} workers died while they ran this request", at)
        self._post(WorkerLost(at=at, rank=rank, saved=self._kept.lose(rank, saved_units)))

    def _give_up(self, seq: int) -> None:
        """A group broke and nobody says why (a network may do that)."""
        launch = self._end(seq)
        if launch is not None:
            self._kept.dissolve(launch.chunk.jobs)
            culprits = self._kept.blame(launch.chunk.jobs)
            self._gained_nothing(launch, culprits, f"its group broke {MAX_LOSSES} times", self._clock())

    def _gained_nothing(self, launch: Launch, culprits: Collection[str], error: str, at: float) -> None:
        """The chunk ends; the culprits fail, the others are where they were."""
        progress = tuple(
            Progress(job=job, units=0, saved=0, error=error if job in culprits else "") for job in launch.chunk.jobs
        )
        self._post(ChunkDone(at=at, seq=launch.seq, progress=progress, seconds=0.0))

    def _end(self, seq: int, rank: Rank | None = None) -> Launch | None:
        """The chunk, which ends now; all its ranks are told, but the one that has ended it."""
        launch = self._watch.end(seq)
        if launch is not None:
            self._names.broken(launch.chunk.group)
            for other in launch.chunk.group:
                if other != rank:
                    self._send(other, Stop(seq=seq, discard=True))
        return launch
