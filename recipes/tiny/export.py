"""Writes a pipeline folder in the ordinary diffusers format, half precision, with a small `sfumato.json` beside it.

`python -m recipes.tiny.export image` takes the moving average of the run folder, finished or not.
"""

from __future__ import annotations

import argparse
import copy
import json
from pathlib import Path
from typing import Any

import torch
from diffusers import DiffusionPipeline, FluxPipeline, WanPipeline

from recipes.tiny.tokens import MAX_TOKENS

CHECKPOINTS = Path(__file__).parents[2] / "src" / "sfumato" / "checkpoints"
RUNS = Path(__file__).parent / "runs"
CLASSES: dict[str, type[DiffusionPipeline]] = {"image": FluxPipeline, "video": WanPipeline}
LICENSE = "Apache-2.0"

CARDS: dict[str, dict[str, Any]] = {
    "image": {
        "family": "flux",
        "name": "sfumato/tiny-image",
        "default_steps": 24,
        "default_guidance": 1.0,
        "sizes": {"min": 64, "max": 160, "multiple": 16},
        "default_size": [128, 128],
        "max_prompt_tokens": MAX_TOKENS,
        "license": LICENSE,
    },
    "video": {
        "family": "wan",
        "name": "sfumato/tiny-video",
        "default_steps": 24,
        "default_guidance": 1.0,
        "sizes": {"min": 64, "max": 160, "multiple": 16},
        "default_size": [96, 96],
        "frames": {"min": 9, "max": 33, "step": 4},
        "default_frames": 17,
        "fps": 8,
        "max_prompt_tokens": MAX_TOKENS,
        "license": LICENSE,
    },
}


def export_pipeline(pipe: DiffusionPipeline, folder: Path, family: str) -> None:
    """Saves a half-precision copy; the pipeline itself stays as it is."""
    modules = {name: part for name, part in pipe.components.items() if isinstance(part, torch.nn.Module)}
    for name, module in modules.items():
        setattr(pipe, name, copy.deepcopy(module).half().cpu())
    pipe.save_pretrained(folder, safe_serialization=True)
    for name, module in modules.items():
        setattr(pipe, name, module)
    for path in folder.glob("*/config.json"):  # where the weights came from on this machine is nobody's business
        config = {key: value for key, value in json.loads(path.read_text()).items() if key != "_name_or_path"}
        path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    (folder / "sfumato.json").write_text(json.dumps(CARDS[family], indent=2) + "\n")


def load_pipeline(folder: Path) -> Any:
    """A pipeline in full precision, ready to train or to sample on a CPU."""
    family = json.loads((folder / "sfumato.json").read_text())["family"]
    return CLASSES["image" if family == "flux" else "video"].from_pretrained(folder, dtype=torch.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("family", choices=sorted(CLASSES))
    parser.add_argument("--run-dir", type=Path)
    parser.add_argument("--to", type=Path)
    args = parser.parse_args()
    from recipes.tiny.families import FAMILIES

    run = args.run_dir or RUNS / args.family
    family = FAMILIES[args.family]()
    family.pipe.vae = type(family.pipe.vae).from_pretrained(run / "autoencoder")
    state = torch.load(run / "state.pt", map_location="cpu", weights_only=False)
    averages = torch.nn.ModuleDict(family.modules())
    averages.load_state_dict(state["average"])
    target = args.to or CHECKPOINTS / f"tiny-{args.family}"
    export_pipeline(family.pipe, target, args.family)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    print(f"{target}: step {state['step']}, loss {state['mean_loss']:.4f}, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
