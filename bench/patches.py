"""A UNet pass over three sizes at once, cut into patches, against a pass for each, on a random UNet of SDXL's kind.

Sizes are as 512, 768 and 1024 px to each other, for which PatchedServe (arXiv 2501.09253) reports 1.87 with SDXL, and
each image is there twice, as guidance has it. One by one is two images a pass. The ways take turns, round by round; a
figure is the median round's.
"""

from __future__ import annotations

import os
from statistics import median
from typing import Any

from bench.batching import race
from bench.figure import Figure, Result, main, ms
from sfumato.runtime.crew import ClusterConfig

PATCHEDSERVE = 1.87
TOLERANCE = 1e-5
ALONE, TOGETHER = "one by one", "as patches"
# of the latents; the greatest common divisor, and so the patch, is a quarter of the largest
SCALES = {"small": (16, 24, 32), "large": (32, 48, 64)}
TEXT, WIDTH = 77, 64


def measure(quick: bool) -> Result:
    import torch

    torch.set_num_threads(ClusterConfig().threads)
    torch.manual_seed(0)
    unet, rounds = _unet(), 5 if quick else 15
    figures: list[Figure] = []
    details: dict[str, Any] = {"threads": torch.get_num_threads(), "rounds": rounds}
    with torch.inference_mode():
        for scale, sides in SCALES.items():
            figures += _compare(unet, scale, sides, rounds, details)
    return Result(figures=tuple(figures), details=details)


def _compare(unet: Any, scale: str, sides: tuple[int, ...], rounds: int, details: dict[str, Any]) -> list[Figure]:
    import torch

    from sfumato.models import coupling_unet

    images = [torch.randn(1, 4, side, side) for side in sides for _ in range(2)]
    given = _inputs(len(images))
    pairs = [(torch.cat(images[i : i + 2]), _part(given, slice(i, i + 2))) for i in range(0, len(images), 2)]
    ways = {
        ALONE: lambda: [unet(pair, **part, return_dict=False)[0] for pair, part in pairs],
        TOGETHER: lambda: coupling_unet.predict(unet, images, **given),
    }
    whole, patched = torch.cat([x.flatten() for x in ways[ALONE]()]), torch.cat([x.flatten() for x in ways[TOGETHER]()])
    took = {way: median(seconds) for way, seconds in race(ways, rounds).items()}  # type: ignore[arg-type]
    details[scale] = {"latents": sides} | {way: ms(seconds) for way, seconds in took.items()}
    name = f"{scale}: latents of {', '.join(map(str, sides))} in one pass"
    gain = Figure(name=name, value=took[ALONE] / took[TOGETHER], unit="x", sense=">=", limit=PATCHEDSERVE)
    error = float((whole - patched).abs().max() / whole.abs().max())
    return [gain, Figure(name=f"{scale}: largest relative difference", value=error, limit=TOLERANCE)]


def _unet() -> Any:
    """SDXL's with a tenth of its width and two transformer blocks where it has ten."""
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        in_channels=4,
        out_channels=4,
        block_out_channels=(32, 64, 128),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=2,
        transformer_layers_per_block=(1, 1, 2),
        attention_head_dim=(2, 4, 8),
        norm_num_groups=16,
        cross_attention_dim=WIDTH,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=16,
        projection_class_embeddings_input_dim=6 * 16 + WIDTH,
    ).eval()


def _inputs(count: int) -> dict[str, Any]:
    import torch

    return {
        "timestep": torch.linspace(100, 900, count),
        "encoder_hidden_states": torch.randn(count, TEXT, WIDTH),
        "added_cond_kwargs": {"text_embeds": torch.randn(count, WIDTH), "time_ids": torch.full((count, 6), 512.0)},
        "timestep_cond": None,
    }


def _part(given: Any, rows: slice) -> Any:
    """What belongs to some of the images."""
    if isinstance(given, dict):
        return {name: _part(value, rows) for name, value in given.items()}
    return None if given is None else given[rows]


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main(measure)
