"""Reads a picture back: background, and each shape's colour, kind, place and size, by classical image processing alone.

Colours are the nearest of the palette. A shape is the anti-aliased outline that explains the coverage of a part best
once its centre and radius have been fitted; hard masks stretched to one box took small stars for crosses at 64 px.
It knows nothing of how pictures are sampled, and is checked on ground-truth drawings before it judges (`calibrate`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from recipes.tiny import words
from recipes.tiny.drawing import distance
from recipes.tiny.segment import Array, Blob, nearest_colour, segment

# A shape turned by 360 degrees / folds looks the same.
FOLDS = {"square": 4, "triangle": 3, "star": 5, "cross": 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A shape laid over a blob, in pixels; `error` is the sum of squared differences of coverage."""

    shape: str
    x: float
    y: float
    radius: float
    angle: float
    error: float

    def render(self, xs: Array, ys: Array) -> Array:
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        u, v = xs - np.float32(self.x), ys - np.float32(self.y)
        u, v = (u * cos + v * sin, v * cos - u * sin) if self.angle else (u, v)
        cover: Array = np.clip(0.5 - distance(self.shape, u, v, self.radius), 0.0, 1.0).astype(np.float32)
        return cover


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One shape; `x`, `y` are shares of width and height, `radius` of the shorter side."""

    shape: str
    colour: str
    x: float
    y: float
    radius: float
    motion: str = "still"

    @property
    def place(self) -> str:
        return min(words.PLACES, key=lambda name: math.dist(words.PLACES[name], (self.x, self.y)))

    @property
    def size(self) -> str:
        return min(words.SIZES, key=lambda name: abs(words.SIZES[name] - self.radius))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """`residue`: RMS difference from a clean drawing of what was read, as a share of full scale (blur, halo, grid)."""

    background: str
    things: tuple[Found, ...]
    residue: float


def read_picture(pixels: NDArray[np.uint8]) -> Reading:
    """What is in [height, width, 3] bytes; things by falling area."""
    ground, blobs = segment(pixels)
    fits = [best_fit([blob]) for blob in blobs]
    things = tuple(found(blob, fit, pixels.shape) for blob, (fit,) in zip(blobs, fits, strict=True))
    residue = _residue(pixels, ground, blobs, [fit for (fit,) in fits])
    return Reading(background=nearest_colour(ground), things=things, residue=residue)


def found(blob: Blob, fit: Fit, shape: tuple[int, ...]) -> Found:
    height, width = shape[:2]
    return Found(
        shape=fit.shape,
        colour=nearest_colour(blob.ink),
        x=fit.x / width,
        y=fit.y / height,
        radius=fit.radius / min(height, width),
    )


def best_fit(blobs: list[Blob], *, turned: bool = False) -> list[Fit]:
    """The one shape that explains all these sights of a thing best, laid over each; upright unless `turned`."""
    guesses = {shape: [_guess(blob, shape, turned) for blob in blobs] for shape in words.SHAPE_WORDS}
    likely = sorted(guesses, key=lambda shape: _misfit(blobs, guesses[shape]))[:3]
    fits = [[_refined(b, fit, turned) for b, fit in zip(blobs, guesses[shape], strict=True)] for shape in likely]
    return min(fits, key=lambda fit: _misfit(blobs, fit))


def _misfit(blobs: list[Blob], fits: list[Fit]) -> float:
    return sum(fit.error / blob.area for blob, fit in zip(blobs, fits, strict=True))


def _guess(blob: Blob, shape: str, turned: bool) -> Fit:
    """Centre, radius and angle from area, centroid and phase, exact but for what the picture's edge cuts off."""
    area, drop, phase = _unit(shape)
    radius = math.sqrt(blob.area / area)
    angle = 0.0
    if turned and shape in FOLDS:
        angle = float(np.angle(blob.fold(FOLDS[shape]) * np.conj(phase))) / FOLDS[shape]
    x, y = blob.centre
    return _fit(blob, shape, x + math.sin(angle) * drop * radius, y - math.cos(angle) * drop * radius, radius, angle)


@cache
def _unit(shape: str) -> tuple[float, float, complex]:
    """Area, depth of the centroid below the centre, and phase of the turning moment, all for radius 1."""
    scale = 100.0
    ys, xs = np.mgrid[-140:141, -140:141].astype(np.float32)
    cover = np.clip(0.5 - distance(shape, xs, ys, scale), 0.0, 1.0).astype(np.float32)
    blob = Blob(ink=np.zeros(3, np.float32), cover=cover, xs=xs, ys=ys, clipped=False)
    return blob.area / scale**2, blob.centre[1] / scale, blob.fold(FOLDS.get(shape, 1))


def _fit(blob: Blob, shape: str, x: float, y: float, radius: float, angle: float) -> Fit:
    fit = Fit(shape=shape, x=x, y=y, radius=radius, angle=angle, error=0.0)
    error = float(((blob.cover - fit.render(blob.xs, blob.ys)) ** 2).sum())
    return Fit(shape=shape, x=x, y=y, radius=radius, angle=angle, error=error)


def _refined(blob: Blob, fit: Fit, turned: bool, steps: int = 3) -> Fit:
    """Gauss-Newton on centre, radius and, for turned shapes, angle; a step that does not help ends it."""
    for _ in range(steps):
        form = fit.render(blob.xs, blob.ys)
        down, across = np.gradient(form)
        u, v = blob.xs - fit.x, blob.ys - fit.y
        slopes = [-across, -down, -(u * across + v * down) / fit.radius]
        if turned and fit.shape in FOLDS:
            slopes.append(v * across - u * down)
        matrix = np.stack([slope.ravel() for slope in slopes]).astype(np.float64)
        square = matrix @ matrix.T
        step = np.linalg.solve(square + 1e-3 * np.eye(len(square)), matrix @ (blob.cover - form).ravel())
        dx, dy, growth, turn = (*step, 0.0)[:4]
        radius = min(max(fit.radius + float(growth), 0.5 * fit.radius), 2.0 * fit.radius)
        better = _fit(blob, fit.shape, fit.x + float(dx), fit.y + float(dy), radius, fit.angle + float(turn))
        if better.error >= fit.error:
            break
        fit = better
    return fit


def _residue(pixels: NDArray[np.uint8], ground: Array, blobs: list[Blob], fits: list[Fit]) -> float:
    clean = np.broadcast_to(ground, pixels.shape).astype(np.float32)
    ys, xs = np.mgrid[: pixels.shape[0], : pixels.shape[1]].astype(np.float32) + np.float32(0.5)
    for blob, fit in zip(blobs, fits, strict=True):
        clean += fit.render(xs, ys)[..., None] * (blob.ink - clean)
    return float(np.sqrt(np.mean((pixels - clean) ** 2))) / 255.0
