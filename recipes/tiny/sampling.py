"""Pictures and clips through the stock pipelines, with the settings that the checkpoint folder recommends."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from diffusers import FluxPipeline
from numpy.typing import NDArray

from recipes.tiny.tokens import MAX_TOKENS


def sample(
    pipe: Any,
    prompts: list[str],
    *,
    height: int,
    width: int,
    frames: int = 1,
    steps: int = 24,
    guidance: float = 3.0,
    seed: int = 0,
) -> NDArray[np.uint8]:
    """[prompt, frame, height, width, 3]; one seed a prompt, so a picture does not depend on its neighbours."""
    pipe.set_progress_bar_config(disable=True)
    common = {
        "prompt": prompts,
        "negative_prompt": [""] * len(prompts),
        "height": height,
        "width": width,
        "num_inference_steps": steps,
        "max_sequence_length": MAX_TOKENS,
        "generator": [torch.Generator().manual_seed(seed + index) for index in range(len(prompts))],
        "output_type": "np",
    }
    if isinstance(pipe, FluxPipeline):
        out = pipe(**common, true_cfg_scale=guidance).images[:, None]
    else:
        out = pipe(**common, num_frames=frames, guidance_scale=guidance).frames
    return np.rint(np.clip(np.asarray(out), 0.0, 1.0) * 255).astype(np.uint8)
