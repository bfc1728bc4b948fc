"""What the latents of the tiny models mean: smooth fields that say what is where, one value for each 8x8 pixels.

    ground   3  colour of the background
    ink      3  colour of the nearest shape
    form     3  which shape that is, one of six corners of an octahedron
    local    2  the point as that shape sees it: from its centre, in its radii, turned with it, cut off at REACH
    page     2  the point as the picture sees it: ramps from edge to edge
    time     1  (clips) a ramp from the first frame to the last

A latent learned from pixels packs the outline of a star into 8x8-pixel codes that a small transformer could not put
together in 8,000 steps (30% of shapes right, see docs/decisions/0011). These fields are constants and ramps, which it
learns as easily as colours; drawing the outline is the decoder's work, a local one. Flux and Wan know positions only
relative to each other, so `page` and `time` tell every token its place.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recipes.tiny import words
from recipes.tiny.drawing import local, position
from recipes.tiny.scenes import Scene, Thing

Array = NDArray[np.float32]
CELL = 8  # pixels a side
STRIDE = 4  # frames a latent frame, after the first
REACH = 2.5
AMPLITUDE = 2.0
FORMS: dict[str, tuple[int, int, int]] = {
    "circle": (1, 0, 0),
    "ring": (-1, 0, 0),
    "square": (0, 1, 0),
    "cross": (0, -1, 0),
    "triangle": (0, 0, 1),
    "star": (0, 0, -1),
}
IMAGE_CHANNELS = 13
VIDEO_CHANNELS = 14


def picture_fields(scenes: Sequence[Scene], *, height: int, width: int) -> Array:
    """[scene, 13, height / 8, width / 8]."""
    return np.stack([_at(scene, height, width, 0.0) for scene in scenes])


def clip_fields(scenes: Sequence[Scene], *, height: int, width: int, frames: int) -> Array:
    """[scene, 14, 1 + (frames - 1) / 4, height / 8, width / 8]; a latent frame tells of the last frame it covers."""
    progress = [index / max(frames - 1, 1) for index in range(0, frames, STRIDE)]
    return np.stack([np.stack([_with_time(scene, height, width, at) for at in progress], axis=1) for scene in scenes])


def _with_time(scene: Scene, height: int, width: int, progress: float) -> Array:
    now = np.full((1, height // CELL, width // CELL), REACH * (2.0 * progress - 1.0), np.float32)
    return np.concatenate([_at(scene, height, width, progress), now])


def _at(scene: Scene, height: int, width: int, progress: float) -> Array:
    ys, xs = ((np.mgrid[0 : height // CELL, 0 : width // CELL] + 0.5) * CELL).astype(np.float32)
    out = np.empty((IMAGE_CHANNELS, *xs.shape), np.float32)
    out[0:3] = _colour(scene.background)[:, None, None]
    out[11] = REACH * (2.0 * xs / width - 1.0)
    out[12] = REACH * (2.0 * ys / height - 1.0)
    owner = _owner(scene.things, xs / width, ys / height, progress)
    for index, thing in enumerate(scene.things):
        here = owner == index
        u, v, radius = local(thing, xs, ys, height=height, width=width, progress=progress)
        out[3:6, here] = _colour(thing.colour)[:, None]
        out[6:9, here] = AMPLITUDE * np.asarray(FORMS[thing.shape], np.float32)[:, None]
        out[9:11, here] = np.clip(np.stack([u, v])[:, here] / radius, -REACH, REACH)
    return out


def _colour(name: str) -> Array:
    return (np.asarray(words.COLOURS[name], np.float32) / 127.5 - 1.0) * AMPLITUDE


def _owner(things: tuple[Thing, ...], xs: Array, ys: Array, progress: float) -> NDArray[np.intp]:
    """Which shape's centre is nearest."""
    places = [position(thing, progress) for thing in things]
    return np.argmin(np.stack([(xs - x) ** 2 + (ys - y) ** 2 for x, y in places]), axis=0)
