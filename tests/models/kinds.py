"""The kinds of checkpoint on which the contract is tested, at least one a family, and what is asked of each.

A kind says how its checkpoint is made, how its plain pipeline is called, and three requests that are unlike in all that
a batch may mix: `mix`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from sfumato.core.values import Shape
from sfumato.models import Payload, Task

from . import checkpoints, video_checkpoints

IMAGES = (Shape(height=32, width=48), Shape(height=16, width=16), Shape(height=64, width=32))
VIDEOS = (
    Shape(height=32, width=16, frames=9),
    Shape(height=16, width=48, frames=1),
    Shape(height=48, width=32, frames=13),
)
DENSE = (
    Shape(height=64, width=32, frames=9),
    Shape(height=32, width=96, frames=1),
    Shape(height=96, width=64, frames=13),
)
IN_PAIRS = (
    Shape(height=32, width=16, frames=17),
    Shape(height=16, width=48, frames=9),
    Shape(height=48, width=32, frames=9),
)
IN_TILES = (
    Shape(height=32, width=16, frames=17),
    Shape(height=16, width=48, frames=1),
    Shape(height=48, width=32, frames=13),
)
STEPS = (3, 5, 4)

# Sums in another order than the straight line takes them: float32 rounding, and its growth over the steps. Measured at
# most 1.0e-6 (CogVideoX 1.5, in one batch or spread over 4 ranks); the rest is room for other CPUs.
TOLERANCE = 1e-5

Call = Callable[[Task], dict[str, Any]]
"""The arguments of the plain pipeline call that depend on the family."""


def guided(asked: Task) -> dict[str, Any]:
    """Guidance of two passes, by the name that most pipelines have for it."""
    return {"guidance_scale": asked.payload.guidance, "negative_prompt": asked.payload.negative_prompt or None}


def twice_guided(asked: Task) -> dict[str, Any]:
    """The same in pipelines of two experts."""
    return guided(asked) | {"guidance_scale_2": asked.payload.guidance_2}


def true_guided(asked: Task) -> dict[str, Any]:
    """The same in pipelines whose `guidance_scale` is an input of the model."""
    scale, negative = asked.payload.guidance, asked.payload.negative_prompt
    return {"true_cfg_scale": scale, "negative_prompt": negative} if scale > 1 else {}


def distilled(asked: Task) -> dict[str, Any]:
    return {"guidance_scale": asked.payload.guidance}


class Kind(NamedTuple):
    """`scales` are the guidance of the three requests: 1.0 is none where it takes two passes. `second` is that of a
    second expert, in guided ones.
    """

    write: Callable[[Path], Path]
    call: Call
    shapes: tuple[Shape, Shape, Shape] = IMAGES
    scales: tuple[float, float, float] = (4.0, 1.0, 2.5)
    second: float | None = None

    def options(self, asked: Task) -> dict[str, Any]:
        """The arguments of the plain pipeline call that depend on the kind."""
        frames = {"num_frames": asked.shape.frames} if self.shapes[0].frames > 1 else {}
        return self.call(asked) | frames


def image(write: Callable[..., Path], call: Call = guided, **options: Any) -> Kind:
    return Kind(partial(write, **options), call, scales=(3.5, 2.0, 5.0) if call is distilled else (4.0, 1.0, 2.5))


def wan(**options: Any) -> Kind:
    shapes = DENSE if options.get("expand_timesteps") else VIDEOS
    if options.get("experts") == 2:
        return Kind(partial(checkpoints.wan, **options), twice_guided, shapes, second=3.0)
    return Kind(partial(checkpoints.wan, **options), guided, shapes)


def cogvideox(*, dynamic: bool = False, **options: Any) -> Kind:
    def call(asked: Task) -> dict[str, Any]:
        return guided(asked) | {"use_dynamic_cfg": dynamic}

    return Kind(partial(video_checkpoints.cogvideox, **options), call, IN_PAIRS)


KINDS: dict[str, Kind] = {
    "flux": image(checkpoints.flux, true_guided),
    "flux-distilled": image(checkpoints.flux, distilled, distilled=True),
    "sd3": image(checkpoints.sd3),
    "sd3-dual": image(checkpoints.sd3, dual=True),
    **{
        f"sdxl-{name}": image(checkpoints.sdxl, sampler=name) for name in ("euler", "ancestral", "dpm", "ddim", "unipc")
    },
    "sdxl-lcm": image(checkpoints.sdxl, distilled, sampler="lcm"),
    "wan-euler": wan(sampler="euler"),
    "wan-noisy-euler": wan(sampler="noisy-euler"),
    "wan-unipc": wan(sampler="unipc"),
    "wan-experts": wan(sampler="unipc", experts=2),
    "wan-expanded": wan(expand_timesteps=True),
    "cogvideox": cogvideox(),
    "cogvideox-rotary": cogvideox(rotary=True, sampler="dpm"),
    "cogvideox-newer": cogvideox(newer=True, sampler="dpm", dynamic=True),
    "hunyuan-video": Kind(video_checkpoints.hunyuan_video, distilled, IN_TILES, (6.0, 1.0, 3.0)),
    "hunyuan-video-guided": Kind(partial(video_checkpoints.hunyuan_video, distilled=False), true_guided, IN_TILES),
}


def task(seed: int, steps: int, guidance: float, shape: Shape, negative: str = "", second: float | None = None) -> Task:
    """A task with a prompt of its own, also in length."""
    prompt = f"{('cat number', 'dog', 'blue bird')[seed % 3]} {seed}"
    second = second if guidance > 1.0 else None
    payload = Payload(prompt=prompt, guidance=guidance, guidance_2=second, negative_prompt=negative)
    return Task(id=f"r{seed}", shape=shape, steps=steps, seed=seed, payload=payload)


def mix(kind: str) -> list[Task]:
    """Three tasks of unlike shapes, seeds, prompts, step counts and guidance; the second is not guided by a pass."""
    made = KINDS[kind]
    cells = enumerate(zip(made.shapes, STEPS, made.scales, strict=True))
    return [
        task(i + 1, steps, scale, shape, "dark" if scale == 4.0 else "", made.second)
        for i, (shape, steps, scale) in cells
    ]


def pair(kind: str) -> list[Task]:
    """Two tasks of one shape, unlike in all else, both guided by a pass or by an input."""
    shape, scales = KINDS[kind].shapes[0], KINDS[kind].scales
    return [task(1, 3, scales[0], shape, "dark" if scales[0] == 4.0 else ""), task(2, 5, scales[2], shape)]


def error(kind: str, state: Any, oracle: Any) -> float:
    """The largest difference of a state's latent from the plain pipeline call's after as many steps.

    Relative to the largest value of the latent where that is above 1: samplers that count in sigmas begin at 14.
    """
    expected = oracle(kind, state.task).latents[state.done - 1]
    return float((state.latent - expected).abs().max() / expected.abs().max().clamp(min=1.0))
