"""Second stage: flow matching on stored latents, transformer and text encoders together, with a moving average.

Resumable: everything that training needs is one file, written whole and then renamed. The learning rate warms up,
stays, and falls over the last 45% of the run, so a run can be prolonged from any earlier state.
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
from torch.nn import functional

from recipes.tiny.families import Family
from recipes.tiny.pool import LatentPool
from recipes.tiny.precision import half_products
from recipes.tiny.scenes import caption


@dataclass(frozen=True, slots=True, kw_only=True)
class FlowSettings:
    minutes: float
    steps: int | None = None
    seed: int = 0
    learning_rate: float = 1.5e-3
    warmup: int = 150
    decay_from: float = 0.75
    caption_dropout: float = 0.1
    early: float = 0.3
    ema: float = 0.998
    refresh: float = 0.06
    save_every_s: float = 90.0


class FlowTraining:
    def __init__(self, family: Family, settings: FlowSettings) -> None:
        self.family = family
        self.settings = settings
        self.live = nn.ModuleDict(family.modules()).train()
        self.average = copy.deepcopy(self.live).eval().requires_grad_(False)
        self.optimiser = torch.optim.AdamW(
            self.live.parameters(), lr=0.0, betas=(0.9, 0.99), weight_decay=0.01, fused=True
        )
        self.rng = random.Random(settings.seed)
        self.pool = LatentPool(family, self.rng, refresh=settings.refresh)
        self.step = 0
        self.seconds = 0.0
        self.mean_loss = 0.0

    @property
    def progress(self) -> float:
        if self.settings.steps is not None:
            return self.step / self.settings.steps
        return self.seconds / (self.settings.minutes * 60.0)

    def run(self, path: Path, report: Callable[[str], None]) -> None:
        torch.manual_seed(self.settings.seed + self.step)
        last = saved = time.monotonic()
        while self.progress < 1.0:
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
        rate = self._rate()
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        loss = self._loss()
        loss.backward()
        nn.utils.clip_grad_norm_(self.live.parameters(), 1.0)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.step += 1
        self._average()
        value = loss.item()
        self.mean_loss = value if self.step == 1 else 0.98 * self.mean_loss + 0.02 * value

    def _loss(self) -> Tensor:
        extent = self.family.random_extent(self.rng)
        latents, scenes = self.pool.batch(extent, self.family.batch_size(extent))
        prompts = [
            "" if self.rng.random() < self.settings.caption_dropout else caption(scene, self.rng) for scene in scenes
        ]
        times = torch.sigmoid(torch.randn(len(scenes), device=latents.device) + self.family.timestep_mean)
        # The logit-normal leaves the noisiest end almost unvisited, and there it is decided which colour is the ground.
        early = 1.0 - 0.2 * torch.rand_like(times)
        times = torch.where(torch.rand_like(times) < self.settings.early, early, times)
        noise = torch.randn_like(latents)
        share = times.view(-1, *[1] * (latents.ndim - 1))
        with half_products(latents.device):
            predicted = self.family.velocity(latents + share * (noise - latents), times, prompts)
        return functional.mse_loss(predicted.float(), noise - latents)

    def _rate(self) -> float:
        settings = self.settings
        warm = min(1.0, (self.step + 1) / settings.warmup)
        fall = min(1.0, max(0.02, (1.0 - self.progress) / (1.0 - settings.decay_from)))
        return settings.learning_rate * warm * fall

    @torch.no_grad()
    def _average(self) -> None:
        keep = min(self.settings.ema, (1 + self.step) / (10 + self.step))
        averages, values = list(self.average.parameters()), list(self.live.parameters())
        torch._foreach_lerp_(averages, values, 1.0 - keep)

    def _line(self) -> str:
        left = self.seconds / max(self.progress, 1e-6) * (1.0 - self.progress)
        return (
            f"{self.family.name} step {self.step} loss {self.mean_loss:.4f} rate {self._rate():.2e} "
            f"{self.progress:.0%} {self.seconds:.0f}s left {left / 60:.1f}min"
        )

    def state(self) -> dict[str, Any]:
        return {
            "live": self.live.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
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
        self.optimiser.load_state_dict(state["optimiser"])
        self.rng.setstate(state["rng"])
        self.step, self.seconds, self.mean_loss = state["step"], state["seconds"], state["mean_loss"]
