"""A UNet pass over three sizes at once, cut into patches, against a pass for each, on a random UNet of SDXL's kind.

Sizes are as 512, 768 and 1024 px to each other, for which PatchedServe (arXiv 2501.09253) reports 1.87 with SDXL, and
are these sizes with an SDXL as `--model` (see `bench.target`). Each image is there twice, as guidance has it. One by
one is two images a pass. The ways take turns, round by round; a figure is the median round's.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from statistics import median
from typing import Any

from bench.figure import Figure, Result, ms
from bench.target import Target, main, part_of, race
from sfumato.models import describe

PATCHEDSERVE = 1.87
TOLERANCE = 1e-5  # in float32; in 16 bit the difference is only told
ALONE, TOGETHER = "one by one", "as patches"
# of the latents; the greatest common divisor, and so the patch, is a quarter of the largest
SCALES = {"small": (16, 24, 32), "large": (32, 48, 64)}
SHARES = (0.5, 0.75, 1.0)  # of the default size, where a model is given
TEXT = 77


def measure(quick: bool, target: Target) -> Result:
    import torch

    target.settle()
    torch.manual_seed(0)
    unet, scales = _checkpoint(target, target.model) if target.model else (_unet(target), SCALES)
    rounds = 5 if quick else 15
    figures: list[Figure] = []
    details: dict[str, Any] = {"threads": torch.get_num_threads(), "rounds": rounds, "device": target.device_name}
    with torch.inference_mode():
        for scale, sides in scales.items():
            figures += _compare(target, unet, scale, sides, rounds, details)
    return Result(figures=tuple(figures), details=details)


def _compare(
    target: Target, unet: Any, scale: str, sides: tuple[int, ...], rounds: int, details: dict[str, Any]
) -> list[Figure]:
    import torch

    from sfumato.models import coupling_unet

    channels, made = unet.config.in_channels, {"device": unet.device, "dtype": unet.dtype}
    images = [torch.randn(1, channels, side, side, **made) for side in sides for _ in range(2)]
    given = _inputs(unet, len(images))
    pairs = [(torch.cat(images[i : i + 2]), _part(given, slice(i, i + 2))) for i in range(0, len(images), 2)]
    ways: dict[str, Callable[[], Any]] = {
        ALONE: lambda: [unet(pair, **part, return_dict=False)[0] for pair, part in pairs],
        TOGETHER: lambda: coupling_unet.predict(unet, images, **given),
    }
    whole, patched = torch.cat([x.flatten() for x in ways[ALONE]()]), torch.cat([x.flatten() for x in ways[TOGETHER]()])
    took = {way: median(seconds) for way, seconds in race(target, ways, rounds).items()}
    details[scale] = {"latents": sides} | {way: ms(seconds) for way, seconds in took.items()}
    name = f"{scale}: latents of {', '.join(map(str, sides))} in one pass"
    gain = Figure(name=name, value=took[ALONE] / took[TOGETHER], unit="x", sense=">=", limit=PATCHEDSERVE)
    error = float((whole - patched).abs().max() / whole.abs().max())
    limit = TOLERANCE if unet.dtype == torch.float32 else None
    return [gain, Figure(name=f"{scale}: largest relative difference", value=error, limit=limit)]


def _checkpoint(target: Target, source: str) -> tuple[Any, dict[str, tuple[int, ...]]]:
    """The UNet of an SDXL alone, and the sides of the latents of three squares."""
    offer = describe(source)
    if offer.family != "sdxl":
        raise SystemExit(f"bench.patches: {source} is of the family {offer.family}; give an SDXL")
    model = target.loaded(source, ["unet"])
    sides = tuple(part_of(offer, share).height // model.pipe.vae_scale_factor for share in SHARES)
    return model.pipe.unet, {target.model_name: sides}


def _unet(target: Target) -> Any:
    """SDXL's with a tenth of its width and two transformer blocks where it has ten."""
    import torch
    from diffusers import UNet2DConditionModel

    unet = UNet2DConditionModel(
        in_channels=4,
        out_channels=4,
        block_out_channels=(32, 64, 128),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=2,
        transformer_layers_per_block=(1, 1, 2),
        attention_head_dim=(2, 4, 8),
        norm_num_groups=16,
        cross_attention_dim=64,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=16,
        projection_class_embeddings_input_dim=6 * 16 + 64,
    ).eval()
    return unet.to(target.device, torch.bfloat16) if target.on_gpu else unet


def _inputs(unet: Any, count: int) -> dict[str, Any]:
    import torch

    config, made = unet.config, {"device": unet.device, "dtype": unet.dtype}
    pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
    return {
        "timestep": torch.linspace(100, 900, count, device=unet.device),
        "encoder_hidden_states": torch.randn(count, TEXT, config.cross_attention_dim, **made),
        "added_cond_kwargs": {
            "text_embeds": torch.randn(count, pooled, **made),
            "time_ids": torch.full((count, 6), 512.0, **made),
        },
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
