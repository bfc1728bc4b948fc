"""An answer in the making: it goes on while a client waits for it, and is cancelled when the last one leaves."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from starlette.requests import Request
from starlette.responses import Response


class Work:
    """A response that is being computed; requests with one Idempotency-Key share it."""

    def __init__(self, making: Coroutine[Any, Any, Response]) -> None:
        self.task = asyncio.get_running_loop().create_task(making)
        self._waiting = 0

    @property
    def given_up(self) -> bool:
        """Its last client has left before it was done."""
        return self.task.cancelled() or self.task.cancelling() > 0

    async def answer(self, request: Request) -> Response:
        """The response, or nothing of use once the client of `request` has gone."""
        gone = asyncio.create_task(_gone(request))
        self._waiting += 1
        try:
            await asyncio.wait({self.task, gone}, return_when=asyncio.FIRST_COMPLETED)
            return self.task.result() if self.task.done() else Response(status_code=499)
        finally:
            self._waiting -= 1
            gone.cancel()
            if not self._waiting and not self.task.done():
                self.task.cancel()


async def _gone(request: Request) -> None:
    """Returns when the client closes its connection. The body must have been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
