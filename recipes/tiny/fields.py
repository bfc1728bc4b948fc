"""What the latents of the tiny models mean: smooth fields that say what is where, one value for each 8x8 pixels.

    ground   3  colour of the background
    ink      3  colour of the nearest shape
    form     3  which shape that is, one of six corners of an octahedron
    local    2  the point as that shape sees it: from its centre, in its radii, turned with it, cut off at REACH
    page     2  the point as the picture sees it: ramps from edge to edge
    edge     4  signed distance to the shape's outline in each quarter of the cell, in cells, cut off at one
    time     1  (clips) a ramp from the first frame to the last
    before  18  (clips) `local` and `edge` one, two and three frames earlier: a latent frame covers four

A latent learned from pixels packs the outline of a star into 8x8-pixel codes that a small transformer could not put
together in 8,000 steps (30% of shapes right, see docs/decisions/0011). These fields are constants and ramps, which it
learns as easily as colours; drawing the outline is the decoder's work, a local one. `edge` follows from the rest but
spares the decoder the geometry: error 0.08 after 400 steps where it stood at 0.17 after 800 without. Without `before`
it had to guess the frames between. Flux and Wan know positions only relative to each other, so `page` and `time` tell
every token its place.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recipes.tiny import words
from recipes.tiny.drawing import distance, local, position
from recipes.tiny.scenes import Scene, Thing

Array = NDArray[np.float32]
CELL = 8  # pixels a side
STRIDE = 4  # frames a latent frame, after the first
REACH = 2.5
AMPLITUDE = 2.0
EDGE_WEIGHT = 3.0
FORMS: dict[str, tuple[int, int, int]] = {
    "circle": (1, 0, 0),
    "ring": (-1, 0, 0),
    "square": (0, 1, 0),
    "cross": (0, -1, 0),
    "triangle": (0, 0, 1),
    "star": (0, 0, -1),
}
NAMED, LOCAL, PAGE, EDGE = slice(3, 9), slice(9, 11), slice(11, 13), slice(13, 17)
IMAGE_CHANNELS = 17
PASSING = [9, 10, 13, 14, 15, 16]  # what may change from frame to frame within a latent frame
VIDEO_CHANNELS = IMAGE_CHANNELS + 1 + len(PASSING) * (STRIDE - 1)


def emphasis(channels: int, *, named: float = 1.0) -> Array:
    """[channels], mean 1: what an error in each counts, `named` that in colour and kind of the nearest shape.

    `edge` changes with every cell and is learned last.
    """
    weights = np.ones(channels, np.float32)
    weights[NAMED] = named
    weights[EDGE] = EDGE_WEIGHT
    passing = weights[PASSING]
    weights[IMAGE_CHANNELS + 1 :] = np.tile(passing, (channels - IMAGE_CHANNELS) // len(passing))
    return weights / weights.mean()


def picture_fields(scenes: Sequence[Scene], *, height: int, width: int) -> Array:
    """[scene, 17, height / 8, width / 8]."""
    return np.stack([_at(scene, height, width, 0.0) for scene in scenes])


def clip_fields(scenes: Sequence[Scene], *, height: int, width: int, frames: int) -> Array:
    """[scene, 36, 1 + (frames - 1) / 4, height / 8, width / 8]; a latent frame tells of the last frame it covers."""
    return np.stack([_clip(scene, height, width, frames) for scene in scenes])


def _clip(scene: Scene, height: int, width: int, frames: int) -> Array:
    progress = [index / max(frames - 1, 1) for index in range(frames)]
    if scene.moving:
        shown = [_at(scene, height, width, at) for at in progress]
    else:
        shown = [_at(scene, height, width, 0.0)] * frames
    clocks = [np.full((1, *shown[0].shape[1:]), REACH * (2.0 * at - 1.0), np.float32) for at in progress]
    latent = []
    for last in range(0, frames, STRIDE):
        before = [shown[max(last - ago, 0)][PASSING] for ago in range(1, STRIDE)]
        latent.append(np.concatenate([shown[last], clocks[last], *before]))
    return np.stack(latent, axis=1)


def _at(scene: Scene, height: int, width: int, progress: float) -> Array:
    ys, xs = _points(height, width, CELL)
    out = np.empty((IMAGE_CHANNELS, *xs.shape), np.float32)
    out[0:3] = _colour(scene.background)[:, None, None]
    out[PAGE] = REACH * (2.0 * np.stack([xs / width, ys / height]) - 1.0)
    owner = _owner(scene.things, xs / width, ys / height, progress)
    for index, thing in enumerate(scene.things):
        here = owner == index
        u, v, radius = local(thing, xs, ys, height=height, width=width, progress=progress)
        out[3:6, here] = _colour(thing.colour)[:, None]
        out[6:9, here] = AMPLITUDE * np.asarray(FORMS[thing.shape], np.float32)[:, None]
        out[LOCAL, here] = np.clip(np.stack([u, v])[:, here] / radius, -REACH, REACH)
    out[EDGE] = _edge(scene.things, height, width, progress)
    return out


def _edge(things: tuple[Thing, ...], height: int, width: int, progress: float) -> Array:
    ys, xs = _points(height, width, CELL // 2)
    inks = [(thing, *local(thing, xs, ys, height=height, width=width, progress=progress)) for thing in things]
    nearest = np.min([distance(thing.shape, u, v, radius) for thing, u, v, radius in inks], axis=0)
    quarters = AMPLITUDE * np.clip(nearest / CELL, -1.0, 1.0)
    rows, columns = height // CELL, width // CELL
    cells: Array = quarters.reshape(rows, 2, columns, 2).transpose(1, 3, 0, 2).reshape(4, rows, columns)
    return cells


def _points(height: int, width: int, pitch: int) -> Array:
    """Rows and columns of the middles of squares of `pitch` pixels."""
    points: Array = ((np.mgrid[0 : height // pitch, 0 : width // pitch] + 0.5) * pitch).astype(np.float32)
    return points


def _colour(name: str) -> Array:
    return (np.asarray(words.COLOURS[name], np.float32) / 127.5 - 1.0) * AMPLITUDE


def _owner(things: tuple[Thing, ...], xs: Array, ys: Array, progress: float) -> NDArray[np.intp]:
    """Which shape's centre is nearest."""
    places = [position(thing, progress) for thing in things]
    return np.argmin(np.stack([(xs - x) ** 2 + (ys - y) ** 2 for x, y in places]), axis=0)
