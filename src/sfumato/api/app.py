"""The HTTP service as one ASGI application in front of a Service, and the server that runs it."""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager

import uvicorn
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Route

from sfumato.api.about import About
from sfumato.api.config import ApiConfig
from sfumato.api.errors import HANDLERS
from sfumato.api.images import Images
from sfumato.api.metrics import Metrics
from sfumato.api.submission import Desk
from sfumato.api.videos import Videos
from sfumato.errors import ConfigError
from sfumato.runtime.service import Service


def create_app(
    service: Service,
    *,
    config: ApiConfig | None = None,
    clock: Callable[[], float] = time.time,
    routes: Sequence[BaseRoute] = (),
) -> Starlette:
    """The application; it must run on the event loop of `service`. `routes` come first (a dashboard's page)."""
    config = ApiConfig() if config is None else config
    metrics = Metrics(service)
    desk = Desk(service, metrics)
    images = Images(service, config, desk, clock)
    videos = Videos(service, config, desk, clock)
    about = About(service, clock())

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        yield
        desk.close()
        videos.stop()

    return Starlette(
        routes=[
            *routes,
            *images.routes(),
            *videos.routes(),
            *about.routes(),
            Route("/metrics", metrics.page, methods=["GET"]),
        ],
        exception_handlers=HANDLERS,
        lifespan=lifespan,
    )


def create_server(
    app: Starlette, *, log_level: str = "info", on_start: Callable[[], object] = lambda: None
) -> uvicorn.Server:
    """A server for `app`: `await server.serve(sockets=[bind(host, port)])` on the event loop of its service.

    `on_start` is called once clients are no longer refused. `should_exit = True` ends it.
    """
    settings = uvicorn.Config(app, log_level=log_level, ws="none", access_log=False, timeout_graceful_shutdown=5)
    return _Server(settings, on_start)


class _Server(uvicorn.Server):
    """SIGINT and SIGTERM end `serve`, no more: uvicorn's own raises them again once it is done.

    A SIGTERM then killed the process before its engine had ended, and the last quarter second of its journal was lost.
    """

    def __init__(self, settings: uvicorn.Config, on_start: Callable[[], object]) -> None:
        super().__init__(settings)
        self._on_start = on_start

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._on_start()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        with super().capture_signals():
            yield
            self._captured_signals.clear()


def bind(host: str, port: int) -> socket.socket:
    """The socket for a server; port 0 is any free one. It refuses clients until it is served. Raises ConfigError."""
    bound: socket.socket | None = None
    try:
        if not 0 <= port <= 65535:  # getaddrinfo would wrap it around
            raise OverflowError("ports are 0 to 65535")
        # The protocol is named, else asyncio leaves Nagle's algorithm on and each answer takes 40 ms.
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
        family, kind, protocol, _, address = found[0]
        bound = socket.socket(family, kind, protocol)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except (OSError, OverflowError) as error:
        if bound is not None:
            bound.close()
        message = f"port: {host}:{port} cannot be listened on ({error}); use another --port or --host"
        raise ConfigError(message, field="port") from error
    return bound
