"""How the checkpoints of each family are read: the parts of their stages, what adapters can do, and the card.

A card is `sfumato.json` in the checkpoint folder; it narrows the limits that follow from the configs (`limits.py`) by
what only the maker knows, such as the sizes trained on.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from sfumato.core.values import Shape
from sfumato.errors import CheckpointError
from sfumato.models.family import QUALITIES, Quality
from sfumato.models.limits import (
    FrameCard,
    Json,
    SizeCard,
    cogvideox_limits,
    flux_limits,
    hunyuan_video_limits,
    sd3_limits,
    sdxl_limits,
    wan_limits,
)
from sfumato.models.offer import Range
from sfumato.models.parts import read_json


class Card(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`sfumato.json`; whatever is left out follows from the configs. `default_size` is (width, height)."""

    family: str
    name: str | None = None
    license: str | None = None
    default_steps: int | None = None
    default_guidance: float | None = None
    sizes: SizeCard | None = None
    frames: FrameCard | None = None
    default_size: tuple[int, int] | None = None
    default_frames: int | None = None
    fps: int | None = None
    max_prompt_tokens: int | None = None
    max_pixels: int | None = None
    max_steps: int | None = None
    dynamic_guidance: bool | None = None


class Reader(msgspec.Struct, frozen=True, kw_only=True):
    """A family's pipeline class, the components that each stage needs, and its limits by the component configs.

    `tokenizer` is the one whose length is the prompt's limit: Flux cuts its T5 prompt there, CLIP's always at 77.
    What the adapter can do: `spreads` the attention of a step over ranks, in a ring where these are more than can share
    its heads (masks do not go round; no packed forward here has any); `packs` unlike requests in one step; decodes a
    picture with its `rows` shared among ranks; `qualities`.
    """

    pipeline: str
    modality: str
    tokenizer: str
    encode: tuple[str, ...]
    diffuse: tuple[str, ...]
    decode: tuple[str, ...] = ("vae",)
    limits: Callable[[Json, dict[str, Json]], Json]
    spreads: bool = False
    packs: bool = False
    rows: bool = False
    qualities: tuple[Quality, ...] = ("exact",)

    @property
    def components(self) -> tuple[str, ...]:
        """Every component with weights, in the order of the stages."""
        return self.encode + self.diffuse + self.decode


READERS = {
    "flux": Reader(
        pipeline="FluxPipeline",
        modality="image",
        tokenizer="tokenizer_2",
        encode=("text_encoder", "text_encoder_2"),
        diffuse=("transformer",),
        limits=flux_limits,
        qualities=QUALITIES,
        spreads=True,
        packs=True,
        rows=True,
    ),
    "wan": Reader(
        pipeline="WanPipeline",
        modality="video",
        tokenizer="tokenizer",
        encode=("text_encoder",),
        diffuse=("transformer", "transformer_2"),
        limits=wan_limits,
        qualities=QUALITIES,
        spreads=True,
        packs=True,
        rows=True,
    ),
    "sd3": Reader(
        pipeline="StableDiffusion3Pipeline",
        modality="image",
        tokenizer="tokenizer_3",
        encode=("text_encoder", "text_encoder_2", "text_encoder_3"),
        diffuse=("transformer",),
        limits=sd3_limits,
        spreads=True,
        packs=True,
        rows=True,
    ),
    "sdxl": Reader(
        pipeline="StableDiffusionXLPipeline",
        modality="image",
        tokenizer="tokenizer",
        encode=("text_encoder", "text_encoder_2"),
        diffuse=("unet",),
        limits=sdxl_limits,
        packs=True,
        rows=True,
    ),
    "cogvideox": Reader(
        pipeline="CogVideoXPipeline",
        modality="video",
        tokenizer="tokenizer",
        encode=("text_encoder",),
        diffuse=("transformer",),
        limits=cogvideox_limits,
        spreads=True,
        packs=True,
        rows=True,
    ),
    "hunyuan_video": Reader(
        pipeline="HunyuanVideoPipeline",
        modality="video",
        tokenizer="tokenizer",
        encode=("text_encoder", "text_encoder_2"),
        diffuse=("transformer",),
        limits=hunyuan_video_limits,
        spreads=True,
        packs=True,
        rows=True,
    ),
}


def read_card(folder: Path, family: str) -> Card:
    """The card of a checkpoint, an empty one where there is none. Raises CheckpointError for a wrong one."""
    path = folder / "sfumato.json"
    if not path.is_file():
        return Card(family=family)
    try:
        card = msgspec.convert(read_json(path), Card)
    except msgspec.ValidationError as error:
        raise CheckpointError(f"model: {path}: {error}; correct the card", field="model") from error
    if card.family != family:
        message = f"model: {path} says family {card.family!r}, but the checkpoint is of {family!r}; correct the card"
        raise CheckpointError(message, field="model")
    return card


def merge(limits: Json, card: Card, folder: Path) -> Json:
    """`limits` with what the card says instead, in the fields of an Offer."""
    said = {key: value for key, value in msgspec.structs.asdict(card).items() if value is not None}
    if "dynamic_guidance" in said and "dynamic_guidance" not in limits:
        message = f"{folder}/sfumato.json: {card.family} has no dynamic_guidance; leave it out of the card"
        raise CheckpointError(f"model: {message}", field="model")
    value = limits | {key: said[key] for key in said if key not in ("family", "name", "license")}
    sizes, frames = value.pop("sizes"), value.pop("frames")
    needs = limits["sizes"].multiple, limits["frames"].step
    if sizes.multiple % needs[0] or frames.step % needs[1]:
        message = f"sizes.multiple must be a multiple of {needs[0]} and frames.step of {needs[1]}; correct the card"
        raise CheckpointError(f"model: {folder}/sfumato.json: {message}", field="model")
    if card.sizes is not None and card.max_pixels is None:
        value["max_pixels"] = sizes.max**2
    width, height = value.pop("default_size")
    return value | {
        "sizes": Range(min=-(-sizes.min // sizes.multiple) * sizes.multiple, max=sizes.max, step=sizes.multiple),
        "frames": Range(min=frames.min, max=frames.max, step=frames.step),
        "default_shape": Shape(height=height, width=width, frames=value.pop("default_frames")),
    }
