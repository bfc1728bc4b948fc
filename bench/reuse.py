"""Reuse between steps: what each quality costs and saves, and two public caches beside it, on the same model.

The embedded models at 64 px with held-out prompts, one picture at a time on one thread. Exact is what `quality: exact`
gives; loss is PSNR and SSIM against it with the same seed, and what the recipe's judge finds right of colour, place,
shape and motion. Gain is CPU seconds a picture (encode to pixels) and the share of the blocks that was not computed.
The public caches are hooks of diffusers on its own pipeline: FirstBlockCache and TaylorSeer, by their own settings.
Writes the plot and the table of docs/reuse.md.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from msgspec.structs import replace

from bench.figure import Figure, Result, main
from bench.reuse_page import Row, write
from bench.reuse_public import first_block, stock, taylor_seer
from recipes.tiny.exam import exam
from recipes.tiny.judge import read_picture
from recipes.tiny.judge_clip import read_clip
from recipes.tiny.marks import mark, tally
from sfumato.core.values import Shape
from sfumato.models import Payload, Task, describe, load_model
from sfumato.models.family import QUALITIES, Quality
from sfumato.models.reuse_fit import LEAST_PSNR, draw, fit_tasks, learn, prompts_for, psnr, watch
from sfumato.models.reuse_rules import Rule, read_habits

IMAGE, VIDEO = "image", "video"
SEED, SIDE = 5000, 64
OWN = ("quality", "threshold", "learned")
THRESHOLDS, ESTIMATES = (0.05, 0.1, 0.2), (0.0003, 0.0006, 0.0011)
Pixels = np.ndarray
Draw = Callable[[str, int], tuple[Pixels, float]]
"""From a prompt and a seed: pixels [frames, H, W, 3] and the share of the blocks that was not computed."""


class Run(NamedTuple):
    """One picture; `spared` is the share of the blocks that was not computed."""

    pixels: Pixels
    spared: float
    seconds: float


class Way(NamedTuple):
    """One setting of one technique; those of one `line` are joined in the plot."""

    line: str
    setting: str
    draw: Draw


def measure(quick: bool) -> Result:
    torch.set_num_threads(1)
    rows = [*measure_family(IMAGE, 4 if quick else 20), *measure_family(VIDEO, 2 if quick else 8)]
    write(rows, quick=quick)
    return Result(figures=tuple(_figures(rows)), details={"rows": [row._asdict() for row in rows], "side": SIDE})


def _figures(rows: Sequence[Row]) -> list[Figure]:
    figures = []
    for row in rows:
        if row.line != "quality" or row.setting == "exact":
            continue
        name = f"tiny-{row.family}, quality {row.setting}"
        least = LEAST_PSNR[row.setting]  # type: ignore[index]
        figures.append(Figure(name=f"{name}: PSNR to exact", value=row.psnr, unit="dB", sense=">=", limit=least))
        figures.append(Figure(name=f"{name}: SSIM to exact", value=row.ssim))
        figures.append(Figure(name=f"{name}: judged right, exact has {row.right_exact:.3f}", value=row.right))
        figures.append(Figure(name=f"{name}: blocks not computed", value=100 * row.spared, unit="%"))
        figures.append(Figure(name=f"{name}: faster than exact", value=row.faster, unit="x", sense=">="))
    return figures


def measure_family(family: str, count: int) -> list[Row]:
    """All ways on one embedded model, by turns over `count` prompts."""
    scenes, prompts = exam(family, count, SEED)
    ways = [*own_ways(family), *public_ways(family)]
    runs: list[list[Run]] = [[] for _ in ways]
    for way in ways:
        way.draw(prompts[0], SEED)  # warm
    for seed, prompt in enumerate(prompts, SEED):
        for way, each in zip(ways, runs, strict=True):
            began = time.process_time()
            pixels, spared = way.draw(prompt, seed)
            each.append(Run(pixels, spared, time.process_time() - began))
    marks = [_marks(family, scenes, prompts, [run.pixels for run in each]) for each in runs]
    exact = runs[0]
    stock_s = next(_seconds(each) for way, each in zip(ways, runs, strict=True) if way.line == "pipeline")
    rows = []
    for way, each, marked in zip(ways, runs, marks, strict=True):
        base_s = _seconds(exact) if way.line in OWN else stock_s
        pairs = [(run.pixels, true.pixels) for run, true in zip(each, exact, strict=True)]
        rows.append(
            Row(
                family=family,
                line=way.line,
                setting=way.setting,
                psnr=float(np.mean([psnr(*pair) for pair in pairs])),
                ssim=float(np.mean([ssim(*pair) for pair in pairs])),
                right=_share(marked),
                right_exact=_share(marks[0]),
                marks=marked,
                spared=float(np.mean([run.spared for run in each])),
                seconds=_seconds(each),
                faster=base_s / _seconds(each),
                prompts=len(prompts),
            )
        )
    return rows


def _seconds(runs: Sequence[Run]) -> float:
    return float(np.median([run.seconds for run in runs]))


def _share(marks: dict[str, list[int]]) -> float:
    return sum(good for good, _ in marks.values()) / sum(asked for _, asked in marks.values())


def _marks(family: str, scenes: Any, prompts: Sequence[str], drawn: Sequence[Pixels]) -> dict[str, list[int]]:
    """What the judge finds right: [right, asked] by name."""
    readings = [read_picture(clip[0]) if family == IMAGE else read_clip(clip) for clip in drawn]
    return tally(mark(*asked) for asked in zip(scenes, readings, prompts, strict=True))


def _shape(family: str) -> Shape:
    return Shape(height=SIDE, width=SIDE, frames=9 if family == VIDEO else 1)


@cache
def _loaded(family: str) -> Any:
    offer = describe(f"sfumato/tiny-{family}")
    model: Any = load_model(offer)
    model.load(offer.components.values())
    return model


def _own(family: str, rule: Rule | None) -> Draw:
    """Draws with the adapter; `rule` None is exact."""

    def drawn(prompt: str, seed: int) -> tuple[Pixels, float]:
        model = _loaded(family)
        quality: Quality = "exact" if rule is None else "fast"
        payload = Payload(prompt=prompt, guidance=model.offer.default_guidance, quality=quality)
        task = Task(id="r", shape=_shape(family), steps=model.offer.default_steps, seed=seed, payload=payload)
        one = draw(model, task, rule)
        return one.pixels, one.spared

    return drawn


def own_ways(family: str) -> list[Way]:
    """The qualities as they are shipped; and by threshold and learned, by token and whole, at some limits."""
    shipped = read_habits(Path(_loaded(family).offer.path)).rules
    ways = [Way("quality", name, _own(family, shipped.get(name))) for name in QUALITIES]
    if family == VIDEO:
        return ways
    weights = next((rule.weights for rule in shipped.values() if rule.weights), learned(family))
    kinds = {"threshold": (Rule(limit=0), THRESHOLDS), "learned": (Rule(limit=0, weights=weights), ESTIMATES)}
    for line, (rule, limits) in kinds.items():
        for tokens, where in ((False, "whole"), (True, "by token")):
            some = [replace(rule, limit=limit, patches=tokens) for limit in limits]
            ways += [Way(line, f"{rule.limit:g}, {where}", _own(family, rule)) for rule in some]
    return ways


def learned(family: str) -> tuple[tuple[float, ...], ...]:
    """A predictor's weights, fitted here: where none of the shipped rules has one."""
    model = _loaded(family)
    tasks = fit_tasks(model.offer, prompts_for(model.offer)[:3])
    return learn(watch(model, tasks))


