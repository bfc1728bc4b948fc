"""Scenes to pixels: every shape is a signed distance in pixels, its coverage the anti-aliased clip of that distance.

A distance field needs no supersampling: a 64 px picture takes about 0.2 ms.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from recipes.tiny import words
from recipes.tiny.scenes import TRAVEL, Scene, Thing

Array = NDArray[np.float32]


def draw(scene: Scene, *, height: int, width: int, frames: int = 1) -> NDArray[np.uint8]:
    """Frames as [frames, height, width, 3]."""
    out = np.empty((frames, height, width, 3), np.float32)
    out[:] = words.COLOURS[scene.background]
    ys, xs = np.mgrid[0:height, 0:width].astype(np.float32) + np.float32(0.5)
    for thing in scene.things:
        ink = np.asarray(words.COLOURS[thing.colour], np.float32)
        cover: Array | None = None
        for index in range(frames):
            if cover is None or thing.motion != "still":
                cover = _coverage(thing, xs, ys, height, width, index / max(frames - 1, 1))
            out[index] += cover[..., None] * (ink - out[index])
    return np.clip(np.rint(out), 0, 255).astype(np.uint8)


def position(thing: Thing, progress: float) -> tuple[float, float]:
    """Where the shape is, as shares of width and height, at `progress` (0 to 1) of the clip."""
    dx, dy = words.DIRECTIONS.get(thing.motion, (0, 0))
    step = TRAVEL * (progress - 0.5)
    return thing.x + dx * step, thing.y + dy * step


def local(
    thing: Thing, xs: Array, ys: Array, *, height: int, width: int, progress: float
) -> tuple[Array, Array, float]:
    """Points of the picture, in pixels, as the shape sees them: from its centre, turned with it; and its radius."""
    x, y = position(thing, progress)
    radius = words.SIZES[thing.size] * min(height, width)
    angle = 0.0
    match thing.motion:
        case "grow":
            radius *= 0.5 + 0.7 * progress
        case "shrink":
            radius *= 1.2 - 0.7 * progress
        case "turn":
            angle = math.radians(120) * progress
    u, v = xs - np.float32(x * width), ys - np.float32(y * height)
    if angle:
        cos, sin = math.cos(angle), math.sin(angle)
        u, v = u * cos + v * sin, v * cos - u * sin
    return u, v, radius


def _coverage(thing: Thing, xs: Array, ys: Array, height: int, width: int, progress: float) -> Array:
    u, v, radius = local(thing, xs, ys, height=height, width=width, progress=progress)
    return np.clip(0.5 - distance(thing.shape, u, v, radius), 0.0, 1.0).astype(np.float32)


def distance(shape: str, u: Array, v: Array, radius: float) -> Array:
    """Signed distance (negative inside) to a shape of about equal visual weight for equal `radius`."""
    match shape:
        case "circle":
            return np.hypot(u, v) - radius
        case "ring":
            return np.abs(np.hypot(u, v) - 0.76 * radius) - 0.24 * radius
        case "square":
            return _box(u, v, 0.86 * radius, 0.86 * radius)
        case "cross":
            arm, half = radius, 0.32 * radius
            return np.minimum(_box(u, v, arm, half), _box(u, v, half, arm))
        case "triangle":
            return _polygon(u, v + 0.1 * radius, _corners(3, 1.15 * radius))
        case "star":
            return _polygon(u, v, _corners(5, 1.12 * radius, 0.45 * radius))
    raise ValueError(f"no shape {shape!r}: choose one of {sorted(words.SHAPE_WORDS)}")


def _box(u: Array, v: Array, half_width: float, half_height: float) -> Array:
    return np.maximum(np.abs(u) - half_width, np.abs(v) - half_height)


def _corners(points: int, outer: float, inner: float | None = None) -> list[tuple[float, float]]:
    """Corners of a regular polygon standing on its base, or of a star when `inner` is given."""
    radii = [outer] if inner is None else [outer, inner]
    count = points * len(radii)
    turns = [2 * math.pi * index / count - math.pi / 2 for index in range(count)]
    return [
        (radii[i % len(radii)] * math.cos(turn), radii[i % len(radii)] * math.sin(turn)) for i, turn in enumerate(turns)
    ]


def _polygon(u: Array, v: Array, corners: list[tuple[float, float]]) -> Array:
    """Exact distance to a simple polygon; the sign by counting crossings."""
    best = np.full_like(u, np.inf)
    inside = np.zeros(u.shape, bool)
    for (ax, ay), (bx, by) in _edges(corners):
        ex, ey = bx - ax, by - ay
        along = np.clip(((u - ax) * ex + (v - ay) * ey) / (ex * ex + ey * ey), 0.0, 1.0)
        best = np.minimum(best, np.hypot(u - ax - along * ex, v - ay - along * ey))
        if ey != 0.0:
            inside ^= ((ay > v) != (by > v)) & (u < ex * (v - ay) / ey + ax)
    return np.where(inside, -best, best).astype(np.float32)


def _edges(corners: list[tuple[float, float]]) -> Iterable[tuple[tuple[float, float], tuple[float, float]]]:
    return zip(corners, corners[1:] + corners[:1], strict=True)
