"""What the programs measure on: a server as a user starts it, or a live engine in this process without HTTP."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
from msgspec.structs import replace

from sfumato.cli.session import session
from sfumato.config import EMBEDDED, Config, PolicyConfig, ServerConfig, WorkersConfig
from sfumato.core.values import Shape
from sfumato.runtime.cluster import ProcessCluster
from sfumato.runtime.engine import Engine
from sfumato.runtime.service import Ask, Ticket

START_S = 300.0
IMAGE, VIDEO = "sfumato/tiny-image", "sfumato/tiny-video"
T = TypeVar("T")


class Served:
    """A server process and a client of it."""

    def __init__(self, url: str, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.url = url
        self.process = process
        self.journal = folder / "journal"
        self.http = httpx.Client(base_url=url, timeout=120.0)

    def health(self) -> dict[str, Any]:
        found: dict[str, Any] = self.http.get("/health").json()
        return found

    def stop(self) -> None:
        """End the server in order; its journal is whole then."""
        self.process.terminate()
        self.process.wait(60)

    def until(self, state: Callable[[dict[str, Any]], bool], patience_s: float = START_S) -> None:
        """Until /health says so."""
        ends = time.monotonic() + patience_s
        while not self._is(state):
            if time.monotonic() > ends or self.process.poll() is not None:
                raise SystemExit("bench: the server did not get there; its last words are above")
            time.sleep(0.05)

    def _is(self, state: Callable[[dict[str, Any]], bool]) -> bool:
        try:
            return state(self.health())
        except httpx.TransportError:
            return False


@contextmanager
def served(*flags: str, workers: int, config: str = "") -> Iterator[Served]:
    """`sfumato serve` on the embedded models, with a journal and no profiles; `config` is its TOML."""
    with tempfile.TemporaryDirectory(prefix="sfumato-bench-") as name:
        folder, port = Path(name), _free_port()
        (folder / "config.toml").write_text(config)
        arguments = [*flags, "--port", str(port), "--workers", str(workers), "--journal", str(folder / "journal")]
        process = subprocess.Popen(
            [sys.executable, "-m", "sfumato", "serve", "--config", str(folder / "config.toml"), *arguments],
            env={**os.environ, "SFUMATO_CACHE": str(folder), "CUDA_VISIBLE_DEVICES": ""},
            stderr=subprocess.DEVNULL,
        )
        server = Served(f"http://127.0.0.1:{port}", process, folder)
        try:
            server.until(lambda health: health["ranks"] == workers)
            yield server
        finally:
            server.http.close()
            server.stop()


@asynccontextmanager
async def running(
    policy: str,
    options: dict[str, Any] | None = None,
    *,
    workers: int = 2,
    device: str = "cpu",
    models: dict[str, str] | None = None,
    journal: Path | None = None,
    **more: Any,
) -> AsyncIterator[tuple[Engine, ProcessCluster]]:
    """An engine on real workers with `models` (None: the embedded) and, unless `profiles` are named, estimated times.

    `device` is cpu or cuda, of which each worker takes one.
    """
    with tempfile.TemporaryDirectory(prefix="sfumato-bench-") as empty:
        os.environ["SFUMATO_CACHE"] = empty
        config = Config(
            models=models or EMBEDDED,
            workers=WorkersConfig(count=workers, device=device),
            policy=PolicyConfig(name=policy, options=options or {}),
            server=ServerConfig(journal=str(journal) if journal else None, **more),
        )
        async with session(config, quiet=True) as (engine, cluster):
            yield engine, cluster


def image(*, side: int = 64, steps: int = 24, guidance: float = 1.0, seed: int = 0, priority: int = 0) -> Ask:
    return Ask(
        model=IMAGE,
        prompt="a big red circle on a yellow background",
        shape=Shape(height=side, width=side),
        steps=steps,
        guidance=guidance,
        seed=seed,
        priority=priority,
    )


def video(steps: int, *, side: int = 64, frames: int = 9) -> Ask:
    """With guidance 1, so one pass a step."""
    shape = Shape(height=side, width=side, frames=frames)
    return replace(image(steps=steps), model=VIDEO, shape=shape)


async def finished(engine: Engine, ask: Ask) -> Ticket:
    """Submit, wait, forget."""
    ticket = engine.submit(ask)
    await ticket.ended.wait()
    engine.forget(ticket.id)
    return ticket


def service_s(ticket: Ticket) -> float:
    """From the first launch to the end."""
    outcome = ticket.outcome
    if outcome is None or not outcome.met or outcome.first_launch is None:
        raise SystemExit(f"bench: request {ticket.id} {outcome and outcome.state}: {outcome and outcome.reason}")
    return outcome.at - outcome.first_launch


def play(scene: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """Run a coroutine to its end on a loop of its own."""
    return asyncio.run(scene())


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
