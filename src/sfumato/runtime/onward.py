"""Chunks that a rank goes on with by itself: two stages of a request merged into one launch (core.values.Chunk.onward).

Rules: the rank says in the report of the first chunk whether it has gone on, the core then agrees or not. What comes of
the second chunk before that (a short one may have ended) is credited to nobody yet: where the core does not agree, its
jobs go on from the end of the first, which is saved.
"""

from __future__ import annotations

from collections.abc import Callable

from sfumato.core.commands import Launch
from sfumato.core.values import Rank
from sfumato.runtime.kept import Keeping
from sfumato.runtime.watch import Watch
from sfumato.runtime.wire import Done, Message, Stop


class Onward:
    """Those that the core has not agreed to yet. `credit` counts what a chunk has gained."""

    def __init__(
        self,
        watch: Watch,
        kept: Keeping,
        *,
        send: Callable[[Rank, Message], None],
        credit: Callable[[Launch, Done], None],
    ) -> None:
        self._watch, self._kept, self._send, self._credit = watch, kept, send, credit
        self._open: dict[int, tuple[Launch, Done | None]] = {}

    def begin(self, launch: Launch) -> None:
        """A rank has gone on with this."""
        self._watch.begin(launch)
        self._open[launch.seq] = launch, None

    def ended(self, launch: Launch, done: Done) -> None:
        """A chunk, of this kind or not, has ended."""
        if launch.seq in self._open:
            self._open[launch.seq] = launch, done
        else:
            self._credit(launch, done)

    def agreed(self, seq: int) -> None:
        """The core counts it as launched."""
        launch, done = self._open.pop(seq)
        if done is not None:
            self._credit(launch, done)

    def undo(self, seq: int) -> None:
        """The core does not want it: nothing of it counts."""
        launch, _ = self._open.pop(seq)
        if self._watch.end(seq) is not None:
            self._send(launch.chunk.group[0], Stop(seq=seq, discard=True))
        self._kept.dissolve(launch.chunk.jobs)
