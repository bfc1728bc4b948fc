"""Loads of weights that failed: the core is told of them a little later, and people at once.

A planner that still wants the part asks for it again as soon as it is told, and a file that is missing or a device that
is full mostly stays so: without a wait the rank would do nothing else. A rank that is lost takes its failures with it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from sfumato.core.events import AnyEvent, LoadFailed
from sfumato.core.values import PartId, Rank

log = logging.getLogger(__name__)

WAIT_S = 1.0


class Reloads:
    """Failures that are yet to be told. `post` takes the events, `clock` stamps them."""

    def __init__(self, post: Callable[[AnyEvent], None], clock: Callable[[], float]) -> None:
        self._post = post
        self._clock = clock
        self._waiting: dict[tuple[Rank, PartId], asyncio.TimerHandle] = {}

    def failed(self, rank: Rank, part: PartId, reason: str) -> None:
        """A rank could not load a part. Told once, however often it fails before that."""
        log.error("rank %d could not load %s: %s", rank, part, reason)
        if (rank, part) in self._waiting:
            return
        later = asyncio.get_running_loop().call_later(WAIT_S, self._tell, rank, part, reason)
        self._waiting[rank, part] = later

    def lose(self, rank: Rank) -> None:
        """Its successor has failed at nothing."""
        for key in [key for key in self._waiting if key[0] == rank]:
            self._waiting.pop(key).cancel()

    def close(self) -> None:
        """Tell nothing any more."""
        for later in self._waiting.values():
            later.cancel()
        self._waiting.clear()

    def _tell(self, rank: Rank, part: PartId, reason: str) -> None:
        del self._waiting[rank, part]
        self._post(LoadFailed(at=self._clock(), rank=rank, part=part, reason=reason))
