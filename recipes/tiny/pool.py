"""A rolling store of encoded scenes, one shelf for each extent (frames, height, width).

Encoding a fresh batch each step would cost as much as the training step. A shelf grows by whole batches until it is
full; from then on a few entries a step are replaced, so the data never runs out and never repeats for long.
"""

from __future__ import annotations

import random

import numpy as np
import torch
from torch import Tensor

from recipes.tiny.drawing import draw
from recipes.tiny.families import Family
from recipes.tiny.scenes import Scene

Extent = tuple[int, int, int]


class LatentPool:
    def __init__(self, family: Family, rng: random.Random, *, refresh: float) -> None:
        self.family = family
        self.rng = rng
        self.refresh = refresh
        self.shelves: dict[Extent, list[tuple[Tensor, Scene]]] = {}

    def batch(self, extent: Extent, count: int) -> tuple[Tensor, list[Scene]]:
        """`count` entries drawn from the shelf after it was topped up."""
        shelf = self.shelves.setdefault(extent, [])
        self._top_up(shelf, extent, count)
        picked = self.rng.sample(shelf, min(count, len(shelf)))
        return torch.stack([latents for latents, _ in picked]).float(), [scene for _, scene in picked]

    def _top_up(self, shelf: list[tuple[Tensor, Scene]], extent: Extent, count: int) -> None:
        if len(shelf) < self.family.capacity(extent):
            shelf.extend(self._fresh(extent, count))
            return
        for entry in self._fresh(extent, max(1, int(count * self.refresh))):
            shelf[self.rng.randrange(len(shelf))] = entry

    def _fresh(self, extent: Extent, count: int) -> list[tuple[Tensor, Scene]]:
        frames, height, width = extent
        fresh = [self.family.random_scene(self.rng) for _ in range(count)]
        clips = np.stack([draw(scene, height=height, width=width, frames=frames) for scene in fresh])
        latents = self.family.encode(clips).half()
        return list(zip(latents.unbind(0), fresh, strict=True))
