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
from torch import Tensor, nn
from torch.nn import functional

from recipes.tiny.drawing import draw
from recipes.tiny.families import Family, Pixels, as_tensor

Report = Callable[[str], None]
KL_WEIGHT = 1e-3
# At 2e-3 the error stands at 0.47 after 60 steps, at 5e-4 at 0.33, at 2e-4 at 0.21.
LEARNING_RATE = 3e-4


def train_autoencoder(family: Family, *, minutes: float, seed: int, report: Report, decoder_only: bool = False) -> None:
    """Trains `family.pipe.vae` in place and stores the latent statistics in its configuration.

    With `decoder_only` the latents stay what they are, so that the transformer trained on them goes on to fit.
    """
    vae = family.pipe.vae.train().requires_grad_(not decoder_only)
    if decoder_only:
        vae.decoder.requires_grad_(True)
        vae.post_quant_conv.requires_grad_(True)
    weights = [weight for weight in vae.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=0.0)
    rng = random.Random(seed)
    begin, step, mean_loss = time.monotonic(), 0, 0.0
    while (progress := (time.monotonic() - begin) / (minutes * 60)) < 1.0:
        for group in optimiser.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, (step + 1) / 50) * min(1.0, 2.2 * (1.0 - progress) + 0.01)
        error = _improve(family, as_tensor(_crops(family, rng), vae.device), weights, optimiser)
        mean_loss = error if step == 0 else 0.97 * mean_loss + 0.03 * error
        step += 1
        if step % 25 == 0:
            report(f"{family.name} autoencoder step {step} error {mean_loss:.4f} {progress:.0%}")
    vae.eval().requires_grad_(False)
    if not decoder_only:
        family.measure_latents(_sample_latents(family, random.Random(seed + 1)))


def _improve(family: Family, pixels: Tensor, weights: list[nn.Parameter], optimiser: torch.optim.Optimizer) -> float:
    drawn, kl = family.reconstruct(pixels)
    error = _edge_weighted_l1(drawn, pixels)
    (error + KL_WEIGHT * kl.mean() * kl.shape[0] / pixels[:, 0].numel()).backward()
    nn.utils.clip_grad_norm_(weights, 1.0)
    optimiser.step()
    optimiser.zero_grad(set_to_none=True)
    return error.item()


def _crops(family: Family, rng: random.Random) -> Pixels:
    """A batch of equal crops; some are whole small scenes, so that borders are learned too.

    Clips of 17 frames are among them: trained on 9 alone, colours drifted in all frames after the tenth.
    """
    if family.name == "image":
        frames, count, crop = 1, 16, rng.choice((32, 32, 48, 64))
    else:
        frames, count = rng.choice(((1, 12), (5, 10), (9, 7), (13, 5), (17, 4)))
        crop = rng.choice((32, 32, 32, 48, 64))
        count = max(2, count * 32 * 32 // (crop * crop))
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
