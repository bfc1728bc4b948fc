"""One worker process as the controller sees it: started with a socket pair, heard through it, ended with it.

Rules: the end of the line is the end of the worker (it is killed if it still lives); `up` tells how its start went.
Nothing here waits on the event loop's thread.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import cast

from sfumato.core.values import Rank
from sfumato.errors import WorkerError
from sfumato.runtime.lines import controller_reader, frame
from sfumato.runtime.wire import Broken, FromWorker, Message, Up

Hear = Callable[["WorkerProcess", FromWorker], None]
Ended = Callable[["WorkerProcess"], None]


class WorkerProcess(asyncio.Protocol):
    """A worker from its start to its end. `hear` gets every message after Up, `ended` comes once, after the last."""

    def __init__(self, rank: Rank, hear: Hear, ended: Ended) -> None:
        self.rank = rank
        self.up: asyncio.Future[Up] = asyncio.get_running_loop().create_future()
        self.process: subprocess.Popen[bytes] | None = None
        self._hear = hear
        self._ended = ended
        self._reader = controller_reader()
        self._transport: asyncio.Transport | None = None

    async def start(self, setup: Message) -> None:
        """Spawn the process and tell it what to be; `up` follows."""
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "sfumato.runtime.worker", "--fd", str(theirs.fileno())]
            # A process group of its own: Ctrl-C is for the controller, which ends its workers in order. Not a session:
            # Linux's autogroups would give each worker as much of the cores as the controller, whatever its niceness.
            self.process = subprocess.Popen(
                command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, process_group=0
            )
        ours.setblocking(False)
        await asyncio.get_running_loop().create_unix_connection(lambda: self, sock=ours)
        self.send(setup)

    def send(self, message: Message) -> None:
        """Hand a message to the socket; a worker that is gone is reported by `ended`, not here."""
        if self._transport is not None and not self.closed:
            self._transport.write(frame(message))

    async def end(self) -> None:
        """Kill the worker, which has nothing to save, and wait until it is gone."""
        self.kill()
        if self._transport is not None:
            self._transport.close()
        while self.process is not None and self.process.poll() is None:
            await asyncio.sleep(0.005)  # a process that holds a GPU takes a while to go

    @property
    def closed(self) -> bool:
        """Whether the line is."""
        return self._transport is None or self._transport.is_closing()

    def kill(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.kill()

    # -- asyncio.Protocol -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        for message in self._reader.feed(data):
            if isinstance(message, Up):
                if not self.up.done():
                    self.up.set_result(message)
            elif isinstance(message, Broken):
                self._fail(message.reason)
            else:
                self._hear(self, message)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  named by asyncio
        self.kill()
        self._fail(f"it ended ({self._status()}) before it was ready; its last words are on stderr")
        self._ended(self)

    def _fail(self, reason: str) -> None:
        if not self.up.done():
            self.up.set_exception(WorkerError(f"worker {self.rank} could not start: {reason}"))
            self.up.exception()  # whoever waits gets it; with nobody waiting it is no unhandled one

    def _status(self) -> str:
        code = self.process.poll() if self.process is not None else None
        if code is None:
            return "no exit status yet"
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
