"""An asyncio loop whose clock jumps to the next timer: a day passes in a second, and times are exact."""

from __future__ import annotations

import asyncio
import math
import selectors
from typing import Any


class _Jumping(selectors.SelectSelector):
    """Instead of waiting for a timer, moves the loop's clock to it. Sockets are looked at, never waited for."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[Any]:
        if timeout is None:
            raise RuntimeError("virtual time stands still: nothing is scheduled and nothing is ready")
        if timeout > 0:
            self.loop.jump()
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Starts at 0 s. Couples to two private names of asyncio's base loop: `_scheduled` and `_clock_resolution`."""

    _scheduled: list[asyncio.TimerHandle]

    def __init__(self) -> None:
        selector = _Jumping()
        super().__init__(selector)
        selector.loop = self
        self._now = 0.0
        self._clock_resolution = math.ulp(0.0)

    def time(self) -> float:
        return self._now

    def jump(self) -> None:
        self._now = max(self._now, self._scheduled[0].when())
        self._clock_resolution = math.ulp(self._now)  # timers closer than this would fire together
