"""First stage: the decoder that draws pixels from fields, and an encoder that reads fields from pixels.

The background is nearly all of a picture and easy. So shapes weigh as much as it does, and small errors count by their
square: with a plain L1 loss, even weighted at edges, shapes were still blobs of mixed colours after 2,600 steps. The
fields are noised, as the transformer's will be wrong by a little: so the decoder snaps to the palette and to the
shapes, and nothing flickers.

Once there is a flow, `finish` trains the decoder of clips on with fields as that draws them: half drowned in noise and
drawn anew. Their errors are no noise (an outline that bulges), which the decoder then takes for what the other fields
say: kind of shape, its size and turn.
"""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from recipes.tiny.drawing import draw, position
from recipes.tiny.families import SIDES, Family, as_tensor, between, wide
from recipes.tiny.fields import AMPLITUDE, CELL, STRIDE
from recipes.tiny.optimisers import Optimiser, blend
from recipes.tiny.precision import half_products
from recipes.tiny.scenes import Scene, caption

Report = Callable[[str], None]
Part = Literal["decoder", "encoder", "finish"]
RATES = {"decoder": 3e-3, "encoder": 3e-3, "finish": 2e-4}
REDRAWN_FROM = (0.4, 0.85)  # noise levels at which places still show, so that the drawing is of the same picture
REDRAWING_STEPS = 5
NOISE = 0.15
# Constant errors of a whole crop in the nine channels of colours and form; a shifted `local` would be another picture.
OFFSET = 0.06
NAMED_CHANNELS = 9


def train_autoencoder(family: Family, part: Part, folder: Path, *, steps: int, seed: int, report: Report) -> None:
    """Trains one half of `family.pipe.vae` in place; what stays, and is kept in `folder`, is the moving average."""
    vae = family.pipe.vae.train().requires_grad_(False)
    half = (vae.encoder, vae.quant_conv) if part == "encoder" else (vae.decoder, vae.post_quant_conv)
    live = nn.ModuleList(half).requires_grad_(True)
    average = copy.deepcopy(live)
    optimiser = Optimiser(live.named_parameters())
    loss_of = {"decoder": _drawing_loss, "encoder": _reading_loss, "finish": _finishing_loss}[part]
    rng = random.Random(seed)
    torch.manual_seed(seed)
    begin, mean_loss = time.monotonic(), 0.0
    for step in range(steps):
        loss = loss_of(family, rng)
        optimiser.step(loss, RATES[part] * min(1.0, (step + 1) / 50) * (1.0 - step / steps))
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
    fields, pixels, ground = _crops(family, rng)
    count, flat, device = len(fields), [1] * (fields.ndim - 2), fields.device
    noise = torch.randn_like(fields) * (NOISE * torch.rand(count, 1, *flat, device=device))
    noise[:, :NAMED_CHANNELS] += OFFSET * torch.randn(count, NAMED_CHANNELS, *flat, device=device)
    return _drawn_error(family, fields + noise, pixels, ground)


def _finishing_loss(family: Family, rng: random.Random) -> Tensor:
    return _drawn_error(family, *_crops(family, rng, partial(_redrawn, family, rng)))


def _drawn_error(family: Family, fields: Tensor, pixels: Tensor, ground: Tensor) -> Tensor:
    with half_products(fields.device):
        drawn = family.decode(fields)
    return _balanced_error(drawn.float(), pixels, ground)


def _reading_loss(family: Family, rng: random.Random) -> Tensor:
    fields, pixels, _ = _crops(family, rng)
    with half_products(fields.device):
        read = family.encode(pixels)
    return functional.mse_loss(read.float(), fields)


@torch.no_grad()
def _redrawn(family: Family, rng: random.Random, fields: Tensor, drawn: Sequence[Scene]) -> Tensor:
    """`fields` as the flow draws them from a noised state, in a few Euler steps."""
    start = rng.uniform(*REDRAWN_FROM)
    times = torch.linspace(start, 0.0, REDRAWING_STEPS + 1, device=fields.device).expand(len(fields), -1)
    prompts = [caption(scene, rng) for scene in drawn]
    noisy = between(fields, torch.randn_like(fields), times[:, 0])
    for now, after in pairwise(times.unbind(1)):
        with half_products(fields.device):
            clean = family.clean(noisy, now, prompts)
        noisy = between(clean, clean + (noisy - clean) / wide(now, noisy), after)
    return noisy


def _crops(
    family: Family, rng: random.Random, redraw: Callable[[Tensor, list[Scene]], Tensor] | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """Equal crops as fields and as pixels, and the backgrounds' colours as pixels.

    With `redraw` the fields of the whole are what that makes of them; large ones would then take most of the time.
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
        sides = [rng.choice(SIDES[:4] if redraw else SIDES)] * 2
        crops = [rng.choice((32, 32, 48, 64))] * 2
        count = max(2, count * 32 * 32 // (crops[0] * crops[1]))
    # Now and then the beginning of a longer clip: the same way in more frames, hence slower.
    whole = max(frames, rng.choice((0, 0, 21, 33))) if frames > 1 and not redraw else frames
    scenes = [family.random_scene(rng) for _ in range(count)]
    fields = family.latents(scenes, (whole, *sides))
    ground = fields[:, :3].flatten(2)[..., 0].view(count, 3, 1, 1, 1) / AMPLITUDE
    if redraw:
        fields = redraw(fields, scenes)
    pairs = [_crop(scene, every, rng, (frames, whole), crops) for scene, every in zip(scenes, fields, strict=True)]
    pixels = as_tensor(np.stack([clip for _, clip in pairs]), fields.device)
    return torch.stack([crop for crop, _ in pairs]), pixels, ground


def _crop(
    scene: Scene, fields: Tensor, rng: random.Random, lengths: tuple[int, int], crops: list[int]
) -> tuple[Tensor, NDArray[np.uint8]]:
    """Around one of the scene's shapes; of the first of `lengths` frames, the second is that of the whole clip."""
    frames, whole = lengths
    x, y = position(rng.choice(scene.things), (frames - 1) / 2 / max(whole - 1, 1))
    sides = [CELL * cells for cells in fields.shape[-2:]]
    clip = draw(scene, height=sides[0], width=sides[1], frames=whole)[:frames]
    rows, columns = (_around(c * side, side, crop, rng) for c, side, crop in zip((y, x), sides, crops, strict=True))
    if fields.ndim == 4:
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
