"""Reads a picture back: background, and each shape's colour, kind and place, by classical image processing alone.

Colours are the nearest of the palette. A shape is the template whose outline, stretched to the same box, overlaps
best. It knows nothing of how pictures are made, and is itself checked on ground-truth drawings before it judges.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from recipes.tiny import words
from recipes.tiny.drawing import distance

TEMPLATE = 48
# The nearest two palette colours (navy, black) are 96 apart; anti-aliased rims lie between.
CONTRAST = 42.0
# Parts below this share of the picture are specks: the smallest grammar shape, a small cross, covers 1.3%.
SPECK = 0.004
# Travel, as a share of the side, below which a shape counts as resting; the grammar's travel is 0.46.
RESTING = 0.12


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    shape: str
    colour: str
    x: float
    y: float
    area: float

    @property
    def place(self) -> str:
        return min(words.PLACES, key=lambda name: math.dist(words.PLACES[name], (self.x, self.y)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    background: str
    things: tuple[Found, ...]


def read_picture(pixels: NDArray[np.uint8]) -> Reading:
    """What is in [height, width, 3] bytes; things by falling area."""
    picture = pixels.astype(np.float32)
    rim = np.concatenate([picture[:2].reshape(-1, 3), picture[-2:].reshape(-1, 3), picture[:, 0], picture[:, -1]])
    ground = np.median(rim, axis=0)
    contrast = np.linalg.norm(picture - ground, axis=-1)
    parts = [part for part in connected_parts(contrast > CONTRAST) if part.mean() > SPECK]
    things = [_found(picture, contrast, part) for part in parts]
    ordered = sorted(things, key=lambda thing: thing.area, reverse=True)
    return Reading(background=nearest_colour(ground), things=tuple(ordered))


def read_motion(clip: NDArray[np.uint8]) -> str:
    """What the largest shape of [frames, height, width, 3] does: a direction, "grow", "shrink" or "still"."""
    tracks = [_largest(frame) for frame in clip]
    seen = [thing for thing in tracks if thing is not None]
    if len(seen) < len(tracks) // 2 or len(seen) < 2:
        return "lost"
    first, last = seen[0], seen[-1]
    dx, dy = last.x - first.x, last.y - first.y
    if math.hypot(dx, dy) >= RESTING:
        return max(words.DIRECTIONS, key=lambda name: _agreement(words.DIRECTIONS[name], (dx, dy)))
    ratio = last.area / first.area
    return "grow" if ratio > 1.5 else "shrink" if ratio < 1 / 1.5 else "still"


def connected_parts(mask: NDArray[np.bool_]) -> list[NDArray[np.bool_]]:
    """The 8-connected parts: every pixel takes the highest label around it until nothing changes."""
    labels = np.where(mask, np.arange(1, mask.size + 1).reshape(mask.shape), 0)
    while True:
        wide = np.pad(labels, 1)
        tall = np.maximum(np.maximum(wide[:-2], wide[1:-1]), wide[2:])
        spread = np.where(mask, np.maximum(np.maximum(tall[:, :-2], tall[:, 1:-1]), tall[:, 2:]), 0)
        if np.array_equal(spread, labels):
            return [labels == label for label in np.unique(labels[mask])]
        labels = spread


def nearest_colour(colour: NDArray[np.float32]) -> str:
    return min(words.COLOURS, key=lambda name: float(np.sum((np.asarray(words.COLOURS[name]) - colour) ** 2)))


def _largest(frame: NDArray[np.uint8]) -> Found | None:
    things = read_picture(frame).things
    return things[0] if things else None


def _agreement(direction: tuple[int, int], step: tuple[float, float]) -> float:
    return (direction[0] * step[0] + direction[1] * step[1]) / math.hypot(*direction)


def _found(picture: NDArray[np.float32], contrast: NDArray[np.float32], part: NDArray[np.bool_]) -> Found:
    height, width = part.shape
    rows, columns = np.nonzero(part)
    # The rim is blended with the background: the colour is that of the half that differs most from it.
    strength = contrast[part]
    colour = np.median(picture[part][strength >= np.median(strength)], axis=0)
    x = (columns.min() + columns.max() + 1) / 2 / width
    y = (rows.min() + rows.max() + 1) / 2 / height
    return Found(shape=_best_shape(part), colour=nearest_colour(colour), x=x, y=y, area=float(part.mean()))


def _best_shape(part: NDArray[np.bool_]) -> str:
    mask = _stretch(part)
    overlap = {shape: np.minimum(mask, form).sum() / np.maximum(mask, form).sum() for shape, form in _templates()}
    return max(overlap, key=lambda shape: float(overlap[shape]))


def _stretch(mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    rows, columns = np.nonzero(mask)
    box = mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    image = Image.fromarray(box.astype(np.uint8) * 255).resize((TEMPLATE, TEMPLATE), Image.Resampling.BILINEAR)
    return np.asarray(image, np.float32) / 255.0


@cache
def _templates() -> tuple[tuple[str, NDArray[np.float32]], ...]:
    ys, xs = np.mgrid[-64:65, -64:65].astype(np.float32)
    return tuple((shape, _stretch(distance(shape, xs, ys, 50.0) < 0)) for shape in words.SHAPE_WORDS)
