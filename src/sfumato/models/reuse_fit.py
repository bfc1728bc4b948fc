"""Fit the rules of reuse for a checkpoint: `python -m sfumato.models.reuse_fit sfumato/tiny-image`.

Draws some prompts exactly, learns for each span of blocks how its output strays from its forecast (least squares on
logarithms), and then finds by drawing, for each quality, the rule that is fastest while the pictures stay within
its PSNR of the exact ones: by threshold or learned, by tokens or whole requests. Writes `reuse.json` beside the
checkpoint and prints what each way gave.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch
from msgspec.structs import replace
from torch import Tensor

from sfumato.core.values import Shape
from sfumato.models import Offer, Payload, Task, describe, load_model
from sfumato.models.family import Quality
from sfumato.models.reuse_kept import Kept
from sfumato.models.reuse_rules import FEATURES, FILE, Habits, Rule, features

# The least PSNR to the exact picture, in dB: the mean less its standard error. 40 is taken for invisible; at 30 one
# sees it side by side.
LEAST_PSNR: dict[Quality, float] = {"high": 40.0, "fast": 30.0}
SPANS = 8  # at most: each holds what it added to every token
GAPS = (1, 2, 3, 4)
PROMPTS = (
    "a red circle on a blue background",
    "a small yellow star on a black background",
    "a big green square to the left on a white background",
    "a purple triangle above an orange cross",
    "a white cross at the bottom of a red background",
    "a blue circle to the right of a green square",
)
CLIPS = (
    "a red square moving right on a white background",
    "a small yellow star moving up on a black background",
    "a big green circle moving left on a purple background",
    "a blue triangle moving down on an orange background",
    "a small purple cross moving right on a green background",
    "a white circle moving down on a red background",
    "a big orange square moving up on a blue background",
    "a small black triangle moving left on a white background",
)


Course = list[dict[bool, Kept]]
"""What was kept of each pass after each step of a request."""


class Drawn(NamedTuple):
    """Pixels uint8, the share of the blocks that was not computed, and the seconds of all steps."""

    pixels: np.ndarray
    spared: float
    seconds: float


class Way(NamedTuple):
    """A kind of rule; its limits are tried from the strictest."""

    name: str
    rule: Rule
    limits: tuple[float, ...]


def draw(model: Any, task: Task, rule: Rule | None = None, watched: Course | None = None) -> Drawn:
    """One picture by a rule, or exactly; what was kept of each step is added to `watched`."""
    model.rules = {} if rule is None else {"fast": rule}
    task = replace(task, payload=replace(task.payload, quality="exact" if rule is None else "fast"))
    (state,) = model.encode([task])
    clock = time.process_time if model.device.type == "cpu" else time.perf_counter  # on a CPU others may run beside
    began = clock()
    while state.done < task.steps:
        model.step([state])
        if watched is not None:
            watched.append(dict(state.reuse))
    state.latent.cpu()  # waits for a GPU
    seconds = clock() - began
    while not model.decode(state):
        pass
    return Drawn(model.output(state), state.spared / task.steps, seconds)


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """In dB of uint8 pixels; equal ones have 99."""
    error = float(np.mean((one.astype(np.float64) - other.astype(np.float64)) ** 2))
    return min(99.0, 10 * float(np.log10(255**2 / error))) if error else 99.0


def watch(model: Any, tasks: Sequence[Task]) -> list[Course]:
    """What is kept of each step where all is computed, block by block up to SPANS of them."""
    count = min(SPANS, _blocks(model) - 1)
    computed = Rule(limit=-1.0, weights=((0.0,) * FEATURES,) * count)
    courses: list[Course] = [[] for _ in tasks]
    for task, course in zip(tasks, courses, strict=True):
        draw(model, task, computed, course)
    return courses


def learn(courses: Sequence[Course]) -> tuple[tuple[float, ...], ...]:
    """Weights of each span's predictor, from requests that were computed whole at every step."""
    rows = [row for course in courses for side in course[0] for row in _rows([kept[side] for kept in course])]
    read, strayed = (torch.cat(side, dim=1) for side in zip(*rows, strict=True))  # [spans, n, FEATURES], [spans, n]
    solved = torch.linalg.lstsq(read.double(), strayed.double()[..., None]).solution[..., 0]
    return tuple(tuple(round(float(weight), 4) for weight in span) for span in solved)


