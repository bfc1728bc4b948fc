"""POST /v1/images/generations: `n` images in one answer, and the files of those that were asked for as urls.

The request is synchronous, so its client's leaving is its cancellation: the tickets are given up within moments, and
so they are when one of the `n` fails, because the answer can then no longer be whole.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sfumato.api.asks import image_asks
from sfumato.api.bodies import read_fields
from sfumato.api.config import ApiConfig
from sfumato.api.errors import unknown
from sfumato.api.files import send_file
from sfumato.api.media import IMAGE_TYPES, encode_image
from sfumato.api.replies import Json, drawn_shape, failure, joint_timings, size_text, slo, timings
from sfumato.api.schemas import ImageBody, parse
from sfumato.api.shelf import Shelf
from sfumato.api.submission import Desk, Keyed, key_of
from sfumato.api.work import Work
from sfumato.runtime.service import Ask, Service, Ticket

# Asked for by the clients' types; a diffusion model counts no tokens.
USAGE = {
    "input_tokens": 0,
    "input_tokens_details": {"image_tokens": 0, "text_tokens": 0},
    "output_tokens": 0,
    "total_tokens": 0,
}


class Images:
    """The image endpoints of one service."""

    def __init__(self, service: Service, config: ApiConfig, desk: Desk, clock: Callable[[], float]) -> None:
        self._service, self._config, self._desk, self._clock = service, config, desk, clock
        self._keyed: Keyed[Work] = Keyed(config, clock)
        self._files: Shelf[tuple[bytes, str]] = Shelf(
            count=config.image_files, total_bytes=config.image_bytes, ttl_s=config.image_ttl_s, clock=clock
        )

    def routes(self) -> list[Route]:
        return [
            Route("/v1/images/generations", self.generate, methods=["POST"]),
            Route("/v1/images/{id}/content", self.content, methods=["GET"]),
        ]

    async def generate(self, request: Request) -> Response:
        fields = await read_fields(request, self._config.body_bytes)
        key = key_of(request)
        work = self._keyed.find(key, fields)
        if work is None or work.given_up:
            body = parse(ImageBody, fields)
            default_slo_s = self._config.default_slo_s
            asks = image_asks(body, self._service.offers, default_slo_s=default_slo_s, now=self._clock())
            work = Work(self._draw(body, asks, str(request.base_url)))
            self._remember(key, fields, work)
        return await work.answer(request)

    async def content(self, request: Request) -> Response:
        """GET /v1/images/{id}/content."""
        image_id = request.path_params["id"]
        found = self._files.get(image_id)
        if found is None:
            raise unknown("image", image_id, "it has expired, or was not asked for with response_format=url")
        content, image_format = found
        return send_file(request, content, IMAGE_TYPES[image_format], f"{image_id}.{image_format}")

    def _remember(self, key: str | None, fields: dict[str, Any], work: Work) -> None:
        """Under its key, while it is made and after it went well."""
        if key is None:
            return
        self._keyed.keep(key, fields, work)

        def settle(task: asyncio.Task[Response]) -> None:
            if not self._keyed.holds(key, work):
                return
            if task.cancelled() or task.exception() is not None:
                self._keyed.drop(key)
            else:
                self._keyed.keep(key, fields, work, len(task.result().body))

        work.task.add_done_callback(settle)

    async def _draw(self, body: ImageBody, asks: Sequence[Ask], base_url: str) -> Response:
        tickets = self._desk.submit(asks)
        try:
            at_submission = self._prospects(tickets)
            async with asyncio.TaskGroup() as group:
                rows = [group.create_task(self._image(ticket, body, base_url)) for ticket in tickets]
        except ExceptionGroup as errors:
            raise _first(errors) from None
        finally:
            for ticket in tickets:
                self._desk.release(ticket)
        answer = _answer(tickets, body, [row.result() for row in rows]) | at_submission
        return Response(await asyncio.to_thread(msgspec.json.encode, answer), media_type="application/json")

    def _prospects(self, tickets: Sequence[Ticket]) -> Json:
        finishes = [self._service.predicted_finish_s(ticket) for ticket in tickets]
        known = [finish for finish in finishes if finish is not None]
        position = self._service.queue_position(tickets[0])
        return {"queue_position": position, "predicted_finish_s": max(known, default=None)}

    async def _image(self, ticket: Ticket, body: ImageBody, base_url: str) -> Json:
        """One entry of `data`."""
        await ticket.ended.wait()
        outcome = ticket.outcome
        assert outcome is not None
        if error := failure(outcome):
            raise error
        pixels = await self._service.pixels(ticket)
        file = await asyncio.to_thread(encode_image, pixels, body.output_format, body.output_compression)
        row = {
            "id": ticket.id,
            "seed": ticket.ask.seed,
            "size": size_text(drawn_shape(pixels)),
            "timings": timings(outcome),
            "slo": slo([ticket]),
        }
        if body.response_format == "b64_json":
            return {"b64_json": b64encode(file).decode(), **row}
        self._files.put(ticket.id, (file, body.output_format), len(file))
        return {"url": f"{base_url}v1/images/{ticket.id}/content", **row}


def _first(errors: BaseException) -> BaseException:
    while isinstance(errors, BaseExceptionGroup):
        errors = errors.exceptions[0]
    return errors


def _answer(tickets: Sequence[Ticket], body: ImageBody, rows: Sequence[Json]) -> Json:
    first = tickets[0]
    outcomes = [ticket.outcome for ticket in tickets if ticket.outcome is not None]
    return {
        "created": int(first.created),
        "data": rows,
        "output_format": body.output_format,
        "size": rows[0]["size"],
        "usage": USAGE,
        "id": first.id,
        "ids": [ticket.id for ticket in tickets],
        "model": first.ask.model,
        "seed": first.ask.seed,
        "num_inference_steps": first.steps,
        "timings": joint_timings(outcomes),
        "slo": slo(tickets),
    }
