"""A cost model for tests: round numbers, exact arithmetic, and an optional correction so that `observe` matters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sfumato.core.cost import Work
from sfumato.core.values import EXACT, Group, Job, ModelSpec, Shape, Stage, StageSpec

MODELS = {
    "image": ModelSpec(
        name="image",
        encode=StageSpec(parts=("text",)),
        diffuse=StageSpec(parts=("dit",), degrees=(1, 2, 4), max_batch=4, halves=True),
        decode=StageSpec(parts=("vae",), degrees=(1, 2)),
        part_bytes={"text": 100, "dit": 1000, "vae": 50},
    ),
    "video": ModelSpec(
        name="video",
        encode=StageSpec(parts=("text",)),
        diffuse=StageSpec(parts=("dit-v",), degrees=(1, 2, 4), max_batch=2),
        decode=StageSpec(parts=("vae-v",)),
        part_bytes={"text": 100, "dit-v": 2000, "vae-v": 80},
        frame_stride=4,
    ),
}
PARTS = ("text", "dit", "vae", "dit-v", "vae-v")


class PlainCosts:
    """Seconds proportional to pixels, an efficiency of 3/4 for each doubling, a start of 1/1024 s."""

    left = {"fast": 0.5}  # of a step that may be reused
    reusing = 25  # bytes that its job holds until it is decoded

    def __init__(self) -> None:
        self.factor = 1.0

    def unit_s(self, work: Work) -> float:
        pixels = sum(shape.height * shape.width * shape.frames for shape in work.shapes)
        rate = {Stage.ENCODE: 2**-22, Stage.DIFFUSE: 2**-18, Stage.DECODE: 2**-20}[work.stage]
        speedup = {1: 1.0, 2: 1.5, 4: 2.25, 8: 3.375}[work.degree // work.cfg]
        left = [self.left.get(quality, 1.0) for quality in work.qualities] or [1.0]
        passes = (2 if work.guided else 1) / work.cfg
        return pixels * rate * passes / speedup * self.factor * sum(left) / len(left)

    def start_s(self, work: Work, group: Group, sources: Sequence[Group | None]) -> float:
        return 2**-10 * (1 + sum(source is not None and source != group for source in sources))

    def load_s(self, part: str, part_bytes: int, device: str) -> float:
        return part_bytes / 1024

    def held_bytes(self, job: Job, model: ModelSpec) -> int:
        return 10 if job.request.quality == EXACT or job.stage is Stage.DECODE else self.reusing

    def peak_bytes(self, work: Work) -> int:
        return 100 * len(work.shapes)

    def observe(self, work: Work, rank: int, units: int, seconds: float, start_s: float | None = None) -> None:
        predicted = units * self.unit_s(work)
        if predicted > 0:
            self.factor += 0.125 * (seconds / predicted - 1) * self.factor

    def state(self) -> Any:
        return self.factor

    def restore(self, state: Any) -> None:
        self.factor = state


SMALL = Shape(height=64, width=64)
LARGE = Shape(height=256, width=256)
CLIP = Shape(height=64, width=64, frames=17)
