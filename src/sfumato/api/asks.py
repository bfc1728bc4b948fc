"""From a checked body to what the engine is asked: which model, which shape, which seconds are left.

A body's own deadline goes before its SLO class, and that before the service's default. Everything that only the model
can judge (sizes, frames, tokens) is judged by its Offer.
"""

from __future__ import annotations

from collections.abc import Mapping
from secrets import randbelow

from msgspec.structs import replace

from sfumato.api.errors import ApiError, invalid
from sfumato.api.schemas import LONGEST_S, Common, ImageBody, VideoBody
from sfumato.core.values import Shape, Value
from sfumato.models.offer import Offer
from sfumato.runtime.service import Ask

ROUTES = {"image": "/v1/images/generations", "video": "/v1/videos"}


class VideoAsk(Value, frozen=True, kw_only=True):
    """What the engine is asked, and the frames a second at which the file is to play."""

    ask: Ask
    fps: int


def image_asks(
    body: ImageBody, offers: Mapping[str, Offer], *, default_slo_s: float | None, now: float
) -> tuple[Ask, ...]:
    """`n` asks that differ in their seeds. `now` is unix time. Raises ApiError or RequestError."""
    offer = find(offers, body.model, "image")
    if body.output_compression not in (None, 100) and body.output_format == "png":
        raise invalid("output_compression", "png is always lossless; leave it out or use jpeg or webp")
    first = _ask(body, offer, 1, default_slo_s, now)
    return tuple(_with_seed(first, first.seed + place) for place in range(body.n))


def video_ask(body: VideoBody, offers: Mapping[str, Offer], *, default_slo_s: float | None, now: float) -> VideoAsk:
    """The ask of one video. `now` is unix time. Raises ApiError or RequestError."""
    offer = find(offers, body.model, "video")
    fps = body.fps or offer.fps
    return VideoAsk(ask=_ask(body, offer, _frames(body, offer, fps), default_slo_s, now), fps=fps)


def find(offers: Mapping[str, Offer], name: str | None, modality: str) -> Offer:
    """The model of that name, or the first one that makes what is asked for."""
    fitting = [offer for offer in offers.values() if offer.modality == modality]
    if name is None and fitting:
        return fitting[0]
    if name is None:
        raise invalid("model", f"no model here makes {modality}s; served are: {', '.join(offers)}")
    if name not in offers:
        raise unknown_model(name, offers)
    if offers[name] not in fitting:
        other = offers[name].modality
        raise invalid("model", f"{name} makes {other}s; POST it to {ROUTES[other]}")
    return offers[name]


def unknown_model(name: str, offers: Mapping[str, Offer]) -> ApiError:
    message = f"model: there is no {name[:100]!r}; use one of: {', '.join(offers)}"
    return ApiError(404, message, param="model", code="model_not_found")


def _ask(body: Common, offer: Offer, frames: int, default_slo_s: float | None, now: float) -> Ask:
    shape = _shape(body.size, offer, frames)
    steps = offer.default_steps if body.num_inference_steps is None else body.num_inference_steps
    guidance = _guidance(body, offer)
    negative = body.negative_prompt
    second = body.guidance_scale_2
    offer.check(
        shape=shape,
        steps=steps,
        guidance=guidance,
        guidance_2=second,
        prompt=body.prompt,
        negative_prompt=negative,
    )
    offer.check_quality(body.quality)
    slo_s = _slo_s(body, default_slo_s, now)
    return Ask(
        model=offer.name,
        prompt=body.prompt,
        shape=shape,
        steps=steps,
        guidance=guidance,
        guidance_2=second,
        seed=randbelow(2**31) if body.seed is None else body.seed,
        negative_prompt=negative,
        quality=body.quality,
        slo_s=slo_s,
        slo=body.slo or ("none" if slo_s is None else "default"),
        priority=body.priority,
        degradable=body.degradable,
    )


def _with_seed(ask: Ask, seed: int) -> Ask:
    return replace(ask, seed=seed)


def _shape(size: str, offer: Offer, frames: int) -> Shape:
    if size == "auto":
        return Shape(height=offer.default_shape.height, width=offer.default_shape.width, frames=frames)
    width, _, height = size.partition("x")
    return Shape(height=int(height), width=int(width), frames=frames)


def _frames(body: VideoBody, offer: Offer, fps: int) -> int:
    """`num_frames` goes before `seconds`, which is rounded to the nearest offered number of frames."""
    if body.num_frames is not None:
        return body.num_frames
    if body.seconds is None:
        return offer.default_shape.frames
    frames = offer.frames_for(body.seconds * fps / offer.fps)
    if abs(body.seconds * fps - frames) > offer.frames.step:  # beyond the first or the last that is offered
        shortest, longest = offer.frames.min / fps, offer.frames.last / fps
        message = (
            f"{body.seconds:g} is not offered by {offer.name}; use {shortest:.3g} to {longest:.3g} at {fps} frames/s"
        )
        raise invalid("seconds", message)
    return frames


def _guidance(body: Common, offer: Offer) -> float:
    if body.guidance_scale is None:
        return offer.default_guidance if body.true_cfg_scale is None else body.true_cfg_scale
    if body.true_cfg_scale not in (None, body.guidance_scale):
        raise invalid("true_cfg_scale", "is another name of guidance_scale, and they differ; give one of them")
    return body.guidance_scale


def _slo_s(body: Common, default_slo_s: float | None, now: float) -> float | None:
    """Seconds from now; None is best effort."""
    if body.slo_ms is not None and body.deadline_ms is not None:
        raise invalid("deadline_ms", "slo_ms is given too; give one of them")
    if body.slo == "none":
        if body.slo_ms is None and body.deadline_ms is None:
            return None
        raise invalid("slo", '"none" is best effort, yet a deadline is given; give one of them')
    if body.slo_ms is not None:
        return body.slo_ms / 1000
    if body.deadline_ms is None:
        return default_slo_s
    left = body.deadline_ms / 1000 - now
    if not 0 < left <= LONGEST_S:
        hint = f"give unix time in milliseconds (now {now * 1000:.0f}), or the milliseconds from now as slo_ms"
        raise invalid("deadline_ms", f"{body.deadline_ms:.15g} is past or over 30 days ahead; {hint}")
    return left
