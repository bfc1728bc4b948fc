"""How the checkpoints of each family are read: what the configs say of limits, and the card that may narrow them.

A card is `sfumato.json` in the checkpoint folder; it says what only the maker knows, such as the sizes trained on.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from sfumato.core.values import Shape
from sfumato.errors import CheckpointError
from sfumato.models.family import QUALITIES, Quality
from sfumato.models.offer import Range
from sfumato.models.parts import read_json

Json = dict[str, Any]


class SizeCard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Width and height in pixels."""

    min: int
    max: int
    multiple: int


class FrameCard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Frames of a video."""

    min: int
    max: int
    step: int


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
    What the adapter can do: `spreads` a step over ranks that share the attention heads, which its transformer's config
    counts; `packs` unlike requests in one step; decodes a picture with its `rows` shared among ranks; `qualities`.
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


def flux_limits(_index: Json, configs: dict[str, Json]) -> Json:
    """FLUX.1: dev takes guidance as an input, schnell (4 steps, 256 tokens) takes none."""
    distilled = bool(configs["transformer"].get("guidance_embeds", False))
    return {
        "frame_stride": 0,
        "distilled": distilled,
        "sizes": SizeCard(256, 2048, 2 ** len(configs["vae"]["block_out_channels"])),
        "frames": FrameCard(1, 1, 1),
        "default_size": (1024, 1024),
        "default_frames": 1,
        "default_steps": 28 if distilled else 4,
        "default_guidance": 3.5 if distilled else 1.0,
        "max_prompt_tokens": 512 if distilled else 256,
        "max_pixels": 2048 * 2048,
    }


def wan_limits(index: Json, configs: dict[str, Json]) -> Json:
    """Wan 2.1 and 2.2; the 5B model of 2.2 (`expand_timesteps`) was trained at 720p and 24 frames a second."""
    dense = bool(index.get("expand_timesteps", False))
    stride = int(configs["vae"].get("scale_factor_temporal", 4))
    patch = configs["transformer"].get("patch_size", (1, 2, 2))
    return {
        "frame_stride": stride,
        "sizes": SizeCard(128, 1280, int(configs["vae"].get("scale_factor_spatial", 8)) * int(patch[1])),
        "frames": FrameCard(1, 121 if dense else 81, stride),
        "default_size": (1280, 704) if dense else (832, 480),
        "default_frames": 121 if dense else 81,
        "default_steps": 50,
        "default_guidance": 5.0,
        "max_prompt_tokens": 512,
        "max_pixels": 1280 * 720,
        "fps": 24 if dense else 16,
    }


def sd3_limits(_index: Json, configs: dict[str, Json]) -> Json:
    """Stable Diffusion 3 and 3.5, with the steps and guidance of the model cards; 3.5 medium has dual attention."""
    transformer, factor = configs["transformer"], 2 ** (len(configs["vae"]["block_out_channels"]) - 1)
    side = factor * int(transformer.get("patch_size", 2))
    newer, medium = transformer.get("qk_norm") is not None, bool(transformer.get("dual_attention_layers"))
    return {
        "frame_stride": 0,
        "sizes": SizeCard(256, min(2048, side * int(transformer.get("pos_embed_max_size", 96))), side),
        "frames": FrameCard(1, 1, 1),
        "default_size": (1024, 1024),
        "default_frames": 1,
        "default_steps": 40 if medium else 28,
        "default_guidance": (4.5 if medium else 3.5) if newer else 7.0,
        "max_prompt_tokens": 256,
        "max_pixels": 1536 * 1536,
    }


def sdxl_limits(_index: Json, configs: dict[str, Json]) -> Json:
    """SDXL; the UNet halves the latent, so sizes are multiples of its deepest pixel. LCMs take guidance as an input."""
    unet, factor = configs["unet"], 2 ** (len(configs["vae"]["block_out_channels"]) - 1)
    distilled = unet.get("time_cond_proj_dim") is not None
    return {
        "frame_stride": 0,
        "distilled": distilled,
        "sizes": SizeCard(256, 2048, factor * 2 ** (len(unet["block_out_channels"]) - 1)),
        "frames": FrameCard(1, 1, 1),
        "default_size": (1024, 1024),
        "default_frames": 1,
        "default_steps": 4 if distilled else 50,
        "default_guidance": 8.0 if distilled else 5.0,
        "max_prompt_tokens": 77,
        "max_pixels": 1536 * 1536,
    }


def cogvideox_limits(index: Json, configs: dict[str, Json]) -> Json:
    """CogVideoX 1.0 and 1.5, which is told by its patches of latent frames; frames are what the decoder can end with.

    Its pipeline takes schedulers of its own only.
    """
    sampler, transformer = index["scheduler"][1], configs["transformer"]
    if not sampler.startswith("CogVideoX"):
        fix = "change its scheduler to CogVideoXDDIMScheduler or CogVideoXDPMScheduler"
        raise CheckpointError(f"model: a CogVideoX checkpoint that samples by {sampler}; {fix}", field="model")
    newer, factor = transformer.get("patch_size_t") is not None, 2 ** (len(configs["vae"]["block_out_channels"]) - 1)
    size = (1360, 768) if newer else (transformer["sample_width"] * factor, transformer["sample_height"] * factor)
    stride = 2 * int(configs["vae"].get("temporal_compression_ratio", 4))  # the decoder takes latent frames in pairs
    frames = int(transformer.get("sample_frames", 49))
    return {
        "frame_stride": stride,
        "lone_first": False,
        "sizes": SizeCard(min(128, *size), max(size), factor * int(transformer.get("patch_size", 2))),
        "frames": FrameCard(1 + stride, 161 if newer else frames, stride),
        "default_size": size,
        "default_frames": frames,
        "default_steps": 50,
        "default_guidance": 6.0,
        "dynamic_guidance": False,
        "max_prompt_tokens": int(transformer.get("max_text_seq_length", 226)),
        "max_pixels": size[0] * size[1],
        "fps": 16 if newer else 8,
    }


def hunyuan_video_limits(_index: Json, configs: dict[str, Json]) -> Json:
    """HunyuanVideo 1.0 at up to 720p and 129 frames; its decoder goes by tiles of 12 frames."""
    vae, transformer = configs["vae"], configs["transformer"]
    distilled = bool(transformer.get("guidance_embeds", False))
    return {
        "frame_stride": 12,
        "lone_first": False,
        "distilled": distilled,
        "sizes": SizeCard(
            128, 1280, int(vae.get("spatial_compression_ratio", 8)) * int(transformer.get("patch_size", 2))
        ),
        "frames": FrameCard(1, 129, int(vae.get("temporal_compression_ratio", 4))),
        "default_size": (1280, 720),
        "default_frames": 129,
        "default_steps": 50,
        "default_guidance": 6.0,
        "max_prompt_tokens": 256,
        "max_pixels": 1280 * 720,
        "fps": 24,
    }


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
