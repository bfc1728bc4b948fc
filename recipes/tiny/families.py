"""The image and the video family behind one face: scenes to latents and pixels, latents to a predicted velocity.

Prompts go through the pipelines' own `encode_prompt`, gradients and all, so training sees exactly what sampling does.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Protocol, TypeAlias

import numpy as np
import torch
from diffusers import FluxPipeline, WanPipeline
from numpy.typing import NDArray
from torch import Tensor, nn

from recipes.tiny import scenes
from recipes.tiny.fields import clip_fields, picture_fields
from recipes.tiny.models import SHIFT, build_image_pipeline, build_video_pipeline
from recipes.tiny.tokens import MAX_TOKENS

Extent: TypeAlias = tuple[int, int, int]
SIDES = tuple(range(64, 161, 16))
LENGTHS = tuple(range(9, 34, 4))
# Below this noise level an error of the clean latents counts no more than at it, as its share of the velocity's has no
# bound. The same paper cuts off at 0.05.
NEARLY_CLEAN = 0.25


class Family(Protocol):
    name: str
    pipe: FluxPipeline | WanPipeline

    def random_scene(self, rng: random.Random) -> scenes.Scene: ...
    def random_extent(self, rng: random.Random) -> Extent: ...
    def batch_size(self, extent: Extent) -> int: ...
    def modules(self) -> dict[str, nn.Module]: ...
    def shift(self, rng: random.Random) -> float: ...
    def latents(self, drawn: Sequence[scenes.Scene], extent: Extent) -> Tensor: ...
    def encode(self, pixels: Tensor) -> Tensor: ...
    def decode(self, latents: Tensor) -> Tensor: ...
    def error(self, latents: Tensor, noise: Tensor, times: Tensor, prompts: list[str]) -> Tensor:
        """Of the velocity predicted at `times` on the way from `latents` (0) to `noise` (1), shaped as these."""
        ...


def as_tensor(pixels: NDArray[np.uint8], device: torch.device) -> Tensor:
    """[batch, frames, height, width, 3] bytes to [batch, 3, frames, height, width] in -1..1."""
    return torch.from_numpy(pixels).to(device).permute(0, 4, 1, 2, 3).float() / 127.5 - 1.0


class ImageFamily:
    """Flux: packed latents, joint attention over text and image tokens."""

    name = "image"

    def __init__(self, pipe: FluxPipeline | None = None) -> None:
        self.pipe = pipe or build_image_pipeline()

    def random_scene(self, rng: random.Random) -> scenes.Scene:
        return scenes.random_image_scene(rng)

    def random_extent(self, rng: random.Random) -> Extent:
        """Now and then 64 px squares, of which a step sees most; else anything allowed, all of it as often.

        With half of the steps on squares of 64 px and few on large ones, 75% of the shapes were right at 64 px after
        4,000 steps and 25% at 160.
        """
        if rng.random() < 0.2:
            return (1, 64, 64)
        return (1, rng.choice(SIDES), rng.choice(SIDES))

    def batch_size(self, extent: Extent) -> int:
        """About 1,150 tokens, text included, a step whatever the size; twice that learned half as fast."""
        _, height, width = extent
        return min(32, 1152 // (height * width // 256 + MAX_TOKENS))

    def modules(self) -> dict[str, nn.Module]:
        pipe = self.pipe
        return {
            "transformer": pipe.transformer,
            "text_encoder": pipe.text_encoder,
            "text_encoder_2": pipe.text_encoder_2,
        }

    def shift(self, rng: random.Random) -> float:
        """The sampler's, in a third of the steps none: outlines are drawn at lower noise than what the words decide."""
        return SHIFT if rng.random() < 0.67 else 1.0

    def latents(self, drawn: Sequence[scenes.Scene], extent: Extent) -> Tensor:
        _, height, width = extent
        return torch.from_numpy(picture_fields(drawn, height=height, width=width)).to(self.pipe.transformer.device)

    def encode(self, pixels: Tensor) -> Tensor:
        return self.pipe.vae.encode(pixels[:, :, 0]).latent_dist.mean

    def decode(self, latents: Tensor) -> Tensor:
        return self.pipe.vae.decode(latents).sample[:, :, None]

    def error(self, latents: Tensor, noise: Tensor, times: Tensor, prompts: list[str]) -> Tensor:
        noisy = _between(latents, noise, times)
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
        return unpacked.reshape(batch, channels, height, width).float() - (noise - latents)


