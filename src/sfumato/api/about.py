"""What the service says of itself: GET /health and GET /v1/models."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sfumato.api.asks import unknown_model
from sfumato.api.replies import Json, size_text
from sfumato.models.offer import Offer
from sfumato.runtime.service import Service


class About:
    """Health and models of one service."""

    def __init__(self, service: Service, started: float) -> None:
        self._service, self._started = service, int(started)

    def routes(self) -> list[Route]:
        return [
            Route("/health", self.health, methods=["GET"]),
            Route("/v1/models", self.models, methods=["GET"]),
            Route("/v1/models/{model:path}", self.model, methods=["GET"]),
        ]

    async def health(self, _: Request) -> Response:
        """200 while at least one rank is up, else 503."""
        stats: dict[str, Any] = dict(self._service.stats())
        up = stats.get("ranks", 0) > 0
        return JSONResponse({"status": "ok" if up else "no ranks", **stats}, 200 if up else 503)

    async def models(self, _: Request) -> Response:
        rows = [self._row(offer) for offer in self._service.offers.values()]
        return JSONResponse({"object": "list", "data": rows})

    async def model(self, request: Request) -> Response:
        name = request.path_params["model"]
        if name not in self._service.offers:
            raise unknown_model(name, self._service.offers)
        return JSONResponse(self._row(self._service.offers[name]))

    def _row(self, offer: Offer) -> Json:
        limits = {"id": offer.name, "object": "model", "created": self._started, "owned_by": "sfumato"}
        return limits | _limits(offer)


def _limits(offer: Offer) -> Json:
    sizes, frames = offer.sizes, offer.frames
    limits: Json = {
        "modality": offer.modality,
        "default_size": size_text(offer.default_shape),
        "sizes": {"min": sizes.min, "max": sizes.last, "multiple": sizes.step, "max_pixels": offer.max_pixels},
        "default_num_inference_steps": offer.default_steps,
        "max_num_inference_steps": offer.max_steps,
        "default_guidance_scale": offer.default_guidance,
        "max_guidance_scale": offer.max_guidance,
        "max_prompt_tokens": offer.max_prompt_tokens,
        "qualities": list(offer.qualities),
    }
    if offer.second_guidance:
        limits["max_guidance_scale_2"] = offer.max_guidance
    if offer.modality == "video":
        limits["num_frames"] = {"min": frames.min, "max": frames.last, "step": frames.step}
        limits |= {"default_num_frames": offer.default_shape.frames, "fps": offer.fps}
    return limits
