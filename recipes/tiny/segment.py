"""Takes a picture apart: the background's colour, and the parts that stand out from it with their soft coverage.

Mixing with the background gives every pixel of a part a coverage from 0 to 1, so areas and centres are exact to a small
share of a pixel. A part is of one colour; shapes that touch are told apart by theirs.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from recipes.tiny import words

Array: TypeAlias = NDArray[np.float32]
Mask: TypeAlias = NDArray[np.bool_]

# The nearest two palette colours (navy, black) are 96 apart; anti-aliased rims lie between.
CONTRAST = 42.0
# A pixel this far off the line between background and ink belongs to another shape that touches the first.
OFF_LINE = 60.0
# Parts below this share of the shorter side squared are specks: a small star at half its size covers 0.5%.
SPECK = 0.003
MARGIN = 3
FULL_RANGE = math.dist((0, 0, 0), (255, 255, 255))


@dataclass(frozen=True, slots=True, kw_only=True)
class Blob:
    """A connected part of one colour: its coverage in a window whose pixel centres are `xs`, `ys`."""

    ink: Array
    cover: Array
    xs: Array
    ys: Array
    clipped: bool

    @property
    def area(self) -> float:
        return float(self.cover.sum())

    @property
    def centre(self) -> tuple[float, float]:
        return float((self.cover * self.xs).sum()) / self.area, float((self.cover * self.ys).sum()) / self.area

    def fold(self, count: int) -> complex:
        """The moment whose phase turns `count` times as fast as the shape does."""
        x, y = self.centre
        return complex((self.cover * ((self.xs - x) + 1j * (self.ys - y)) ** count).sum())


def nearest_colour(colour: Array) -> str:
    return min(words.COLOURS, key=lambda name: float(np.sum((np.asarray(words.COLOURS[name]) - colour) ** 2)))


def segment(pixels: NDArray[np.uint8]) -> tuple[Array, list[Blob]]:
    """The background's colour, and the parts that stand out from it by falling area."""
    picture = pixels.astype(np.float32)
    rim = np.concatenate([picture[:2].reshape(-1, 3), picture[-2:].reshape(-1, 3), picture[:, 0], picture[:, -1]])
    ground = np.median(rim, axis=0).astype(np.float32)
    contrast = np.linalg.norm(picture - ground, axis=-1)
    blobs = list(_blobs(picture, ground, contrast > CONTRAST))
    return ground, sorted(blobs, key=lambda blob: blob.area, reverse=True)


def _blobs(picture: Array, ground: Array, mask: Mask) -> Iterator[Blob]:
    """Every 8-connected part that is no speck; what is of another colour within one counts as a part of its own."""
    speck = SPECK * min(mask.shape) ** 2
    labels, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        rows, columns = (slice(max(0, side.start - MARGIN), side.stop + MARGIN) for side in box)
        part = labels[rows, columns] == number
        if part.sum() < speck:
            continue
        ink, strange = _ink(picture[rows, columns], ground, part)
        if strange.sum() >= speck and ndimage.binary_opening(strange).any():
            whole = np.zeros_like(mask)
            whole[rows, columns] = strange
            yield from _blobs(picture, ground, whole)
            part &= ~strange
        if part.sum() >= speck:
            yield _blob(picture, ground, ink, part, (rows, columns))


def _ink(patch: Array, ground: Array, part: Mask) -> tuple[Array, Mask]:
    """The colour of the quarter that lies deepest inside, and where the part has quite another one."""
    depth = ndimage.distance_transform_edt(np.pad(part, 1))[1:-1, 1:-1]
    inside = patch[part & (depth >= np.quantile(depth[part], 0.75))]
    # The pixel nearest to the median: the median of a motley part may be a colour that it does not hold.
    ink = inside[np.argmin(np.linalg.norm(inside - np.median(inside, axis=0), axis=-1))]
    share = _share(patch, ground, ink)
    off = np.linalg.norm(patch - ground - share[..., None] * (ink - ground), axis=-1)
    return ink, part & (off > OFF_LINE)


def _share(patch: Array, ground: Array, ink: Array) -> Array:
    step = ink - ground
    return np.clip((patch - ground) @ step / max(float(step @ step), 1.0), 0.0, 1.0).astype(np.float32)


def _blob(picture: Array, ground: Array, ink: Array, part: Mask, window: tuple[slice, slice]) -> Blob:
    rows, columns = window
    height, width = picture.shape[:2]
    # Faint rims lie outside the mask, never more than two pixels.
    near = ndimage.binary_dilation(part, iterations=2)
    ys, xs = np.mgrid[rows.start : rows.start + part.shape[0], columns.start : columns.start + part.shape[1]]
    edge = (xs == 0) | (ys == 0) | (xs == width - 1) | (ys == height - 1)
    return Blob(
        ink=ink,
        cover=_share(picture[rows, columns], ground, ink) * near,
        xs=xs.astype(np.float32) + np.float32(0.5),
        ys=ys.astype(np.float32) + np.float32(0.5),
        clipped=bool((part & edge).any()),
    )