class VideoFamily:
    """Wan: latents in space and time, cross-attention to the words. It predicts the clean latents, not the velocity.

    A token holds 144 values and the transformer is 160 wide: a velocity would have to carry the noise of all of them
    through it, where clean fields are a few constants and ramps (arXiv 2511.13720 has the same of pixels).
    """

    name = "video"

    def __init__(self, pipe: WanPipeline | None = None) -> None:
        self.pipe = pipe or build_video_pipeline()

    def random_scene(self, rng: random.Random) -> scenes.Scene:
        """Often of what is learned last: outlines that turn, and those of stars and crosses."""
        scene = scenes.random_video_scene(rng)
        roll = rng.random()
        while not _is_hard(scene.things[0], turns=roll < 0.45) and roll < 0.65:
            scene = scenes.random_video_scene(rng)
        return scene

    def random_extent(self, rng: random.Random) -> Extent:
        """Now and then 9 to 17 frames of 64 px; else anything allowed, mostly its shorter half."""
        if rng.random() < 0.4:
            return (rng.choice((9, 13, 17)), 64, 64)
        frames = min(rng.choice(LENGTHS), rng.choice(LENGTHS))
        return (frames, rng.choice(SIDES), rng.choice(SIDES))

    def batch_size(self, extent: Extent) -> int:
        frames, height, width = extent
        return max(2, min(24, 1152 // ((frames + 3) // 4 * (height * width // 256))))

    def modules(self) -> dict[str, nn.Module]:
        return {"transformer": self.pipe.transformer, "text_encoder": self.pipe.text_encoder}

    def shift(self, rng: random.Random) -> float:
        """The sampler's, in two of five steps none: outlines are drawn at lower noise than what the words decide.

        With the sampler's alone 10 of 24 shapes were right after 3,200 steps, and no more when sampling began with true
        fields under 70% of noise.
        """
        return SHIFT if rng.random() < 0.6 else 1.0

    def latents(self, drawn: Sequence[scenes.Scene], extent: Extent) -> Tensor:
        frames, height, width = extent
        fields = clip_fields(drawn, height=height, width=width, frames=frames)
        return torch.from_numpy(fields).to(self.pipe.transformer.device)

    def encode(self, pixels: Tensor) -> Tensor:
        return self.pipe.vae.encode(pixels).latent_dist.mean

    def decode(self, latents: Tensor) -> Tensor:
        return self.pipe.vae.decode(latents).sample

    def error(self, latents: Tensor, noise: Tensor, times: Tensor, prompts: list[str]) -> Tensor:
        noisy = _between(latents, noise, times)
        embeds, _ = self.pipe.encode_prompt(prompts, do_classifier_free_guidance=False, max_sequence_length=MAX_TOKENS)
        out = self.pipe.transformer(hidden_states=noisy, timestep=times * 1000.0, encoder_hidden_states=embeds)
        return (latents - out.sample.float()) / _wide(times.clamp(min=NEARLY_CLEAN), latents)


def _is_hard(thing: scenes.Thing, *, turns: bool) -> bool:
    return thing.motion == "turn" if turns else thing.shape in ("star", "cross")


def _between(latents: Tensor, noise: Tensor, times: Tensor) -> Tensor:
    return latents + _wide(times, latents) * (noise - latents)


def _wide(times: Tensor, latents: Tensor) -> Tensor:
    return times.view(-1, *[1] * (latents.ndim - 1))


def _image_ids(rows: int, columns: int, device: torch.device) -> Tensor:
    ids = torch.zeros(rows, columns, 3, device=device)
    ids[..., 1] = torch.arange(rows, device=device)[:, None]
    ids[..., 2] = torch.arange(columns, device=device)[None, :]
    return ids.view(rows * columns, 3)


FAMILIES: dict[str, type[ImageFamily] | type[VideoFamily]] = {"image": ImageFamily, "video": VideoFamily}
