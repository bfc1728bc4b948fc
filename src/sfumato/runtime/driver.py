"""The live driver: asyncio in, commands out. It feeds the same Serving that the simulator feeds.

Rules: events are stamped once, by whoever receives them; all that are ready in one turn of the loop are one batch; a
batch is handled and its commands executed before anything else is read. The driver decides nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from sfumato.core.commands import Admit, AnyCommand, Drop, Halt, Launch, Load, Order, Reply, WakeAt
from sfumato.core.events import AnyEvent, Woke
from sfumato.core.serving import Serving
from sfumato.core.values import Outcome

logger = logging.getLogger(__name__)


class Executor(Protocol):
    """Whoever runs chunks: a cluster of processes, or the fake one. It posts events by the callback it was given."""

    def execute(self, command: Order) -> None:
        """Start doing it; never blocks, never raises for what a worker does."""
        ...


class Driver:
    """Batches events, asks the Serving, hands commands to the executor and outcomes to `on_reply`."""

    def __init__(
        self,
        serving: Serving,
        executor: Executor,
        *,
        on_reply: Callable[[Outcome], None],
        on_commands: Callable[[tuple[AnyCommand, ...]], None] = lambda _: None,
        on_crash: Callable[[Exception], None] | None = None,
    ) -> None:
        self.serving = serving
        self._executor = executor
        self._on_reply = on_reply
        self._on_commands = on_commands
        self._on_crash = on_crash
        self._loop = asyncio.get_running_loop()
        self._inbox: list[AnyEvent] = []
        self._wake: asyncio.TimerHandle | None = None

    def post(self, event: AnyEvent) -> None:
        """Take an event; it is handled at the next turn of the loop, together with all that came meanwhile."""
        if not self._inbox:
            self._loop.call_soon(self._drain)
        self._inbox.append(event)

    def _drain(self) -> None:
        batch, self._inbox = self._inbox, []
        try:
            commands = self.serving.handle(batch)
        except (
            Exception
        ) as error:  # the process edge: a bug of the core or of a user's policy must not leave clients hanging
            if self._on_crash is None:
                raise
            logger.exception("the core broke; every open request ends as failed")
            self._on_crash(error)
            return
        for command in commands:
            match command:
                case Admit() | Launch() | Halt() | Load() | Drop():
                    self._executor.execute(command)
                case Reply(outcome=outcome):
                    self._on_reply(outcome)
                case WakeAt(at=at):
                    self._wake_at(at)
        self._on_commands(commands)

    def _wake_at(self, at: float) -> None:
        if self._wake:
            self._wake.cancel()
        # the loop may come to it late, when events of a later time have already been handled
        self._wake = self._loop.call_at(at, lambda: self.post(Woke(at=max(at, self.serving.now))))

    def close(self) -> None:
        """No more wake-ups."""
        if self._wake:
            self._wake.cancel()
