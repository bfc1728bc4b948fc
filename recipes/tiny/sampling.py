"""Pictures and clips through the stock pipelines, with the settings that the checkpoint folder recommends."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import FluxPipeline
from numpy.typing import NDArray

from recipes.tiny.exam import Extent
from recipes.tiny.export import CHECKPOINTS, load_pipeline


@dataclass(frozen=True, slots=True, kw_only=True)
class Painter:
    pipe: Any
    folder: Path
    card: dict[str, Any]
    steps: int
    guidance: float

    @classmethod
    def load(
        cls, family: str, folder: Path | None = None, *, steps: int | None = None, guidance: float | None = None
    ) -> Painter:
        """The shipped checkpoint, or the one in `folder`."""
        folder = folder or CHECKPOINTS / f"tiny-{family}"
        card = json.loads((folder / "sfumato.json").read_text())
        pipe = load_pipeline(folder)
        pipe.set_progress_bar_config(disable=True)
        return cls(
            pipe=pipe,
            folder=folder,
            card=card,
            steps=steps or card["default_steps"],
            guidance=card["default_guidance"] if guidance is None else guidance,
        )

    def paint(self, prompts: Sequence[str], extent: Extent, *, seed: int = 0) -> NDArray[np.uint8]:
        """[prompt, frame, height, width, 3]; one seed a prompt, so a picture does not depend on its neighbours."""
        common = {
            "prompt": list(prompts),
            "negative_prompt": [""] * len(prompts),
            "height": extent.height,
            "width": extent.width,
            "num_inference_steps": self.steps,
            "max_sequence_length": self.card["max_prompt_tokens"],
            "generator": [torch.Generator().manual_seed(seed + index) for index in range(len(prompts))],
            "output_type": "np",
        }
        if isinstance(self.pipe, FluxPipeline):
            out = self.pipe(**common, true_cfg_scale=self.guidance).images[:, None]
        else:
            out = self.pipe(**common, num_frames=extent.frames, guidance_scale=self.guidance).frames
        pixels: NDArray[np.uint8] = np.rint(np.clip(np.asarray(out), 0.0, 1.0) * 255).astype(np.uint8)
        return pixels