def public_ways(family: str) -> list[Way]:
    """The stock pipeline, and with each cache at some of its settings."""
    ways = [Way("pipeline", "no cache", stock(family, SIDE))]
    some = (0.05, 0.1, 0.2) if family == IMAGE else (0.1,)
    ways += [Way("FirstBlockCache", f"{at:g}", stock(family, SIDE, first_block(at))) for at in some]
    each = (2, 3, 5) if family == IMAGE else (3,)
    return ways + [Way("TaylorSeer", f"one in {n}", stock(family, SIDE, taylor_seer(n))) for n in each]


def ssim(one: Pixels, other: Pixels) -> float:
    """Mean structural similarity of the brightness, over windows of 7x7 pixels (Wang et al., 2004)."""
    from scipy.ndimage import uniform_filter

    a, b = (pixels.astype(np.float64).mean(-1) for pixels in (one, other))
    window = (1, 7, 7)
    mean_a, mean_b = uniform_filter(a, window), uniform_filter(b, window)
    var_a, var_b = uniform_filter(a * a, window) - mean_a**2, uniform_filter(b * b, window) - mean_b**2
    both = uniform_filter(a * b, window) - mean_a * mean_b
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    bright, contrast = (mean_a**2 + mean_b**2 + c1), (var_a + var_b + c2)
    return float(np.mean((2 * mean_a * mean_b + c1) * (2 * both + c2) / (bright * contrast)))


if __name__ == "__main__":
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    main(measure)
