"""A Studio behind a real server on this machine, in the test's own event loop, and its clients."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
from openai import AsyncOpenAI

from sfumato.api.app import bind, create_app, create_server
from sfumato.api.config import ApiConfig
from tests.api.studio import WALL, Studio


def asynchronous(test: Callable[..., Awaitable[None]]) -> Callable[..., None]:
    """Run a test in an event loop of its own."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        asyncio.run(asyncio.wait_for(test(*args, **kwargs), 30))

    return run


class Clock:
    """Unix time that stands still unless it is moved."""

    def __init__(self) -> None:
        self.now = WALL

    def __call__(self) -> float:
        return self.now


class Site:
    """`http` speaks plainly, `client` is what users have."""

    def __init__(self, studio: Studio, clock: Clock, url: str) -> None:
        self.studio, self.clock, self.url = studio, clock, url
        self.transport: httpx.ASGITransport | None = None

    @functools.cached_property
    def http(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.url, timeout=10, transport=self.transport, verify=False)

    @functools.cached_property
    def client(self) -> AsyncOpenAI:
        return AsyncOpenAI(base_url=f"{self.url}/v1", api_key="any", max_retries=0)

    async def close(self) -> None:
        await self.http.aclose()
        if "client" in vars(self):
            await self.client.close()


@asynccontextmanager
async def open_app(config: ApiConfig | None = None, **studio_options: Any) -> AsyncIterator[Site]:
    """Without a socket, for `http` alone: quicker, but a client that leaves is not seen as one."""
    studio, clock = Studio(**studio_options), Clock()
    site = Site(studio, clock, "http://site")
    app = create_app(studio, config=config, clock=clock)
    site.transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    yield site
    await site.close()
    await studio.close()


@asynccontextmanager
async def open_site(config: ApiConfig | None = None, **studio_options: Any) -> AsyncIterator[Site]:
    studio, clock = Studio(**studio_options), Clock()
    server = create_server(create_app(studio, config=config, clock=clock), log_level="critical")
    with bind("127.0.0.1", 0) as bound:
        bound.listen()
        serving = asyncio.create_task(server.serve(sockets=[bound]))
        site = Site(studio, clock, f"http://127.0.0.1:{bound.getsockname()[1]}")
        try:
            yield site
        finally:
            await site.close()
            server.should_exit = True
            await serving
            await studio.close()
