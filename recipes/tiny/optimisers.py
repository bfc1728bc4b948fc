"""Muon for matrices and convolution kernels, AdamW for everything else, behind one `step`.

torch's Muon takes matrices only, so a kernel is given to it as a flat view that shares its storage. On the image
decoder, 400 steps: error 0.165 with Muon at 2e-3, 0.23 with AdamW at 2e-3 or 3e-3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

MINIMUM_ROWS = 4  # the last layer's three colours are no matrix to be balanced


class Optimiser:
    """`fits(name)`, where given, says whether a weight of two or more dimensions is Muon's."""

    def __init__(self, weights: Iterable[tuple[str, nn.Parameter]], fits: Callable[[str], bool] | None = None) -> None:
        self.flat: list[tuple[nn.Parameter, nn.Parameter]] = []
        rest: list[nn.Parameter] = []
        for name, weight in weights:
            if weight.ndim >= 2 and len(weight) >= MINIMUM_ROWS and (fits is None or fits(name)):
                self.flat.append((weight, nn.Parameter(weight.detach().flatten(1))))
            else:
                rest.append(weight)
        views = [view for _, view in self.flat]
        self.weights = [weight for weight, _ in self.flat] + rest
        self.parts: list[torch.optim.Optimizer] = [
            torch.optim.Muon(views, lr=0.0, weight_decay=0.01, adjust_lr_fn="match_rms_adamw"),
            torch.optim.AdamW(rest, lr=0.0, betas=(0.9, 0.99), weight_decay=0.01, fused=True),
        ]

    def step(self, loss: Tensor, rate: float) -> None:
        """Backwards from `loss`, then one step at learning rate `rate`."""
        loss.backward()
        nn.utils.clip_grad_norm_(self.weights, 1.0)
        for weight, view in self.flat:
            view.grad = None if weight.grad is None else weight.grad.flatten(1)
        for part in self.parts:
            for group in part.param_groups:
                group["lr"] = rate
            part.step()
        for weight in self.weights:
            weight.grad = None

    def state(self) -> list[Any]:
        return [part.state_dict() for part in self.parts]

    def load(self, state: list[Any]) -> None:
        for part, kept in zip(self.parts, state, strict=True):
            part.load_state_dict(kept)


@torch.no_grad()
def blend(average: nn.Module, live: nn.Module, *, keep: float) -> None:
    """Moves the moving average towards the live weights."""
    torch._foreach_lerp_(list(average.parameters()), list(live.parameters()), 1.0 - keep)
