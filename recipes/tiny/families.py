"""The image and the video family behind one face: draw scenes, encode pixels, predict a velocity.

Prompts go through the pipelines' own `encode_prompt`, gradients and all, so training sees exactly what sampling does.
"""

from __future__ import annotations

import random
from typing import Protocol, TypeAlias

import numpy as np
import torch
from diffusers import FluxPipeline, WanPipeline
from numpy.typing import NDArray
from torch import Tensor, nn

from recipes.tiny import scenes
from recipes.tiny.coordinates import with_coordinates, with_noise
from recipes.tiny.models import build_image_pipeline, build_video_pipeline
from recipes.tiny.tokens import MAX_TOKENS

Pixels: TypeAlias = NDArray[np.uint8]
SIDES = tuple(range(64, 161, 16))
# Encoding a clip costs more than training on it, so the store holds few kinds of the large ones.
RARE_CLIPS = (
    (9, 96, 96),
    (17, 96, 96),
    (13, 64, 96),
    (13, 96, 64),
    (25, 64, 64),
    (33, 64, 64),
    (9, 128, 128),
    (9, 160, 160),
    (17, 80, 128),
    (17, 128, 80),
)


class Family(Protocol):
    name: str
    pipe: FluxPipeline | WanPipeline
    timestep_mean: float

    def random_scene(self, rng: random.Random) -> scenes.Scene: ...
    def random_extent(self, rng: random.Random) -> tuple[int, int, int]: ...
    def batch_size(self, extent: tuple[int, int, int]) -> int: ...
    def capacity(self, extent: tuple[int, int, int]) -> int: ...
    def modules(self) -> dict[str, nn.Module]: ...
    def reconstruct(self, pixels: Tensor) -> tuple[Tensor, Tensor]: ...
    def measure_latents(self, latents: Tensor) -> None: ...
    def encode(self, pixels: Pixels, *, normalised: bool = True) -> Tensor: ...
    def velocity(self, noisy: Tensor, times: Tensor, prompts: list[str]) -> Tensor: ...


def as_tensor(pixels: Pixels, device: torch.device) -> Tensor:
    """[batch, frames, height, width, 3] bytes to [batch, 3, frames, height, width] in -1..1."""
    return torch.from_numpy(pixels).to(device).permute(0, 4, 1, 2, 3).float() / 127.5 - 1.0


