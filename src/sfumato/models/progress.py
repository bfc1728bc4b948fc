"""What one request owns between two units of work: its latent, sampler, conditioning and decoded frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from inspect import signature
from typing import Any, NamedTuple

import numpy as np
import torch

from sfumato.models import coupling
from sfumato.models.family import Task


class Sampler:
    """A scheduler object and a generator of one request's own.

    Shared, the step counter of a scheduler would run once for every request that steps: most schedulers then raise,
    some give other pictures.
    """

    def __init__(self, scheduler: Any, generator: torch.Generator) -> None:
        """`scheduler` has its timesteps set. The generator draws on the CPU, so a seed means the same on any device."""
        self.scheduler = scheduler
        self.generator = generator
        if hasattr(scheduler, "set_begin_index"):  # DDIM keeps no index
            scheduler.set_begin_index(0)
        takes = "generator" in signature(scheduler.step).parameters
        self.options = {"generator": generator} if takes else {}

    @property
    def steps(self) -> int:
        return len(self.scheduler.timesteps)

    def time(self, done: int) -> torch.Tensor:
        """The timestep (a scalar) of the step after `done` steps."""
        return self.scheduler.timesteps[done]  # type: ignore[no-any-return]

    def step(self, noise: torch.Tensor, done: int, latent: torch.Tensor) -> torch.Tensor:
        """The latent after one more step. One that fails leaves the sampler as it was."""
        before = self.freeze()
        try:
            return coupling.advance(self.scheduler, noise, done, latent, self.options)  # type: ignore[no-any-return]
        except BaseException:
            self.restore(before)
            raise

    def freeze(self) -> dict[str, Any]:
        return {"history": coupling.history(self.scheduler), "generator": self.generator.get_state()}

    def restore(self, frozen: dict[str, Any]) -> None:
        coupling.set_history(self.scheduler, frozen["history"])
        self.generator.set_state(frozen["generator"].cpu())


class Bare(NamedTuple):
    """A `State` that has moved on: what the next one of the same request takes over."""

    task: Task
    conditioning: dict[str, torch.Tensor]
    done: int = 0
    decoded: int = 0

    def bare(self) -> Bare:
        return self

    def shed(self) -> None:
        """There is nothing of the kind."""


@dataclass(slots=True, eq=False, kw_only=True)
class Progress:
    """The `State` of a diffusers model. `conditioning` never changes after encode; `decoding` is the family's own."""

    task: Task
    guided: bool
    conditioning: dict[str, torch.Tensor]
    latent: torch.Tensor
    sampler: Sampler
    done: int = 0
    decoded: int = 0
    decoding: Any = None
    frames: list[np.ndarray] = field(default_factory=list)
    reuse: dict[bool, Any] = field(default_factory=dict)  # what each pass keeps for the next step: reuse_kept
    spared: float = 0.0  # steps whose blocks were not computed, in shares

    @property
    def time(self) -> torch.Tensor:
        """The timestep (a scalar) of the next step."""
        return self.sampler.time(self.done)

    def bare(self) -> Bare:
        return Bare(self.task, self.conditioning)

    def shed(self) -> None:
        self.reuse.clear()

    def advance(self, noise: torch.Tensor) -> None:
        """Take the model's prediction for the next step."""
        self.latent = self.sampler.step(noise, self.done, self.latent)
        self.done += 1


class Pass(NamedTuple):
    """One run of a state through the model in a step: with its prompt, or `negative` with what is not wanted."""

    state: Progress
    negative: bool = False

    def text(self, name: str) -> torch.Tensor:
        """The conditioning of that name which belongs to the side of the pass."""
        return self.state.conditioning[f"negative_{name}" if self.negative else name]


def guide(states: list[Progress], positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    """Classifier-free guidance of a batch [B, ...] of guided states, each sample by its request's own scale."""
    return torch.cat(guide_each(states, positive.split(1), negative.split(1)))


def guide_each(
    states: list[Progress],
    positive: Iterable[torch.Tensor],
    negative: Iterable[torch.Tensor],
    scale: Callable[[Progress], float] = lambda state: state.task.payload.guidance,
) -> list[torch.Tensor]:
    """Predictions [1, ...] of a batch with guidance; `negative` has one for each guided state.

    By Python floats one by one: a tensor of scales would be rounded to bfloat16 first, which the pipelines do not do.
    """
    unwanted = iter(negative)
    return [
        (other := next(unwanted)) + scale(state) * (wanted - other) if state.guided else wanted
        for state, wanted in zip(states, positive, strict=True)
    ]
