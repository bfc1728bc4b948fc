"""Gives a checkpoint from before the coordinate channels those channels: `python -m recipes.tiny.widen image FROM TO`.

Old weights keep their places, new ones begin at zero (the transformer's input and output, the decoder's input) or at
random (the encoder's output, which nobody reads).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from recipes.tiny.export import export_pipeline, load_pipeline
from recipes.tiny.models import build_image_pipeline, build_video_pipeline

PATCH = 4  # latent pixels a token, 2 x 2


def widen(old: Any, new: Any, family: str) -> None:
    """Copy the weights of the pipeline `old` into `new`, which has more latent channels."""
    before, after = (pipe.vae.config.get("latent_channels") or pipe.vae.config.z_dim for pipe in (old, new))
    for name in ("transformer", "vae", "text_encoder", "text_encoder_2"):
        source, target = getattr(old, name, None), getattr(new, name, None)
        if source is None or target is None:
            continue
        weights = source.state_dict()
        with torch.no_grad():
            for key, value in target.state_dict().items():
                _copy(weights[key], value, _places(name, key, family, before, after))


def _copy(source: Tensor, target: Tensor, places: list[Tensor | None]) -> None:
    """Put `source` at `places` (an index a dimension, None: all of it) of a target that is zero elsewhere."""
    if source.shape == target.shape:
        target.copy_(source)
        return
    target.zero_()
    index = [
        torch.arange(size) if place is None or source.shape[d] == size else place
        for d, (size, place) in enumerate(zip(target.shape, places, strict=False))
    ]
    index += [torch.arange(size) for size in target.shape[len(index) :]]
    target[torch.meshgrid(*index, indexing="ij")] = source


def _places(part: str, key: str, family: str, before: int, after: int) -> list[Tensor | None]:
    """Where the old rows and columns of a widened weight go."""
    plain = torch.arange(before)
    moments = torch.cat([plain, after + plain])  # means, then log variances
    if part == "vae":
        if "conv_out" in key or ".quant_conv" in f".{key}":
            return [moments, moments]
        return [plain if key.startswith("post_quant_conv") else None, plain]
    if family == "image":  # packed: channel slowest
        packed = torch.arange(before * PATCH)
        return [packed if key.startswith("proj_out") else None, packed]
    if key.startswith("proj_out"):  # channel fastest
        return [(torch.arange(PATCH)[:, None] * after + plain).flatten(), None]
    return [None, plain]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("family", choices=("image", "video"))
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    args = parser.parse_args()
    old = load_pipeline(args.old)
    new = build_image_pipeline() if args.family == "image" else build_video_pipeline()
    widen(old, new, args.family)
    axes = 2 if args.family == "image" else 3
    if args.family == "image":
        new.vae.register_to_config(
            scaling_factor=old.vae.config.scaling_factor, shift_factor=old.vae.config.shift_factor
        )
    else:
        new.vae.register_to_config(
            latents_mean=[*old.vae.config.latents_mean, *[0.0] * axes],
            latents_std=[*old.vae.config.latents_std, *[1.0] * axes],
        )
    export_pipeline(new, args.new, args.family)


if __name__ == "__main__":
    main()
