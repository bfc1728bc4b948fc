"""The fields of the two POSTs with their types and bounds; what a model offers beyond that is checked in `asks`.

Every value may come as a string (multipart, headers). A field that is not known is an error: a misspelt `slo_ms` must
not silently turn a request into best effort. Fields of the original service without meaning here are accepted.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError

from sfumato.api.errors import ApiError, invalid
from sfumato.models.family import QUALITIES, Quality

LONGEST_S = 30 * 86400.0


def _no_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise PydanticCustomError("number", "give a number, not true or false")
    return value


def _size(value: Any) -> Any:
    text = value.lower() if isinstance(value, str) else value
    width, x, height = text.partition("x") if isinstance(text, str) else ("", "", "")
    plain = x and (width + height).isascii() and width.isdigit() and height.isdigit()
    if text != "auto" and not (plain and len(text) <= 11):
        raise PydanticCustomError("size", 'use "auto" or width x height in pixels, such as "512x512"')
    return text


def _filled(value: str) -> str:
    if not value.strip():
        raise PydanticCustomError("prompt", "is empty; say what to draw")
    return value


def _quality(value: Any) -> Any:
    """Those of the original service that ask for no less than the best are "exact"."""
    text = value.lower() if isinstance(value, str) else value
    text = "exact" if text in (None, "", "auto", "standard", "hd") else text
    if text not in QUALITIES:
        raise PydanticCustomError("quality", "use one of: " + ", ".join(QUALITIES))
    return text


def _not_offered(value: Any) -> Any:
    if value in (None, False, 0, "", "false", "0"):
        return None
    raise PydanticCustomError("not_offered", "is not offered yet; leave it out")


Int = Annotated[int, BeforeValidator(_no_bool)]
Float = Annotated[float, BeforeValidator(_no_bool)]
Size = Annotated[str, BeforeValidator(_size)]
Text = Annotated[str, Field(max_length=32_000)]  # also bounds the time of counting its tokens
Level = Annotated[Quality, BeforeValidator(_quality)]
NotOffered = Annotated[Any, BeforeValidator(_not_offered)]
Guidance = Annotated[Float, Field(ge=0)]


class Common(BaseModel):
    """What images and videos have in common.

    `slo_ms` counts from the arrival, `deadline_ms` is unix time; `slo` is a name for reports, or "none". The seed's
    bound: 2**53 - 16 is a whole number to JavaScript too, also the n-th.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    prompt: Annotated[Text, BeforeValidator(lambda value: _filled(value) if isinstance(value, str) else value)]
    model: str | None = None
    size: Size = "auto"
    user: Any = None
    seed: Annotated[Int, Field(ge=0, le=2**53 - 16)] | None = None
    num_inference_steps: Int | None = None
    guidance_scale: Guidance | None = None
    guidance_scale_2: Guidance | None = None
    true_cfg_scale: Guidance | None = None
    negative_prompt: Text = ""
    quality: Level = "exact"
    slo: Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,32}$")] | None = None
    slo_ms: Annotated[Float, Field(gt=0, le=LONGEST_S * 1000)] | None = None
    deadline_ms: Annotated[Float, Field(gt=0)] | None = None
    priority: Annotated[Int, Field(ge=-1000, le=1000)] = 0
    degradable: bool = False


class ImageBody(Common):
    """POST /v1/images/generations."""

    n: Annotated[Int, Field(ge=1, le=10)] = 1
    response_format: Literal["b64_json", "url"] = "b64_json"
    output_format: Literal["png", "jpeg", "webp"] = "png"
    output_compression: Annotated[Int, Field(ge=0, le=100)] | None = None
    stream: NotOffered = None
    partial_images: NotOffered = None
    style: Any = None
    background: Literal["auto", "opaque"] = "auto"
    moderation: Any = None


class VideoBody(Common):
    """POST /v1/videos."""

    seconds: Annotated[Float, Field(gt=0)] | None = None
    num_frames: Int | None = None
    fps: Annotated[Int, Field(ge=1, le=120)] | None = None
    input_reference: NotOffered = None


Body = TypeVar("Body", bound=Common)


def parse(kind: type[Body], fields: dict[str, Any]) -> Body:
    """The body, or an ApiError that names the first wrong field and what it takes."""
    try:
        return kind.model_validate(fields)
    except ValidationError as error:
        raise _explain(kind, error) from None


def _explain(kind: type[Common], error: ValidationError) -> ApiError:
    first = error.errors(include_url=False, include_context=False)[0]
    param = str(first["loc"][0])[:64] or "(no name)"
    match first["type"]:
        case "missing":
            return invalid(param, "is required")
        case "extra_forbidden":
            known = [name for name in kind.model_fields if name != "user"]
            near = get_close_matches(param, known, n=1)
            fix = f"did you mean {near[0]}?" if near else f"known are: {', '.join(known)}"
            return invalid(param, f"is not a field; {fix}")
        case "size" | "prompt" | "not_offered" | "quality":
            return invalid(param, first["msg"])
        case _:
            return invalid(param, f"{first['msg'].lower()}, not {first['input']!r:.60}")
