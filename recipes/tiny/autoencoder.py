"""First stage: the decoder that draws pixels from fields, and an encoder that reads fields from pixels.

Convolutions do not care where a crop lies, so crops of 32 to 64 px train them at a fraction of the cost. Flat areas
are easy and edges are not: the L1 loss weighs pixels by the local contrast of the target. The fields are noised, as the
transformer's will be wrong by a little: so the decoder snaps to the palette and to the shapes, and nothing flickers.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from recipes.tiny.drawing import draw, position
from recipes.tiny.families import SIDES, Family, as_tensor
from recipes.tiny.fields import CELL, STRIDE

Report = Callable[[str], None]
Part = Literal["decoder", "encoder"]
RATES: dict[Part, float] = {"decoder": 1e-3, "encoder": 5e-4}
NOISE = 0.25
# Constant errors of a whole crop in the nine channels of colours and form; a shifted `local` would be another picture.
OFFSET = 0.15
NAMED_CHANNELS = 9


def train_autoencoder(family: Family, part: Part, *, steps: int, seed: int, report: Report) -> None:
    """Trains one half of `family.pipe.vae` in place."""
    vae = family.pipe.vae.train().requires_grad_(False)
    halves = {"decoder": (vae.decoder, vae.post_quant_conv), "encoder": (vae.encoder, vae.quant_conv)}
    weights = [weight for module in halves[part] for weight in module.requires_grad_(True).parameters()]
    optimiser = torch.optim.AdamW(weights, lr=0.0, betas=(0.9, 0.99), weight_decay=0.0)
    loss_of = _drawing_loss if part == "decoder" else _reading_loss
    rng = random.Random(seed)
    torch.manual_seed(seed)
    begin, mean_loss = time.monotonic(), 0.0
    for step in range(steps):
        progress = step / steps
        for group in optimiser.param_groups:
            group["lr"] = RATES[part] * min(1.0, (step + 1) / 100) * min(1.0, 1.6 * (1.0 - progress) + 0.01)
        loss = loss_of(family, rng)
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        mean_loss = loss.item() if step == 0 else 0.97 * mean_loss + 0.03 * loss.item()
        if step % 25 == 24:
            spent = time.monotonic() - begin
            report(f"{family.name} {part} step {step + 1} error {mean_loss:.4f} {progress:.0%} {spent:.0f}s")
    vae.eval().requires_grad_(False)


def _drawing_loss(family: Family, rng: random.Random) -> Tensor:
    fields, pixels = _crops(family, rng)
    count, flat = len(fields), [1] * (fields.ndim - 2)
    noise = torch.randn_like(fields) * (NOISE * torch.rand(count, 1, *flat))
    noise[:, :NAMED_CHANNELS] += OFFSET * torch.randn(count, NAMED_CHANNELS, *flat)
    return _edge_weighted_l1(family.decode(fields + noise), pixels)


def _reading_loss(family: Family, rng: random.Random) -> Tensor:
    fields, pixels = _crops(family, rng)
    return functional.mse_loss(family.encode(pixels), fields)


def _crops(family: Family, rng: random.Random) -> tuple[Tensor, Tensor]:
    """Equal crops as fields and as pixels; some are whole small scenes, so that borders are learned too.

    Clips of 17 frames are among them: trained on 9 alone, colours drifted in all frames after the tenth.
    """
    crop = rng.choice((32, 32, 48, 64))
    if family.name == "image":
        frames, count = 1, 16
    else:
        frames, count = rng.choice(((5, 10), (9, 7), (13, 5), (17, 4)))
        count = max(2, count * 32 * 32 // (crop * crop))
    pairs = [_crop(family, rng, frames, crop) for _ in range(count)]
    device = family.pipe.vae.device
    pixels = as_tensor(np.stack([clip for _, clip in pairs]), device)
    return torch.stack([fields for fields, _ in pairs]).to(device), pixels


def _crop(family: Family, rng: random.Random, frames: int, crop: int) -> tuple[Tensor, NDArray[np.uint8]]:
    side = 64 if crop == 64 and rng.random() < 0.5 else rng.choice(SIDES)
    # Now and then the beginning of a longer clip: the same way in more frames, hence slower.
    whole = max(frames, rng.choice((0, 0, 21, 33))) if frames > 1 else 1
    scene = family.random_scene(rng)
    x, y = position(rng.choice(scene.things), (frames - 1) / 2 / max(whole - 1, 1))
    fields = family.latents([scene], (whole, side, side))[0]
    clip = draw(scene, height=side, width=side, frames=whole)[:frames]
    top, left = (_near(centre * side - crop / 2, side - crop, rng) for centre in (y, x))
    rows, columns = slice(top // CELL, (top + crop) // CELL), slice(left // CELL, (left + crop) // CELL)
    if family.name == "video":
        fields = fields[:, : 1 + (frames - 1) // STRIDE]
    return fields[..., rows, columns], clip[:, top : top + crop, left : left + crop]


def _near(start: float, limit: int, rng: random.Random) -> int:
    """About `start`, within the picture, on a cell's edge."""
    return max(0, min(limit, round(start) + rng.randint(-20, 20))) // CELL * CELL


def _edge_weighted_l1(drawn: Tensor, target: Tensor) -> Tensor:
    spread = functional.max_pool3d(target, (1, 3, 3), 1, (0, 1, 1)) + functional.max_pool3d(
        -target, (1, 3, 3), 1, (0, 1, 1)
    )
    return ((drawn - target).abs() * (1.0 + 2.0 * spread.amax(1, keepdim=True))).mean()