class ImageFamily:
    """Flux: packed latents, joint attention over text and image tokens."""

    name = "image"
    timestep_mean = 0.2

    def __init__(self, pipe: FluxPipeline | None = None) -> None:
        self.pipe = pipe or build_image_pipeline()

    def random_scene(self, rng: random.Random) -> scenes.Scene:
        return scenes.random_image_scene(rng)

    def random_extent(self, rng: random.Random) -> tuple[int, int, int]:
        """Mostly 64 and 96 px squares, which are cheap; a seventh anything allowed, as positions are absolute."""
        roll = rng.random()
        if roll < 0.7:
            return (1, 64, 64)
        if roll < 0.85:
            return (1, 96, 96)
        return (1, rng.choice(SIDES), rng.choice(SIDES))

    def batch_size(self, extent: tuple[int, int, int]) -> int:
        """About 2,300 tokens, text included, a step whatever the size."""
        _, height, width = extent
        return min(64, 2304 // (height * width // 256 + MAX_TOKENS))

    def capacity(self, extent: tuple[int, int, int]) -> int:
        return {(1, 64, 64): 4000, (1, 96, 96): 1200}.get(extent, 128)

    def modules(self) -> dict[str, nn.Module]:
        pipe = self.pipe
        return {
            "transformer": pipe.transformer,
            "text_encoder": pipe.text_encoder,
            "text_encoder_2": pipe.text_encoder_2,
        }

    def reconstruct(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        posterior = self.pipe.vae.encode(pixels[:, :, 0]).latent_dist
        return self.pipe.vae.decode(with_noise(posterior.sample())).sample[:, :, None], posterior.kl()

    def measure_latents(self, latents: Tensor) -> None:
        latents = latents[:, :-2]
        self.pipe.vae.register_to_config(
            scaling_factor=round(float(1.0 / latents.std()), 5), shift_factor=round(float(latents.mean()), 5)
        )

    @torch.no_grad()
    def encode(self, pixels: Pixels, *, normalised: bool = True) -> Tensor:
        vae = self.pipe.vae
        latents = vae.encode(as_tensor(pixels, vae.device)[:, :, 0]).latent_dist.mode()
        if not normalised:
            return latents
        return with_coordinates((latents - vae.config.shift_factor) * vae.config.scaling_factor)

    def velocity(self, noisy: Tensor, times: Tensor, prompts: list[str]) -> Tensor:
        embeds, pooled, text_ids = self.pipe.encode_prompt(prompts, max_sequence_length=MAX_TOKENS)
        batch, channels, height, width = noisy.shape
        rows, columns = height // 2, width // 2
        packed = noisy.view(batch, channels, rows, 2, columns, 2).permute(0, 2, 4, 1, 3, 5)
        out = self.pipe.transformer(
            hidden_states=packed.reshape(batch, rows * columns, channels * 4),
            timestep=times,
            pooled_projections=pooled,
            encoder_hidden_states=embeds,
            txt_ids=text_ids,
            img_ids=_image_ids(rows, columns, noisy.device),
        ).sample
        unpacked = out.view(batch, rows, columns, channels, 2, 2).permute(0, 3, 1, 4, 2, 5)
        return unpacked.reshape(batch, channels, height, width)


class VideoFamily:
    """Wan: latents in space and time, cross-attention to the words."""

    name = "video"
    timestep_mean = 0.4

    def __init__(self, pipe: WanPipeline | None = None) -> None:
        self.pipe = pipe or build_video_pipeline()

    def random_scene(self, rng: random.Random) -> scenes.Scene:
        return scenes.random_video_scene(rng)

    def random_extent(self, rng: random.Random) -> tuple[int, int, int]:
        """Mostly 9 to 17 frames of 64 px; one in eight is one of a few longer or larger ones, up to 33 and 160."""
        return (rng.choice((9, 9, 13, 17)), 64, 64) if rng.random() < 0.87 else rng.choice(RARE_CLIPS)

    def batch_size(self, extent: tuple[int, int, int]) -> int:
        frames, height, width = extent
        return max(2, min(32, 2048 // ((frames + 3) // 4 * (height * width // 256))))

    def capacity(self, extent: tuple[int, int, int]) -> int:
        return 128 if extent in RARE_CLIPS else 1200

    def modules(self) -> dict[str, nn.Module]:
        return {"transformer": self.pipe.transformer, "text_encoder": self.pipe.text_encoder}

    def reconstruct(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        posterior = self.pipe.vae.encode(pixels).latent_dist
        return self.pipe.vae.decode(with_noise(posterior.sample())).sample, posterior.kl()

    def measure_latents(self, latents: Tensor) -> None:
        mean, std = latents.mean(dim=(0, 2, 3, 4)), latents.std(dim=(0, 2, 3, 4))
        self.pipe.vae.register_to_config(
            latents_mean=[*(round(float(value), 5) for value in mean[:-3]), 0.0, 0.0, 0.0],
            latents_std=[*(round(float(value), 5) for value in std[:-3]), 1.0, 1.0, 1.0],
        )

    @torch.no_grad()
    def encode(self, pixels: Pixels, *, normalised: bool = True) -> Tensor:
        vae = self.pipe.vae
        latents = vae.encode(as_tensor(pixels, vae.device)).latent_dist.mode()
        if not normalised:
            return latents
        mean = torch.tensor(vae.config.latents_mean, device=latents.device).view(1, -1, 1, 1, 1)
        std = torch.tensor(vae.config.latents_std, device=latents.device).view(1, -1, 1, 1, 1)
        return with_coordinates((latents - mean) / std)

    def velocity(self, noisy: Tensor, times: Tensor, prompts: list[str]) -> Tensor:
        embeds, _ = self.pipe.encode_prompt(prompts, do_classifier_free_guidance=False, max_sequence_length=MAX_TOKENS)
        return self.pipe.transformer(hidden_states=noisy, timestep=times * 1000.0, encoder_hidden_states=embeds).sample


def _image_ids(rows: int, columns: int, device: torch.device) -> Tensor:
    ids = torch.zeros(rows, columns, 3, device=device)
    ids[..., 1] = torch.arange(rows, device=device)[:, None]
    ids[..., 2] = torch.arange(columns, device=device)[None, :]
    return ids.view(rows * columns, 3)


FAMILIES: dict[str, type[ImageFamily] | type[VideoFamily]] = {"image": ImageFamily, "video": VideoFamily}