def _rows(course: list[Kept]) -> list[tuple[Tensor, Tensor]]:
    """Features and the logarithm of what is to be predicted, for a pass that reuses over each of GAPS."""
    firsts = [kept.first.float() for kept in course]
    changes = [(new - old).norm(dim=-1) / old.norm(dim=-1) for old, new in pairwise(firsts)]
    rows = []
    for gap in GAPS:
        for now in range(2 * gap, len(course)):
            before, past, new = course[now - 2 * gap], course[now - gap], course[now]
            apart = past.at - new.at
            line = (past.added - before.added) / (before.at - past.at)[..., None]
            forecast = past.added + line * apart[..., None]
            scale = new.added.sum(0).norm(dim=-1)
            end = course[now + 1].at if now + 1 < len(course) else 0.0
            strayed = (new.added - forecast).norm(dim=-1) / scale * (new.at - end)
            moved = torch.stack(changes[now - gap : now]).sum(0).expand_as(apart)
            rows.append((features(moved, apart, float(new.at[0, 0])), (strayed + 1e-9).log()))
    return rows


def ways(weights: tuple[tuple[float, ...], ...]) -> list[Way]:
    """By threshold and learned, whole requests and tokens."""
    moved = (0.05, 0.07, 0.1, 0.13, 0.17, 0.22, 0.28)
    strayed = (0.0004, 0.0006, 0.0008, 0.0011, 0.0015, 0.002)
    return [
        Way("threshold, whole requests", Rule(limit=0, patches=False), moved),
        Way("threshold, by token", Rule(limit=0), moved),
        Way("learned, whole requests", Rule(limit=0, weights=weights, patches=False), strayed),
        Way("learned, by token", Rule(limit=0, weights=weights), strayed),
    ]


def fit(model: Any, tasks: Sequence[Task]) -> Habits:
    """The rules of each quality for a loaded model; prints what it tries."""
    exact = [draw(model, task).pixels for task in tasks]
    best: dict[Quality, tuple[float, Rule]] = {}
    for way in ways(learn(watch(model, tasks))):
        for limit in way.limits:
            rule = replace(way.rule, limit=limit)
            drawn = [draw(model, task, rule) for task in tasks]
            each = [psnr(one.pixels, other) for one, other in zip(drawn, exact, strict=True)]
            near = float(np.mean(each)) - float(np.std(each)) / len(each) ** 0.5  # other prompts may be harder
            spared = float(np.mean([one.spared for one in drawn]))
            seconds = float(np.median([one.seconds for one in drawn]))
            told = f"PSNR {np.mean(each):5.1f} dB, {spared:4.0%} not computed, {seconds:.3f} s"
            print(f"{way.name:<28} limit {limit:<7g} {told}", flush=True)
            for quality, least in LEAST_PSNR.items():
                if near >= least and (quality not in best or seconds < best[quality][0]):
                    best[quality] = seconds, rule
            if near < min(LEAST_PSNR.values()):
                break
    part = model.offer.components["transformer"]
    return Habits(fitted_on=part, rules={quality: rule for quality, (_, rule) in best.items()})


def prompts_for(offer: Offer) -> Sequence[str]:
    """Scenes of shapes; what makes clips gets moving ones."""
    return CLIPS if offer.frames.max > 1 else PROMPTS


def fit_tasks(offer: Offer, prompts: Sequence[str], side: int | None = None) -> list[Task]:
    """A task for each prompt, by default of the smallest size and length."""
    shape = Shape(height=side or offer.sizes.min, width=side or offer.sizes.min, frames=offer.frames.min)
    payloads = [Payload(prompt=prompt, guidance=offer.default_guidance) for prompt in prompts]
    return [
        Task(id=str(i), shape=shape, steps=offer.default_steps, seed=1000 + i, payload=payload)
        for i, payload in enumerate(payloads)
    ]


def _blocks(model: Any) -> int:
    transformer = model.pipe.transformer
    names = ("blocks", "transformer_blocks", "single_transformer_blocks")
    return sum(len(getattr(transformer, name, ())) for name in names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a checkpoint whose family reuses")
    parser.add_argument("--prompts", type=Path, help="a file with a prompt on each line (default: scenes of shapes)")
    parser.add_argument("--count", type=int, help="prompts that are drawn (default: all)")
    parser.add_argument("--size", type=int, help="pixels of a side (default: the model's smallest)")
    parser.add_argument("--to", type=Path, help=f"the file (default: {FILE} in the checkpoint's folder)")
    given = parser.parse_args()
    offer = describe(given.model)
    if offer.qualities == ("exact",):
        sys.exit(f"{offer.name}: its family does not reuse between steps; give one of another")
    model: Any = load_model(offer)
    model.load(offer.components.values())
    lines = given.prompts.read_text().splitlines() if given.prompts else prompts_for(offer)
    tasks = fit_tasks(offer, lines[: given.count], given.size)
    path = given.to or Path(offer.path) / FILE
    path.write_bytes(msgspec.json.format(msgspec.json.encode(fit(model, tasks)), indent=1) + b"\n")
    print(path)


if __name__ == "__main__":
    main()
