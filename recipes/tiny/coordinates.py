"""Latent channels that say where a token is: ramps over width, height and (for clips) time, from edge to edge.

Flux and Wan know positions only relative to each other (rotary embeddings), so "top left" and "moving right" must be
read off the edges of the latent, which takes a small model very long: after 5,000 steps colours were right and places
were not. So the last channels of the latent are coordinates. The transformer learns to generate them like any other
content, and while it does they tell every token its place; the decoder has learned to ignore them. The pipelines stay
the stock ones.
"""

from __future__ import annotations

import torch
from torch import Tensor

REACH = 2.5  # the ramps run from -REACH to REACH; picture channels have a deviation of 1


def coordinates(like: Tensor) -> Tensor:
    """[axes, ...] ramps for latents [batch, channels, (frames,) height, width]: width, height, then frames if any."""
    extents = like.shape[2:]
    ramps = []
    for axis in range(len(extents) - 1, -1, -1):
        count = extents[axis]
        places = (torch.arange(count, device=like.device, dtype=like.dtype) + 0.5) / count * 2.0 - 1.0
        shape = [1] * len(extents)
        shape[axis] = count
        ramps.append((places * REACH).view(shape).expand(extents))
    return torch.stack(ramps)


def with_coordinates(latents: Tensor) -> Tensor:
    """Normalised latents with their last channels replaced by coordinates."""
    ramps = coordinates(latents)
    return torch.cat([latents[:, : -len(ramps)], ramps.expand(len(latents), *ramps.shape)], dim=1)


def with_noise(latents: Tensor) -> Tensor:
    """Latents whose last channels say nothing: what the decoder trains on, so that it ignores them."""
    axes = latents.ndim - 2
    return torch.cat([latents[:, :-axes], torch.randn_like(latents[:, -axes:]) * REACH], dim=1)
