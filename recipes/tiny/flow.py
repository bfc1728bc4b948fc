"""Second stage: flow matching on fields, transformer and text encoders together, with a moving average.

Needs no autoencoder, as the fields are computed from the scenes.
Resumable: everything that training needs is one file, written whole and then renamed. The learning rate follows the
step count, so a run may be paused for as long as one likes.
"""

from __future__ import annotations

import copy
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from recipes.tiny.families import Family
from recipes.tiny.fields import emphasis
from recipes.tiny.optimisers import Optimiser, blend
from recipes.tiny.precision import half_products
from recipes.tiny.reading import Reading
from recipes.tiny.scenes import Scene, caption, random_unasked_scene

# A stretch of a run with `pairs`: which words belong to which of two shapes is decided in the first steps of sampling.
# At the usual noise levels it weighed too little to be learned in 9,000 steps; so it is learned in 600.
PAIRS_SHIFT = 25.0
PAIRS_SHARE = 0.65
PAIRS_WEIGHT = 4.0
READING = 0.3  # weight of the words' reading beside the flow


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowSettings:
    steps: int
    seed: int = 0
    learning_rate: float = 4e-3
    warmup: int = 100
    decay_from: float = 0.15
    caption_dropout: float = 0.1
    ema: float = 0.998
    pairs: bool = False
    save_every_s: float = 60.0


class FlowTraining:
    def __init__(self, family: Family, settings: FlowSettings) -> None:
        self.family = family
        self.settings = settings
        self.live = nn.ModuleDict(family.modules()).train()
        self.average = copy.deepcopy(self.live).eval().requires_grad_(False)
        self.reading = Reading() if family.name == "video" else None
        heads = self.reading.named_parameters() if self.reading else ()
        self.optimiser = Optimiser([*self.live.named_parameters(), *heads], fits=_in_a_block)
        self.rng = random.Random(settings.seed)
        self.step = 0
        self.seconds = 0.0
        self.mean_loss = 0.0
        self.mean_read = 0.0

    @property
    def progress(self) -> float:
        return self.step / self.settings.steps

    def run(self, path: Path, report: Callable[[str], None]) -> None:
        torch.manual_seed(self.settings.seed + self.step)
        last = saved = time.monotonic()
        while self.step < self.settings.steps:
            self._advance()
            now = time.monotonic()
            self.seconds, last = self.seconds + now - last, now
            if self.step % 25 == 0:
                report(self._line())
            if now - saved > self.settings.save_every_s:
                self.save(path)
                saved = now
        self.save(path)

    def _advance(self) -> None:
        loss = self._loss()
        read = self.reading.loss(self.family, self.rng) if self.reading else torch.zeros(())
        self.optimiser.step(loss + READING * read, self._rate())
        self.mean_read += 0.02 * (read.item() - self.mean_read)
        self.step += 1
        blend(self.average, self.live, keep=min(self.settings.ema, (1 + self.step) / (10 + self.step)))
        self.mean_loss = loss.item() if self.step == 1 else 0.98 * self.mean_loss + 0.02 * loss.item()

    def _loss(self) -> Tensor:
        family, rng = self.family, self.rng
        extent = family.random_extent(rng)
        scenes, prompts = zip(*(self._asked() for _ in range(family.batch_size(extent))), strict=True)
        latents = family.latents(scenes, extent)
        shift = PAIRS_SHIFT if self.settings.pairs and rng.random() < PAIRS_SHARE else family.shift(rng)
        times = _shifted(torch.rand(len(scenes), device=latents.device), shift)
        noise = torch.randn_like(latents)
        with half_products(latents.device):
            error = family.error(latents, noise, times, list(prompts))
        weights = torch.from_numpy(emphasis(latents.shape[1], named=PAIRS_WEIGHT if self.settings.pairs else 1.0))
        return (weights.view(-1, *[1] * (latents.ndim - 2)).to(latents) * error**2).mean()

    def _asked(self) -> tuple[Scene, str]:
        """A scene and its caption, now and then without one."""
        if self.rng.random() < self.settings.caption_dropout:
            return random_unasked_scene(self.rng, moving=self.family.name == "video"), ""
        scene = self.family.random_scene(self.rng)
        while self.settings.pairs and len(scene.things) == 1 and self.rng.random() < PAIRS_SHARE:
            scene = self.family.random_scene(self.rng)
        return scene, caption(scene, self.rng)

    def _rate(self) -> float:
        settings = self.settings
        warm = min(1.0, (self.step + 1) / settings.warmup)
        fall = min(1.0, max(0.01, (1.0 - self.progress) / (1.0 - settings.decay_from)))
        return settings.learning_rate * warm * fall

    def _line(self) -> str:
        left = self.seconds / self.step * (self.settings.steps - self.step)
        losses = f"loss {self.mean_loss:.4f}" + (f" read {self.mean_read:.4f}" if self.reading else "")
        return (
            f"{self.family.name} step {self.step} {losses} rate {self._rate():.2e} "
            f"{self.progress:.0%} {self.seconds:.0f}s left {left / 60:.1f}min"
        )

    def state(self) -> dict[str, Any]:
        return {
            "live": self.live.state_dict(),
            "average": self.average.state_dict(),
            "reading": self.reading.state_dict() if self.reading else None,
            "optimiser": self.optimiser.state(),
            "rng": self.rng.getstate(),
            "step": self.step,
            "seconds": self.seconds,
            "mean_loss": self.mean_loss,
        }

    def save(self, path: Path) -> None:
        part = path.with_suffix(".part")
        torch.save(self.state(), part)
        part.replace(path)

    def load(self, path: Path) -> None:
        state = torch.load(path, map_location="cpu", weights_only=False)
        self.live.load_state_dict(state["live"])
        self.average.load_state_dict(state["average"])
        if self.reading:
            self.reading.load_state_dict(state["reading"])
        self.optimiser.load(state["optimiser"])
        self.rng.setstate(state["rng"])
        self.step, self.seconds, self.mean_loss = state["step"], state["seconds"], state["mean_loss"]


def _shifted(level: Tensor, shift: float) -> Tensor:
    """The noise levels that a sampler with this shift visits, each as often."""
    return shift * level / (1.0 + (shift - 1.0) * level)


def _in_a_block(name: str) -> bool:
    """Not the embeddings, the first layer and the last."""
    return ("block" in name or ".layers." in name) and "relative_attention_bias" not in name
