"""The chunks that run on the workers, how long each has been silent, and what it took."""

from __future__ import annotations

import time

from sfumato.core.commands import Launch
from sfumato.core.values import Rank
from sfumato.runtime.wire import Done


class Watch:
    """Launches from `begin` to `end`."""

    def __init__(self) -> None:
        self._running: dict[int, Launch] = {}
        self._heard_at: dict[int, float] = {}

    def begin(self, launch: Launch) -> None:
        self._running[launch.seq] = launch
        self._heard_at[launch.seq] = time.monotonic()

    def get(self, seq: int) -> Launch | None:
        """The chunk, unless it has ended: by itself, or with a lost rank while its report was on the way."""
        return self._running.get(seq)

    def heard(self, seq: int) -> Launch | None:
        """As `get`, and its silence begins anew."""
        if seq in self._running:
            self._heard_at[seq] = time.monotonic()
        return self._running.get(seq)

    def end(self, seq: int) -> Launch | None:
        """As `get`, for the last time."""
        self._heard_at.pop(seq, None)
        return self._running.pop(seq, None)

    def on(self, rank: Rank) -> list[Launch]:
        """What runs on a rank."""
        return [launch for launch in self._running.values() if rank in launch.chunk.group]

    def silent(self, limit_s: float) -> list[Launch]:
        """What has said nothing for so long beyond twenty times the predicted time of a unit."""
        now = time.monotonic()
        return [
            launch
            for seq, launch in self._running.items()
            if now - self._heard_at[seq] > limit_s + 20 * (launch.start_s + launch.unit_s)
        ]


def measured_s(launch: Launch, done: Done) -> float:
    """The seconds of all units that a chunk is credited with, though some were already in a newer snapshot."""
    units = max((progress.units for progress in done.progress), default=0)
    if done.computed >= units:
        return done.seconds
    return done.seconds * units / done.computed if done.computed else launch.unit_s * units
