"""What is done when a ticket ends, whoever else waits for it: it is counted, and its output is freed.

A cancellation takes effect at the next step boundary, and may come too late; what it frees is known only at the end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sfumato.runtime.service import Ticket


class Endings:
    """The tickets of one service that are waited for."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Task[None]] = set()

    def then(self, ticket: Ticket, act: Callable[[Ticket], None]) -> None:
        """Call `act` once `ticket` has ended."""
        task = asyncio.get_running_loop().create_task(_wait(ticket, act))
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    def stop(self) -> None:
        for task in self._waiting:
            task.cancel()


async def _wait(ticket: Ticket, act: Callable[[Ticket], None]) -> None:
    await ticket.ended.wait()
    act(ticket)
