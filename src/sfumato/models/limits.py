"""What the checkpoints of each family offer, read from the configs of their components; sizes are in pixels.

The fields are those of an `Offer`, but for `sizes`, `frames` and `default_size`, which a card may narrow first, and for
`frame_stride` and `lone_first`, which go into the ModelSpec.
"""

from __future__ import annotations

from typing import Any

import msgspec

from sfumato.errors import CheckpointError

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
        "second_guidance": index.get("boundary_ratio") is not None,
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
