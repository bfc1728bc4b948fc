"""A real server in a process of its own, for as long as the demo needs it; it is ended in order, also on Ctrl-C."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

START_S, STOP_S = 300.0, 20.0
# The demo is about cores: a GPU would draw these small models faster than a client can ask for them.
ENVIRONMENT = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}


@asynccontextmanager
async def serving(
    policy: str, *, workers: int, profiles: Path, folder: Path, paced: bool = False
) -> AsyncIterator[str]:
    """`sfumato serve` with its journal and log in `folder`; gives the address once it answers."""
    port = free_port()
    words = ["serve", "--policy", policy, "--workers", str(workers), "--port", str(port)]
    words += ["--profile", str(profiles), "--journal", str(folder / "journal")]
    words += ["--paced"] * paced
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "server.log").open("wb") as log:
        # A session of its own: Ctrl-C in the terminal reaches the demo alone, which then ends the server.
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "sfumato", *words, stdout=log, stderr=log, env=ENVIRONMENT, start_new_session=True
        )
        try:
            url = f"http://127.0.0.1:{port}"
            await _answering(url, process, folder / "server.log")
            yield url
        finally:
            await end(process)


async def run_verb(*words: str, quiet: bool = False) -> None:
    """A verb of the command line in a process of its own; `quiet` leaves out its table. Raises RuntimeError."""
    out = asyncio.subprocess.DEVNULL if quiet else None
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sfumato", *words, stdout=out, env=ENVIRONMENT, start_new_session=True
    )
    try:
        if await process.wait():
            raise RuntimeError(f"sfumato {' '.join(words)} ended with status {process.returncode}; see above")
    finally:
        await end(process)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


async def end(process: asyncio.subprocess.Process) -> None:
    """SIGINT, as Ctrl-C would; what does not heed it in time is killed."""
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGINT)
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()


async def _answering(url: str, process: asyncio.subprocess.Process, log: Path) -> None:
    async with httpx.AsyncClient(timeout=2.0) as client, asyncio.timeout(START_S):
        while True:
            if process.returncode is not None:
                raise RuntimeError(f"the server ended with status {process.returncode}: {log.read_text()[-2000:]}")
            try:
                if (await client.get(f"{url}/health")).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.2)
