"""First stage: the autoencoder, on crops of drawn scenes.

Convolutions do not care where a crop lies, so 32 and 48 px crops train them at a fraction of the cost. Flat areas are
easy and edges are not: the L1 loss weighs pixels by the local contrast of the target.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from recipes.tiny.drawing import draw
from recipes.tiny.families import Family, Pixels, as_tensor

KL_WEIGHT = 1e-3
# At 2e-3 the error stands at 0.47 after 60 steps, at 5e-4 at 0.33, at 2e-4 at 0.21.
LEARNING_RATE = 3e-4


def train_autoencoder(family: Family, *, minutes: float, seed: int, report: Callable[[str], None]) -> None:
    """Trains `family.pipe.vae` in place and stores the latent statistics in its configuration."""
    vae = family.pipe.vae.train()
    optimiser = torch.optim.AdamW(vae.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=0.0)
    rng = random.Random(seed)
    begin, step, mean_loss = time.monotonic(), 0, 0.0
    while (progress := (time.monotonic() - begin) / (minutes * 60)) < 1.0:
        for group in optimiser.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, (step + 1) / 50) * min(1.0, 2.2 * (1.0 - progress) + 0.01)
        pixels = as_tensor(_crops(family, rng), vae.device)
        drawn, kl = family.reconstruct(pixels)
        error = _edge_weighted_l1(drawn, pixels)
        (error + KL_WEIGHT * kl.mean() * kl.shape[0] / pixels[:, 0].numel()).backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        mean_loss = error.item() if step == 0 else 0.97 * mean_loss + 0.03 * error.item()
        step += 1
        if step % 25 == 0:
            report(f"{family.name} autoencoder step {step} error {mean_loss:.4f} {progress:.0%}")
    vae.eval().requires_grad_(False)
    family.measure_latents(_sample_latents(family, random.Random(seed + 1)))


def _crops(family: Family, rng: random.Random) -> Pixels:
    """A batch of equal crops; one in four is a whole small scene, so that borders are learned too."""
    moving = family.name == "video"
    frames = rng.choice((1, 5, 5, 9)) if moving else 1
    count = {1: 16, 5: 12, 9: 6}[frames]
    whole = rng.random() < 0.25
    crop = 64 if whole else rng.choice((32, 48))
    if moving and crop > 32:
        count //= 2
    return np.stack([_crop(family, rng, frames, crop) for _ in range(count)])


def _crop(family: Family, rng: random.Random, frames: int, crop: int) -> Pixels:
    side = 64 if crop == 64 else rng.choice((64, 80, 112, 144))
    scene = family.random_scene(rng)
    thing = rng.choice(scene.things)
    clip = draw(scene, height=side, width=side, frames=frames)
    if crop == side:
        return clip
    top, left = (_near(centre * side - crop / 2, side - crop, rng) for centre in (thing.y, thing.x))
    return clip[:, top : top + crop, left : left + crop]


def _near(start: float, limit: int, rng: random.Random) -> int:
    return max(0, min(limit, round(start) + rng.randint(-16, 16)))


def _edge_weighted_l1(drawn: Tensor, target: Tensor) -> Tensor:
    spread = functional.max_pool3d(target, (1, 3, 3), 1, (0, 1, 1)) + functional.max_pool3d(
        -target, (1, 3, 3), 1, (0, 1, 1)
    )
    return ((drawn - target).abs() * (1.0 + 2.0 * spread.amax(1, keepdim=True))).mean()


def _sample_latents(family: Family, rng: random.Random) -> Tensor:
    frames = 13 if family.name == "video" else 1
    clips = np.stack([draw(family.random_scene(rng), height=64, width=64, frames=frames) for _ in range(96)])
    return torch.cat([family.encode(part, normalised=False) for part in np.split(clips, 8)])
