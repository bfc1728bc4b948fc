"""First stage: the decoder that draws pixels from fields, and an encoder that reads fields from pixels.

The background is nearly all of a picture and easy. So shapes weigh as much as it does, and small errors count by their
square: with a plain L1 loss, even weighted at edges, shapes were still blobs of mixed colours after 2,600 steps. The
fields are noised, as the transformer's will be wrong by a little: so the decoder snaps to the palette and to the
shapes, and nothing flickers.
"""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from recipes.tiny.drawing import draw, position
from recipes.tiny.families import SIDES, Family, as_tensor
from recipes.tiny.fields import AMPLITUDE, CELL, STRIDE
from recipes.tiny.optimisers import Optimiser, blend
from recipes.tiny.precision import half_products

Report = Callable[[str], None]
Part = Literal["decoder", "encoder"]
RATE = 3e-3
NOISE = 0.15
# Constant errors of a whole crop in the nine channels of colours and form; a shifted `local` would be another picture.
OFFSET = 0.06
NAMED_CHANNELS = 9


def train_autoencoder(family: Family, part: Part, folder: Path, *, steps: int, seed: int, report: Report) -> None:
    """Trains one half of `family.pipe.vae` in place; what stays, and is kept in `folder`, is the moving average."""
    vae = family.pipe.vae.train().requires_grad_(False)
    halves = {"decoder": (vae.decoder, vae.post_quant_conv), "encoder": (vae.encoder, vae.quant_conv)}
    live = nn.ModuleList(halves[part]).requires_grad_(True)
    average = copy.deepcopy(live)
    optimiser = Optimiser(live.named_parameters())
    loss_of = _drawing_loss if part == "decoder" else _reading_loss
    rng = random.Random(seed)
    torch.manual_seed(seed)
    begin, mean_loss = time.monotonic(), 0.0
    for step in range(steps):
        loss = loss_of(family, rng)
        optimiser.step(loss, RATE * min(1.0, (step + 1) / 50) * (1.0 - step / steps))
        blend(average, live, keep=min(0.998, (1 + step) / (10 + step)))
        mean_loss = loss.item() if step == 0 else 0.97 * mean_loss + 0.03 * loss.item()
        if step % 25 == 24:
            spent = time.monotonic() - begin
            report(f"{family.name} {part} step {step + 1} error {mean_loss:.4f} {step / steps:.0%} {spent:.0f}s")
        if step % 200 == 199 or step == steps - 1:
            held = copy.deepcopy(live.state_dict())
            live.load_state_dict(average.state_dict())
            vae.save_pretrained(folder)
            live.load_state_dict(held)
    live.load_state_dict(average.state_dict())
    vae.eval().requires_grad_(False)


def _drawing_loss(family: Family, rng: random.Random) -> Tensor:
    fields, pixels = _crops(family, rng)
    count, flat, device = len(fields), [1] * (fields.ndim - 2), fields.device
    noise = torch.randn_like(fields) * (NOISE * torch.rand(count, 1, *flat, device=device))
    noise[:, :NAMED_CHANNELS] += OFFSET * torch.randn(count, NAMED_CHANNELS, *flat, device=device)
    with half_products(device):
        drawn = family.decode(fields + noise)
    ground = fields[:, :3, ..., :1, :1] / AMPLITUDE
    return _balanced_error(drawn.float(), pixels, ground[:, :, :1] if family.name == "video" else ground[:, :, None])


def _reading_loss(family: Family, rng: random.Random) -> Tensor:
    fields, pixels = _crops(family, rng)
    with half_products(fields.device):
        read = family.encode(pixels)
    return functional.mse_loss(read.float(), fields)


def _crops(family: Family, rng: random.Random) -> tuple[Tensor, Tensor]:
    """Equal crops as fields and as pixels.

    Pictures are taken whole: the decoder's group norms see all of the picture, and trained on crops of 32 px it mixed
    wrong colours into shapes that fill less of it. Clips of 17 frames are among the crops: trained on 9 alone, colours
    drifted in all frames after the tenth.
    """
    if family.name == "image":
        frames, sides = 1, [min(rng.choice(SIDES) for _ in range(3)) for _ in range(2)]
        crops = sides
        count = max(2, 8 * 80 * 80 // (sides[0] * sides[1]))
    else:
        frames, count = rng.choice(((5, 12), (9, 8), (13, 6), (17, 5)))
        sides = [rng.choice(SIDES)] * 2
        crops = [rng.choice((32, 32, 48, 64))] * 2
        count = max(2, count * 32 * 32 // (crops[0] * crops[1]))
    pairs = [_crop(family, rng, frames, sides, crops) for _ in range(count)]
    device = family.pipe.vae.device
    pixels = as_tensor(np.stack([clip for _, clip in pairs]), device)
    return torch.stack([fields for fields, _ in pairs]).to(device), pixels


def _crop(
    family: Family, rng: random.Random, frames: int, sides: list[int], crops: list[int]
) -> tuple[Tensor, NDArray[np.uint8]]:
    # Now and then the beginning of a longer clip: the same way in more frames, hence slower.
    whole = max(frames, rng.choice((0, 0, 21, 33))) if frames > 1 else 1
    scene = family.random_scene(rng)
    x, y = position(rng.choice(scene.things), (frames - 1) / 2 / max(whole - 1, 1))
    height, width = sides
    fields = family.latents([scene], (whole, height, width))[0]
    clip = draw(scene, height=height, width=width, frames=whole)[:frames]
    rows, columns = (_around(c * side, side, crop, rng) for c, side, crop in zip((y, x), sides, crops, strict=True))
    if family.name == "video":
        fields = fields[:, : 1 + (frames - 1) // STRIDE]
    cells = [slice(cut.start // CELL, cut.stop // CELL) for cut in (rows, columns)]
    return fields[..., cells[0], cells[1]], clip[:, rows, columns]


def _around(centre: float, side: int, crop: int, rng: random.Random) -> slice:
    """`crop` pixels of `side` near `centre`, from a cell's edge."""
    start = max(0, min(side - crop, round(centre - crop / 2) + rng.randint(-20, 20))) // CELL * CELL
    return slice(start, start + crop)


def _balanced_error(drawn: Tensor, target: Tensor, ground: Tensor) -> Tensor:
    """Smooth L1, the mean over the background and the mean over the shapes with a rim of 2 px, added."""
    inked = ((target - ground).abs().amax(1, keepdim=True) > 0.02).float()
    near = functional.max_pool3d(inked, (1, 5, 5), 1, (0, 2, 2))
    error = functional.smooth_l1_loss(drawn, target, beta=0.1, reduction="none").mean(1, keepdim=True)
    return (error * near).sum() / near.sum().clamp(min=1.0) + (error * (1.0 - near)).mean()
