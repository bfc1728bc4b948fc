"""The straight-line oracle: the ordinary pipeline call that a split run must equal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from diffusers import DiffusionPipeline

from sfumato.models import Model, Offer, State, Task

from .checkpoints import TOKENS
from .kinds import KINDS, task

__all__ = ["Oracle", "Straight", "finish", "task"]


class Straight(NamedTuple):
    """What `pipe(...)` gives: the latent after each step, and uint8 pixels [frames, H, W, 3]."""

    latents: list[torch.Tensor]
    pixels: np.ndarray


class Oracle:
    """The plain pipeline calls, each computed once."""

    def __init__(self, checkpoint: Callable[[str], Offer], dtype: torch.dtype = torch.float32) -> None:
        self.checkpoint = checkpoint
        self.dtype = dtype
        self.pipes: dict[str, Any] = {}
        self.known: dict[tuple[str, Task], Straight] = {}

    def __call__(self, kind: str, asked: Task) -> Straight:
        if (kind, asked) not in self.known:
            self.known[kind, asked] = self._run(kind, asked)
        return self.known[kind, asked]

    def _pipe(self, kind: str) -> Any:
        if kind not in self.pipes:
            pipe = DiffusionPipeline.from_pretrained(self.checkpoint(kind).path, dtype=self.dtype)
            pipe.set_progress_bar_config(disable=True)
            self.pipes[kind] = pipe
        return self.pipes[kind]

    def _run(self, kind: str, asked: Task) -> Straight:
        latents: list[torch.Tensor] = []
        pixels = self._pipe(kind)(
            prompt=asked.payload.prompt,
            height=asked.shape.height,
            width=asked.shape.width,
            num_inference_steps=asked.steps,
            max_sequence_length=TOKENS,
            generator=torch.Generator().manual_seed(asked.seed),
            output_type="np",
            return_dict=False,
            callback_on_step_end=lambda pipe, step, time, held: latents.append(held["latents"]) or held,
            **KINDS[kind].options(asked),
        )[0]
        pixels = pixels[0] if pixels.ndim == 5 else pixels
        return Straight(latents, (pixels * 255).round().astype(np.uint8))


def finish(model: Model, state: State) -> np.ndarray:
    """The rest of a run, alone."""
    while state.done < state.task.steps:
        model.step([state])
    while not model.decode(state):
        pass
    return model.output(state)
