"""Batches of unlike requests: a denoising step of all together against one by one and against same-size batches.

The embedded models on as many threads as a worker has, or any checkpoint on any device (see `bench.target`), guided,
through the adapter's own `step` (so with the sampler and whatever packing costs). The ways take turns, round by round;
a figure is the median round's CPU seconds (of one thread: what passes on an idle machine), on a GPU seconds. One by one
is measured as the pipeline does it, with both passes of guidance as one pack, and (not in quick runs) compiled for each
size; the fastest counts. PatchedServe (arXiv 2501.09253) reports 1.87 for SDXL requests of 512, 768 and 1024 px.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from functools import cache
from statistics import median
from typing import Any, NamedTuple

import torch
from torch.nn.functional import scaled_dot_product_attention as attention

from bench.figure import Figure, Result, ms
from bench.rig import IMAGE, VIDEO
from bench.target import Target, main, part_of, race
from sfumato.core.values import Shape
from sfumato.models import Payload, Task, describe, load_model
from sfumato.models.attention import Segments

PATCHEDSERVE = 1.87
GUIDANCE = 3.0  # the embedded models need none; most models of their families do
ONE, JOINED, COMPILED = "one by one", "one by one, both passes as a pack", "one by one, compiled"
SAME, MIXED = "same size", "mixed"
DENOISE = ("transformer", "transformer_2", "unet")
Way = Callable[[], object]


class Case(NamedTuple):
    """Requests of these shapes; `limit` is what one batch of them is to gain on one by one."""

    model: str
    shapes: tuple[Shape, ...]
    limit: float | None = None


def square(side: int, frames: int = 1) -> Shape:
    return Shape(height=side, width=side, frames=frames)


# 512, 768 and 1024 px of an SDXL are as 64, 96 and 128 px here
SIZES = (square(64), square(96), square(128))
CLIPS = (square(64, 9), square(96, 17), square(96, 33))
CASES = {
    "three images of 64, 96, 128 px": Case(IMAGE, SIZES, PATCHEDSERVE),
    "two images each of 64, 96, 128 px": Case(IMAGE, SIZES * 2),
    "three images of 64 px": Case(IMAGE, SIZES[:1] * 3),
    "three clips of 9, 17, 33 frames": Case(VIDEO, CLIPS),
}
# of the sides and the frames that a model makes by default: 512, 768 and 1024 px; up to 81 frames at 832x480
SHARES = ((0.5, 0.25), (0.75, 0.5), (1.0, 1.0))


def measure(quick: bool, target: Target) -> Result:
    target.settle()
    rounds = 7 if quick else 15 if target.on_gpu else 41
    figures: list[Figure] = []
    details: dict[str, Any] = {"device": target.device_name, "threads": torch.get_num_threads(), "rounds": rounds}
    details["guidance"] = GUIDANCE
    for name, case in cases(target).items():
        ways = _ways(_loaded(target, case.model), case.shapes)
        if not quick:
            ways[COMPILED] = _ways(_compiled(target, case.model), case.shapes)[ONE]
        took = race(target, ways, rounds)
        details[name] = {
            way: {"ms": ms(median(seconds)), "least_ms": ms(min(seconds))} for way, seconds in took.items()
        }
        figures += _figures(name, case, {way: median(seconds) for way, seconds in took.items()})
    details["attention within segments"] = _attention(target, 5 * rounds)
    return Result(figures=tuple(figures), details=details)


def cases(target: Target) -> dict[str, Case]:
    """What is joined: of a model that is given, mixes that suit it."""
    if target.model is None:
        return CASES
    offer, source = describe(target.model), target.model
    mix = tuple(part_of(offer, *shares) for shares in SHARES)
    what, said = f"{offer.modality}s", ", ".join(map(str, mix))
    limit = PATCHEDSERVE if offer.family == "sdxl" else None
    found = {
        f"three {what} of {said}": Case(source, mix, limit),
        f"three {what} of {mix[0]}": Case(source, mix[:1] * 3),
    }
    if offer.modality == "image":
        found[f"two {what} each of {said}"] = Case(source, mix * 2)
    return found


def _figures(name: str, case: Case, took: dict[str, float]) -> list[Figure]:
    alone = min(took[way] for way in (ONE, JOINED, COMPILED) if way in took)
    against = [("one by one", alone, case.limit), ("one by one as served", took[ONE], None)]
    if SAME in took:
        against.append(("same-size batches", took[SAME], None))
    return [
        Figure(
            name=f"{name}: one batch against {other}", value=seconds / took[MIXED], unit="x", sense=">=", limit=limit
        )
        for other, seconds, limit in against
    ]


@cache
def _loaded(target: Target, name: str) -> Any:
    return target.loaded(name)


@cache
def _compiled(target: Target, name: str) -> Any:
    """The same weights, with what denoises compiled for each size by itself."""
    eager = _loaded(target, name)
    model: Any = load_model(eager.offer, target.device)
    model.load(eager.offer.components.values(), [eager])
    for part in DENOISE:
        if getattr(model.pipe, part, None) is not None:
            twin = copy.copy(getattr(model.pipe, part))
            twin.compile(dynamic=False)
            model.pipe.register_modules(**{part: twin})
    return model


def _ways(model: Any, shapes: tuple[Shape, ...]) -> dict[str, Way]:
    """What takes one step of every request, by the name of the way."""

    def joined(states: list[Any]) -> None:
        for state, noise in zip(states, model._predict_packed(states, None, 1), strict=True):
            state.advance(noise)

    each = [[shape] for shape in shapes]
    ways = {
        ONE: _way(model, each, model.step),
        JOINED: _way(model, each, torch.inference_mode()(joined)),
        MIXED: _way(model, [list(shapes)], model.step),
    }
    if 1 < len(set(shapes)) < len(shapes):
        alike = [[shape] * shapes.count(shape) for shape in dict.fromkeys(shapes)]
        ways[SAME] = _way(model, alike, model.step)
    return ways


def _way(model: Any, batches: list[list[Shape]], step: Callable[[list[Any]], object]) -> Way:
    offer = model.offer
    payload = Payload(prompt="a big red circle on a yellow background", guidance=GUIDANCE)
    kept = [
        model.encode([Task(id="r", shape=shape, steps=offer.max_steps, seed=1, payload=payload) for shape in shapes])
        for shapes in batches
    ]

    def step_all() -> None:
        for states in kept:
            step(states)

    return step_all


def _attention(target: Target, rounds: int) -> dict[str, Any]:
    """Ways for the attention of each segment, text and image of both passes (the last two on a CPU only)."""
    if target.on_gpu:  # a Flux, 512 to 1024 px
        sides, text, heads, wide, dtype = (512, 768, 1024), 512, 24, 128, torch.bfloat16
    else:
        sides, text, heads, wide, dtype = (64, 96, 128), 20, 4, 40, torch.float32
    lengths = [text + (side // 16) ** 2 for side in sides] * 2
    bounds = torch.tensor([0, *lengths]).cumsum(0)
    q, k, v = torch.randn(3, int(bounds[-1]), heads, wide, dtype=dtype, device=target.device)
    whose = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    mask, segments, each = whose[:, None] == whose, Segments(lengths), [Segments([length]) for length in lengths]

    def apart() -> None:
        for one, *run in zip(each, q.split(lengths), k.split(lengths), v.split(lengths), strict=True):
            one.attend(*run)

    def nested() -> None:
        jagged = [torch.nested.nested_tensor_from_jagged(x, bounds).transpose(1, 2) for x in (q, k, v)]
        attention(jagged[0], jagged[1], jagged[2]).transpose(1, 2).values()

    def masked() -> None:
        heads = [x.transpose(0, 1)[None] for x in (q, k, v)]
        attention(heads[0], heads[1], heads[2], attn_mask=mask)

    ways: dict[str, Way] = {"as served": lambda: segments.attend(q, k, v), "a call each": apart}
    if not target.on_gpu:
        ways |= {"nested": nested, "mask": masked}
    took = race(target, ways, rounds)
    return {"tokens": lengths, **{f"{way}_ms": ms(median(seconds)) for way, seconds in took.items()}}


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main(measure)
