"""The seconds of a unit from one profile: what was measured, else what lies between, else a rule; never refuses a size.

Rules, in this order: a measured setting is given back as it is; another size lies on the curve of its stage, degree and
passes; another batch keeps the ratio to batch 1 that was measured; two passes cost twice one; another degree follows
Amdahl's law. A batch of unlike shapes costs what its members cost among equals, times what the measured batches of
unlike shapes cost more than that. Passes on two halves of a group cost what one pass does on a half, times what the
measured halves cost more than that. Everything but the first is an estimate and says so. Size is height × width ×
frames.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from typing import NamedTuple

import numpy as np
from msgspec.structs import replace

from sfumato.core.cost import Work
from sfumato.core.values import Shape, Stage
from sfumato.cost.curve import Curve, Slopes
from sfumato.cost.profile import Mixed, Point, Profile

# Encoding takes the text's time at any size. Steps turn quadratic in the largest videos (attention). A VAE is linear.
SLOPES = {
    Stage.ENCODE: Slopes(low=0.0, high=0.3, alone=0.0),
    Stage.DIFFUSE: Slopes(low=0.7, high=2.0, alone=1.0),
    Stage.DECODE: Slopes(low=0.7, high=1.3, alone=1.0),
}
# The share of a stage that more ranks speed up, where it was measured at no degree above 1. Encode and decode run
# whole on every rank of their group.
PARALLEL = {Stage.ENCODE: 0.0, Stage.DIFFUSE: 0.9, Stage.DECODE: 0.0}
# What a guided unit costs in unguided ones, where only one of them was measured.
PASSES = {Stage.ENCODE: 2.0, Stage.DIFFUSE: 2.0, Stage.DECODE: 1.0}


class Price(NamedTuple):
    """Seconds of a unit, and whether that was estimated rather than measured."""

    seconds: float
    estimated: bool


class Table:
    """The points of a profile, ready to be asked."""

    def __init__(self, profile: Profile) -> None:
        self.stride = profile.frame_stride
        self._exact = {point.key: Price(point.seconds, point.estimated) for point in profile.points}
        self._measured = {point.stage for point in profile.points if not point.estimated}
        curves: dict[tuple[Stage, bool, int], list[tuple[float, float]]] = {}
        plain = tuple(point for point in profile.points if point.cfg == 1)
        for point in plain:
            if point.batch == 1:
                at = (self.size(point.stage, point.shape), point.seconds)
                curves.setdefault((point.stage, point.guided, point.degree), []).append(at)
        self._curves = {key: Curve(points, SLOPES[key[0]]) for key, points in curves.items()}
        self._ratios = self._batch_ratios(plain)
        self._mixed = {(_sorted(one.shapes), one.degree, one.guided): one.seconds for one in profile.mixed}
        self._unlike = median([one.seconds / self._as_alike(_work(profile, one)) for one in profile.mixed] or [1.0])
        self._halves = self._halves_ratios(profile)

    def covers(self, stage: Stage) -> bool:
        """Whether the stage was measured at all, at batch 1."""
        return any(key[0] is stage for key in self._curves)

    def guessed(self, stage: Stage) -> bool:
        """Whether nothing of the stage was measured by anybody."""
        return stage not in self._measured

    def size(self, stage: Stage, shape: Shape) -> float:
        """What the cost grows with: a unit of decode is one latent frame where the model decodes by those."""
        frames = 1 if stage is Stage.DECODE and self.stride else shape.frames
        return float(shape.height * shape.width * frames)

    def price(self, work: Work) -> Price:
        """One unit of `work`; its stage must be covered."""
        if work.guided and work.stage is Stage.DECODE:  # guidance ends with the last step
            work = replace(work, guided=False)
        batch, shape = len(work.shapes), work.shapes[0]
        same = all(other == shape for other in work.shapes)
        exact = self._exact.get((work.stage, shape, work.degree, batch, work.guided, work.cfg)) if same else None
        if exact is not None:
            return exact
        if work.cfg != 1:
            return self._halved(work)
        if batch == 1:
            return self._single(work.stage, shape, work.degree, work.guided)
        if same or work.stage is not Stage.DIFFUSE:
            return Price(self._as_alike(work), True)
        mixed = self._mixed.get((_sorted(work.shapes), work.degree, work.guided))
        return Price(self._as_alike(work) * self._unlike, True) if mixed is None else Price(mixed, False)

    def _as_alike(self, work: Work) -> float:
        """A batch whose members cost what they would among equals."""
        total = sum(self._single(work.stage, one, work.degree, work.guided).seconds for one in work.shapes)
        size = sum(self.size(work.stage, one) for one in work.shapes) / len(work.shapes)
        return total * self._ratio(work, len(work.shapes), size)

    def _single(self, stage: Stage, shape: Shape, degree: int, guided: bool) -> Price:
        exact = self._exact.get((stage, shape, degree, 1, guided, 1))
        if exact is not None:
            return exact
        size = self.size(stage, shape)
        for passes, factor in ((guided, 1.0), (not guided, PASSES[stage] if guided else 1.0 / PASSES[stage])):
            curve = self._curves.get((stage, passes, degree))
            if curve is not None:
                return Price(curve(size) * factor, True)
        return self._other_degree(stage, shape, degree, guided)

    def _other_degree(self, stage: Stage, shape: Shape, degree: int, guided: bool) -> Price:
        known = sorted({key[2] for key in self._curves if key[0] is stage})
        base = max((each for each in known if each < degree), default=known[0])
        share = self._parallel_share(stage, shape, base, guided)
        near = self._single(stage, shape, base, guided).seconds
        return Price(near * amdahl(share, degree) / amdahl(share, base), True)

    def _parallel_share(self, stage: Stage, shape: Shape, degree: int, guided: bool) -> float:
        if degree == 1 or not any(key[0] is stage and key[2] == 1 for key in self._curves):
            return PARALLEL[stage]
        ratio = self._single(stage, shape, degree, guided).seconds / self._single(stage, shape, 1, guided).seconds
        return min(1.0, max(0.0, (1.0 - ratio) / (1.0 - 1.0 / degree)))

    # -- halves ---------------------------------------------------------------------------------------------------

    def _halves_ratios(self, profile: Profile) -> dict[int, Callable[[float], float]]:
        """Ranks -> size -> seconds of both passes on the halves over those of one pass on a half."""
        found: dict[int, list[tuple[float, float]]] = {}
        for point in profile.points:
            if point.cfg == 2:
                work = Work(model=profile.model, stage=point.stage, shapes=(point.shape,) * point.batch)
                half_s = self.price(replace(work, degree=point.degree // 2)).seconds
                at = (self.size(point.stage, point.shape), point.seconds / half_s)
                found.setdefault(point.degree, []).append(at)
        return {degree: _line(points) for degree, points in found.items()}

    def _halved(self, work: Work) -> Price:
        """One pass on a half of the ranks, times the ratio of the nearest group that was measured."""
        half_s = self.price(replace(work, degree=work.degree // 2, guided=False, cfg=1)).seconds
        if not self._halves:
            return Price(half_s, True)
        near = min(self._halves, key=lambda degree: (abs(degree - work.degree), degree))
        size = sum(self.size(work.stage, shape) for shape in work.shapes) / len(work.shapes)
        return Price(half_s * self._halves[near](size), True)

    # -- batches --------------------------------------------------------------------------------------------------

    def _batch_ratios(
        self, points: tuple[Point, ...]
    ) -> dict[tuple[Stage, bool, int], dict[int, Callable[[float], float]]]:
        """(stage, passes, degree) -> batch -> size -> seconds of the batch over the sum of its members' alone."""
        found: dict[tuple[Stage, bool, int], dict[int, list[tuple[float, float]]]] = {}
        for point in points:
            if point.batch > 1 and (point.stage, point.guided, point.degree) in self._curves:
                alone = self._single(point.stage, point.shape, point.degree, point.guided).seconds
                at = (self.size(point.stage, point.shape), point.seconds / (point.batch * alone))
                found.setdefault((point.stage, point.guided, point.degree), {}).setdefault(point.batch, []).append(at)
        return {key: {batch: _line(at) for batch, at in sorted(batches.items())} for key, batches in found.items()}

    def _ratio(self, work: Work, batch: int, size: float) -> float:
        """Of the nearest setting with measured batches: linear between them, and with the last gain beyond."""
        keys = (
            (work.stage, passes, degree) for degree in (work.degree, 1) for passes in (work.guided, not work.guided)
        )
        lines = next((self._ratios[key] for key in keys if key in self._ratios), None)
        if lines is None:
            return 1.0
        spent = [(1, 1.0), *((b, b * line(size)) for b, line in lines.items())]  # in units of one job alone
        right = next((i for i, (b, _) in enumerate(spent) if b >= batch), len(spent) - 1)
        (b0, s0), (b1, s1) = spent[right - 1], spent[right]
        each = max(0.0, (s1 - s0) / (b1 - b0))  # one more job in the batch
        return max(s1 + each * (batch - b1), 1.0) / batch


def amdahl(share: float, degree: int) -> float:
    """Time at a degree over time at degree 1, when `share` of it runs in parallel."""
    return 1.0 - share + share / degree


def _sorted(shapes: tuple[Shape, ...]) -> tuple[Shape, ...]:
    return tuple(sorted(shapes, key=lambda shape: (shape.frames, shape.height, shape.width)))


def _work(profile: Profile, mixed: Mixed) -> Work:
    shapes, degree = mixed.shapes, mixed.degree
    return Work(model=profile.model, stage=Stage.DIFFUSE, shapes=shapes, degree=degree, guided=mixed.guided)


def _line(points: list[tuple[float, float]]) -> Callable[[float], float]:
    xs, ys = zip(*sorted(points), strict=True)
    logs = np.log(xs)
    return lambda size: float(np.interp(np.log(size), logs, ys))
