"""A whole server in a thread of the test: HTTP on a free port, engine, journal on disk, real worker processes.

Tests talk to it as clients do; what no client may see (tickets, worker processes) they ask on the server's own loop.
Nothing sleeps for a fixed time: `until` waits for a state, and fails with what it waited for.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from openai import OpenAI

from sfumato.api.app import bind, create_app, create_server
from sfumato.cli.session import session
from sfumato.config import Config
from sfumato.core.journal import Entry
from sfumato.core.values import Stage
from sfumato.report.journal import entries, tell
from sfumato.report.story import Story
from sfumato.runtime.cluster import ProcessCluster
from sfumato.runtime.engine import Engine
from sfumato.runtime.service import Ask, Ticket

PATIENCE_S = 200.0  # only what never comes waits so long; a worker's start takes a minute on a starved machine
LOOK_EVERY_S = 0.01
T = TypeVar("T")


def completed(client: OpenAI, video: str, status: str = "completed") -> None:
    """Until a video has that status."""
    until(lambda: client.videos.retrieve(video).status == status, f"video {video} is {status}")


def until(look: Callable[[], T | None], what: str, patience_s: float = PATIENCE_S) -> T:
    """The first true answer of `look`."""
    ends = time.monotonic() + patience_s
    while not (found := look()):
        assert time.monotonic() < ends, f"{what}: not within {patience_s:g} s"
        time.sleep(LOOK_EVERY_S)
    return found


class Live:
    """A running server."""

    engine: Engine
    cluster: ProcessCluster

    def __init__(self, config: Config) -> None:
        assert config.server.journal
        self.journal = Path(config.server.journal)
        self.url = ""
        self._config = config
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="server", daemon=True)
        self._thread.start()
        until(lambda: bool(self.url) or self._failure is not None, "the server is up")
        if self._failure:
            raise self._failure

    def client(self, **options: Any) -> OpenAI:
        return OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, timeout=PATIENCE_S, **options)

    def ask(self, question: Callable[[], T]) -> T:
        """The answer to a question that is put on the server's loop."""

        async def answer() -> T:
            return question()

        return asyncio.run_coroutine_threadsafe(answer(), self._loop).result(PATIENCE_S)

    def ticket(self, request_id: str) -> Ticket | None:
        """What the server knows of a request, as long as it is held."""
        return self.ask(lambda: self.engine._tickets.get(request_id))

    def newest(self, prompt: str) -> Ticket:
        """The ticket of the request with this prompt, once it is there."""

        def look() -> Ticket | None:
            return next((t for t in self.engine._tickets.values() if t.ask.prompt == prompt), None)

        return until(lambda: self.ask(look), f"a request for {prompt!r}")

    def until_at(self, request_id: str, stage: Stage, done: int) -> Ticket:
        """Until a request has so many units of a stage."""

        def look() -> Ticket | None:
            ticket = self.ticket(request_id)
            return ticket if ticket and ticket.stage is stage and ticket.done >= done else None

        return until(look, f"{done} units of {stage} of {request_id}")

    def worker_of(self, request_id: str) -> int:
        """The process that holds a request's latent."""

        def look() -> int:
            home = self.engine.serving.backlog.live[request_id].home
            assert home
            return self.cluster.pids()[home[0]]

        return self.ask(look)

    def submit(self, ask: Ask) -> Ticket:
        return self.ask(lambda: self.engine.submit(ask))

    def pixels(self, ticket: Ticket) -> Any:
        """The output of a request made by `submit`, once it has ended."""
        until(ticket.ended.is_set, f"request {ticket.id} ends")
        return asyncio.run_coroutine_threadsafe(self.engine.pixels(ticket), self._loop).result(PATIENCE_S)

    def entries(self) -> list[Entry]:
        return list(entries(self.journal))

    def story(self, *ended: str) -> Story:
        """The journal's story once these requests (none named: all of it) have ended in it.

        Its lines reach the disk a little later than they happen.
        """

        def look() -> Story | None:
            story = tell(self.entries())
            return (
                story if all(one in story.lives and story.lives[one].outcome for one in ended or story.lives) else None
            )

        return until(look, f"the journal holds the ends of {ended}")

    def idle(self) -> None:
        """Until no rank is busy and nothing waits, with all ranks up."""

        def look() -> bool:
            stats = self.engine.stats()
            live = stats["waiting"] + stats["running"] + stats["paused"]
            return not live and not stats["ranks_busy"] and stats["ranks"] == self._config.workers.count

        until(lambda: self.ask(look), "all ranks are up and free")

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        if self._failure:
            raise self._failure

    # -- the server's thread ----------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._serve())
        except BaseException as error:  # noqa: BLE001  told to the test's thread
            self._failure = error

    async def _serve(self) -> None:
        with bind("127.0.0.1", 0) as bound:
            async with session(self._config, quiet=True) as (engine, cluster):
                self.engine, self.cluster = engine, cluster
                server = create_server(create_app(engine, config=self._config.api), log_level="warning")
                serving = asyncio.create_task(server.serve(sockets=[bound]))
                while not server.started:
                    await asyncio.sleep(LOOK_EVERY_S)
                self.url = f"http://127.0.0.1:{bound.getsockname()[1]}"
                await self._stop.wait()
                server.should_exit = True
                await serving


@contextmanager
def live(config: Config) -> Iterator[Live]:
    """A server for as long as the block runs."""
    server = Live(config)
    try:
        yield server
    finally:
        server.close()
