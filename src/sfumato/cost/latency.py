"""How long a step of a mixed batch takes: PatchedServe's Throughput Analyzer, fitted to a profile's batches.

The paper (arXiv 2501.09253, published as MixFusion) trains a small network on measured latencies of 200 batches, with
the number of tasks of each resolution, of resolutions and of patches as its inputs, and reports an error below 3.7%.
Profiles hold some tens of rows at most, of batches of equals, so this is a line: seconds = a + b members + c megapixels
(patches) + d squares of each member's megapixels (attention within it), no coefficient negative, so that a member never
makes a batch faster. Least squares of the relative error. `error` is the mean relative error on every fifth row, of a
fit to the other four: 0.6% to 11% on the modelled profiles.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sfumato.core.values import Shape, Stage, Value
from sfumato.cost.profile import Point

FEWEST = 5  # rows, two of them batches, below which there is nothing to hold out
Floats = NDArray[np.float64]


class Latency(Value, frozen=True, kw_only=True):
    """Coefficients of (1, members, megapixels, their squares), rows they are fitted to, error on held-out rows."""

    coefficients: tuple[float, ...]
    rows: int
    error: float

    def __call__(self, shapes: Sequence[Shape]) -> float:
        """Seconds of a step of a batch of these shapes."""
        return sum(x * y for x, y in zip(_features(shapes), self.coefficients, strict=True))


def fit(points: Sequence[Point]) -> Latency | None:
    """The predictor of these points' steps (of one degree, all guided or none); None if they are too few."""
    rows = sorted(
        (point for point in points if point.stage is Stage.DIFFUSE), key=lambda p: (_pixels(p.shape), p.batch)
    )
    if len(rows) < FEWEST or sum(point.batch > 1 for point in rows) < 2:
        return None
    features = np.array([_features((point.shape,) * point.batch) for point in rows])
    seconds = np.array([point.seconds for point in rows])
    held = np.arange(len(rows)) % 5 == 2
    guess = features[held] @ _least_squares(features[~held], seconds[~held])
    error = float(np.mean(np.abs(guess / seconds[held] - 1.0)))
    found = _least_squares(features, seconds)
    return Latency(coefficients=tuple(map(float, found)), rows=len(rows), error=error)


def _features(shapes: Sequence[Shape]) -> tuple[float, ...]:
    sizes = [_pixels(shape) / 1e6 for shape in shapes]
    return 1.0, float(len(sizes)), sum(sizes), sum(size * size for size in sizes)


def _pixels(shape: Shape) -> int:
    return shape.height * shape.width * shape.frames


def _least_squares(features: Floats, seconds: Floats) -> Floats:
    """Of the relative error, without negative coefficients: while one is, the most negative leaves the line."""
    scaled, ones = features / seconds[:, None], np.ones(len(seconds))
    used = list(range(features.shape[1]))
    while True:
        found, *_ = np.linalg.lstsq(scaled[:, used], ones, rcond=None)
        worst = int(np.argmin(found))
        if found[worst] >= 0.0 or len(used) == 1:
            break
        del used[worst]
    coefficients = np.zeros(features.shape[1])
    coefficients[used] = found
    return coefficients
