"""/v1/videos: post a video, poll it, download it, list, cancel or delete it.

The answers to all of them are 2xx whatever became of the video: a failed one is a Video with an error, never an HTTP
error. The one exception is a refusal at once, which a client must see as the status of its POST.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sfumato.api.asks import VideoAsk, video_ask
from sfumato.api.bodies import read_fields
from sfumato.api.config import ApiConfig
from sfumato.api.errors import ApiError, invalid, rejected, unknown
from sfumato.api.files import send_file
from sfumato.api.films import Film, Films, listing, resource
from sfumato.api.media import encode_thumbnail, encode_video
from sfumato.api.replies import drawn_shape, failure
from sfumato.api.schemas import VideoBody, parse
from sfumato.api.submission import Desk, Keyed, key_of
from sfumato.core.values import JobState
from sfumato.runtime.service import Pixels, Service

log = logging.getLogger(__name__)


class Videos:
    """The video endpoints of one service."""

    def __init__(self, service: Service, config: ApiConfig, desk: Desk, clock: Callable[[], float]) -> None:
        self._service, self._config, self._desk, self._clock = service, config, desk, clock
        self._films = Films(config, clock)
        self._keyed: Keyed[str] = Keyed(config, clock)
        self._endings: set[asyncio.Task[None]] = set()

    def routes(self) -> list[Route]:
        return [
            Route("/v1/videos", self.create, methods=["POST"]),
            Route("/v1/videos", self.list, methods=["GET"]),
            Route("/v1/videos/{id}", self.retrieve, methods=["GET"]),
            Route("/v1/videos/{id}", self.delete, methods=["DELETE"]),
            Route("/v1/videos/{id}/content", self.content, methods=["GET"]),
        ]

    def stop(self) -> None:
        for task in self._endings:
            task.cancel()

    async def create(self, request: Request) -> Response:
        fields = await read_fields(request, self._config.body_bytes)
        key = key_of(request)
        known = self._keyed.find(key, fields)
        film = None if known is None else self._films.get(known)
        if film is None:
            body = parse(VideoBody, fields)
            slo_s = self._config.default_slo_s
            film = self._start(video_ask(body, self._service.offers, default_slo_s=slo_s, now=self._clock()))
            self._keyed.keep(key, fields, film.id)
            await self._refuse_at_once(film, key)
        return self._show(film)

    async def retrieve(self, request: Request) -> Response:
        return self._show(self._film(request))

    async def list(self, request: Request) -> Response:
        after, order = request.query_params.get("after"), request.query_params.get("order", "desc")
        limit = request.query_params.get("limit", "20")
        if order not in ("asc", "desc"):
            raise invalid("order", "use asc or desc")
        if not (limit.isascii() and limit.isdigit() and len(limit) <= 3 and 1 <= int(limit) <= 100):
            raise invalid("limit", "use 1 to 100")
        page = self._films.page(after=after, limit=int(limit), newest_first=order == "desc")
        if page is None:
            raise invalid("after", f"there is no video {after!r:.100}; use the id of one in the list")
        return JSONResponse(listing(*page, self._service))

    async def delete(self, request: Request) -> Response:
        """A live one is cancelled, and stays to be seen as that; an ended one goes."""
        film = self._film(request)
        if film.ticket.outcome is None and self._service.cancel(film.id):
            film.cancelled = True
        else:
            self._films.drop(film.id)
        return JSONResponse({"id": film.id, "object": "video.deleted", "deleted": True})

    async def content(self, request: Request) -> Response:
        film = self._film(request)
        variant = request.query_params.get("variant", "video")
        if variant not in ("video", "thumbnail"):
            raise invalid("variant", "use video or thumbnail")
        if film.clip is None or film.still is None:
            message = f"video {film.id} has no content: it is {film.status} ({film.progress}%)"
            raise ApiError(404, f"{message}; poll it until it is completed", code="no_content")
        if variant == "thumbnail":
            return send_file(request, film.still, "image/webp", f"{film.id}.webp")
        return send_file(request, film.clip, "video/mp4", f"{film.id}.mp4")

    def _film(self, request: Request) -> Film:
        video_id = request.path_params["id"]
        film = self._films.get(video_id)
        if film is None:
            raise unknown("video", video_id, "it was deleted or has expired; GET /v1/videos lists all")
        return film

    def _show(self, film: Film) -> Response:
        return JSONResponse(resource(film, self._service), headers=self._poll_after(film))

    def _poll_after(self, film: Film) -> dict[str, str]:
        """A tenth of what is left. The client keeps the first value that it is told, so there is an upper bound."""
        left = self._service.predicted_finish_s(film.ticket) if film.ticket.outcome is None else 0.0
        wait_ms = 1000.0 if left is None else min(5000.0, max(100.0, left * 100))
        return {"openai-poll-after-ms": str(round(wait_ms))}

    def _start(self, video: VideoAsk) -> Film:
        (ticket,) = self._desk.submit([video.ask])
        film = Film(ticket, video.fps)
        self._films.add(film)
        task = asyncio.get_running_loop().create_task(self._finish(film))
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)
        return film

    async def _refuse_at_once(self, film: Film, key: str | None) -> None:
        """Raise what admission says, if it says no while the client is still there to be told."""
        ticket = film.ticket
        for _ in range(2):
            await asyncio.sleep(0)  # the engine handles an arrival in the loop's next turn
        if ticket.ask.slo_s is not None and self._config.refusal_s:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._config.refusal_s):
                    await ticket.ended.wait()
        outcome = ticket.outcome
        if outcome is not None and outcome.state is JobState.REJECTED:
            self._films.drop(film.id)
            self._keyed.drop(key)
            raise rejected(outcome.reason, outcome.field)

    async def _finish(self, film: Film) -> None:
        """Encode the file once, beside the loop; its failure is the video's."""
        ticket = film.ticket
        await ticket.ended.wait()
        assert ticket.outcome is not None
        film.error = failure(ticket.outcome)
        try:
            if film.error is None and not film.cancelled:  # cancelled too late: its steps were done
                pixels = await self._service.pixels(ticket)
                film.shape = drawn_shape(pixels)
                film.clip, film.still = await asyncio.to_thread(_encode, pixels, film.fps)
        except Exception as error:
            log.exception("video %s could not be encoded", film.id)
            film.error = ApiError(500, f"encoding failed: {type(error).__name__}: {error}", code="encoding_failed")
        finally:
            self._service.forget(film.id)
            self._films.end(film)


def _encode(pixels: Pixels, fps: int) -> tuple[bytes, bytes]:
    return encode_video(pixels, fps), encode_thumbnail(pixels)
