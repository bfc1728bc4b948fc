"""Requests that are unlike in every way that a packed batch allows, and how near the oracle they have to come."""

from __future__ import annotations

from typing import Any

from sfumato.core.values import Shape
from sfumato.models import Task

from .straight import task

# Sums in another order than the straight line takes them: float32 rounding, and its growth over the steps. Measured at
# most 1.7e-6 on latents of magnitude 4; the rest is room for other CPUs.
TOLERANCE = 1e-5

IMAGES = (Shape(height=32, width=48), Shape(height=16, width=16), Shape(height=64, width=32))
VIDEOS = (
    Shape(height=32, width=16, frames=9),
    Shape(height=16, width=48, frames=1),
    Shape(height=48, width=32, frames=13),
)
STEPS = (3, 5, 4)
KINDS = ("flux", "flux-guided", "flux-distilled", "wan-euler", "wan-unipc", "wan-experts", "wan-expanded")
TWO_PASS = ("flux-guided", "wan-unipc", "wan-experts")


def checkpoint_of(kind: str) -> str:
    """The name of the checkpoint that a kind runs on."""
    return "flux" if kind == "flux-guided" else kind


def mix(kind: str, *, guided: bool = False) -> list[Task]:
    """Three tasks of unlike shapes, seeds, prompts, step counts and guidance.

    Where a kind guides, the second of them is not, unless all are to be `guided`.
    """
    shapes = VIDEOS if kind.startswith("wan") else IMAGES
    scales = {"flux": (1.0, 1.0, 1.0), "flux-distilled": (3.5, 2.0, 5.0)}.get(kind, (4.0, 1.0, 2.5))
    if guided:
        scales = (4.0, 3.0, 2.5)
    cells = zip(shapes, STEPS, scales, strict=True)
    return [
        task(i + 1, steps, scale, shape, "dark" if scale == 4.0 else "")
        for i, (shape, steps, scale) in enumerate(cells)
    ]


def error(kind: str, state: Any, oracle: Any) -> float:
    """The largest difference of a state's latent from the plain pipeline call's after as many steps."""
    expected = oracle(checkpoint_of(kind), state.task).latents[state.done - 1]
    return float((state.latent - expected).abs().max())
