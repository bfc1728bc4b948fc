"""What a denoising step of the largest picture and of the longest, largest clip takes on one core.

    python -m recipes.tiny.step_cost

A step is one pass of the transformer, two where guidance is above 1; half precision as shipped, computed in float32.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import torch

from recipes.tiny.exam import Extent
from recipes.tiny.export import CARDS, CHECKPOINTS, load_pipeline
from recipes.tiny.families import FAMILIES, Family

WANTED_S = {"image": 0.060, "video": 0.400}


@torch.inference_mode()
def pass_s(family: Family, extent: Extent, repeats: int) -> float:
    """Median seconds of one pass over one request."""
    channels, frames = family.pipe.vae.config.get("z_dim") or family.pipe.vae.config.latent_channels, extent.frames
    shape = [1, channels, (frames + 3) // 4, extent.height // 8, extent.width // 8]
    latents = torch.randn([side for place, side in enumerate(shape) if place != 2 or frames > 1])
    took = []
    for _ in range(repeats + 2):
        began = time.perf_counter()
        family.error(latents, torch.randn_like(latents), torch.full((1,), 0.5), ["a red circle moving right"])
        took.append(time.perf_counter() - began)
    return median(took[2:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=15)
    repeats = parser.parse_args().repeats
    torch.set_num_threads(1)
    for name, wanted_s in WANTED_S.items():
        card = CARDS[name]
        side, frames = card["sizes"]["max"], card.get("frames", {"max": 1})["max"]
        extent = Extent(width=side, height=side, frames=frames)
        seconds = pass_s(FAMILIES[name](load_pipeline(CHECKPOINTS / f"tiny-{name}")), extent, repeats)
        verdict = "held" if seconds <= wanted_s else "SHORT"
        figures = f"{1000 * seconds:.1f} ms a pass, wanted {1000 * wanted_s:.0f}: {verdict}"
        print(f"{card['name']} {extent}: {figures}; {2000 * seconds:.0f} ms with guidance")


if __name__ == "__main__":
    main()
