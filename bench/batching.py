"""Batches of unlike requests: a denoising step of all together against one by one and against same-size batches.

The embedded models in float32 on as many threads as a worker has, with two passes of guidance, through the adapter's
own `step` (so with the sampler and whatever packing costs). The ways take turns, round by round; a figure is the median
round's CPU seconds (of one thread: what passes on an idle machine). One by one is measured with the guided and the
unguided pass apart, as the pipelines of these models do it, with both as one pack, and (not in quick runs) compiled;
the fastest counts. PatchedServe (arXiv 2501.09253) reports 1.87 for SDXL requests of 512, 768 and 1024 px.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from functools import cache
from statistics import median
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention as attention

from bench.figure import Figure, Result, main, ms
from bench.rig import IMAGE, VIDEO
from sfumato.core.values import Shape
from sfumato.models import Payload, Task, describe, load_model
from sfumato.models.attention import Segments
from sfumato.runtime.crew import ClusterConfig

PATCHEDSERVE = 1.87
GUIDANCE = 3.0  # the embedded models need none; most models of their families do
ONE, JOINED, COMPILED = "one by one", "one by one, both passes as a pack", "one by one, compiled"
SAME, MIXED = "same size", "mixed"
Way = Callable[[], object]


def square(side: int, frames: int = 1) -> Shape:
    return Shape(height=side, width=side, frames=frames)


# 512, 768 and 1024 px of an SDXL are as 64, 96 and 128 px here
SIZES = (square(64), square(96), square(128))
CLIPS = (square(64, 9), square(96, 17), square(96, 33))
CASES: dict[str, tuple[str, tuple[Shape, ...]]] = {
    "three images of 64, 96, 128 px": (IMAGE, SIZES),
    "two images each of 64, 96, 128 px": (IMAGE, SIZES * 2),
    "three images of 64 px": (IMAGE, SIZES[:1] * 3),
    "three clips of 9, 17, 33 frames": (VIDEO, CLIPS),
}
TARGETS = {("three images of 64, 96, 128 px", "one by one"): PATCHEDSERVE}


def measure(quick: bool) -> Result:
    torch.set_num_threads(ClusterConfig().threads)
    rounds = 7 if quick else 41
    figures: list[Figure] = []
    details: dict[str, Any] = {"threads": torch.get_num_threads(), "rounds": rounds, "guidance": GUIDANCE}
    details["attention within segments"] = _attention(rounds)
    for case, (name, shapes) in CASES.items():
        ways = _ways(_loaded(name), shapes)
        if not quick:
            ways[COMPILED] = _ways(_loaded(name, compiled=True), shapes)[ONE]
        took = race(ways, rounds)
        details[case] = {
            way: {"ms": ms(median(seconds)), "least_ms": ms(min(seconds))} for way, seconds in took.items()
        }
        figures += _figures(case, {way: median(seconds) for way, seconds in took.items()})
    return Result(figures=tuple(figures), details=details)


def _figures(case: str, took: dict[str, float]) -> list[Figure]:
    alone = min(took[way] for way in (ONE, JOINED, COMPILED) if way in took)
    against = [("one by one", alone), ("one by one as served", took[ONE])]
    if SAME in took:
        against.append(("same-size batches", took[SAME]))
    return [
        Figure(
            name=f"{case}: one batch against {name}",
            value=seconds / took[MIXED],
            unit="x",
            sense=">=",
            limit=TARGETS.get((case, name)),
        )
        for name, seconds in against
    ]


@cache
def _loaded(name: str, *, compiled: bool = False) -> Any:
    offer = describe(name, name)
    model: Any = load_model(offer)
    model.load(offer.components.values())
    if compiled:
        model.pipe.transformer.compile()
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


def _attention(rounds: int) -> dict[str, Any]:
    """Three ways for each segment's attention on a CPU: a call for each, a nested tensor, a dense mask."""
    lengths = [20 + (shape.height // 8) ** 2 // 4 for shape in SIZES] * 2  # text and image, both passes
    bounds = torch.tensor([0, *lengths]).cumsum(0)
    q, k, v = torch.randn(3, int(bounds[-1]), 4, 40)
    whose = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    mask, segments = whose[:, None] == whose, Segments(lengths)

    def nested() -> None:
        jagged = [torch.nested.nested_tensor_from_jagged(x, bounds).transpose(1, 2) for x in (q, k, v)]
        attention(jagged[0], jagged[1], jagged[2]).transpose(1, 2).values()

    def masked() -> None:
        heads = [x.transpose(0, 1)[None] for x in (q, k, v)]
        attention(heads[0], heads[1], heads[2], attn_mask=mask)

    took = race({"a call each": lambda: segments.attend(q, k, v), "nested": nested, "mask": masked}, 5 * rounds)
    return {"tokens": lengths, **{f"{way}_ms": ms(median(seconds)) for way, seconds in took.items()}}


def race(ways: dict[str, Way], rounds: int) -> dict[str, list[float]]:
    """Seconds of each round of each way; the first two rounds warm up (and compile). The order turns round by round."""
    took: dict[str, list[float]] = {way: [] for way in ways}
    order = list(ways)
    for turn in range(rounds + 2):
        for way in order:
            began = time.process_time()
            ways[way]()
            if turn > 1:
                took[way].append(time.process_time() - began)
        order.append(order.pop(0))
    return took


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main(measure)
