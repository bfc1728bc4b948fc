"""Reads a clip back: every shape is followed through all frames, and its path, growth and rotation say how it moves.

A thing keeps one shape over the clip: the one that fits its first, middle and last sight together, turned or not.
Drift is what should not change from frame to frame: colours, and the area once steady growth is taken out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from recipes.tiny import words
from recipes.tiny.judge import FOLDS, Found, best_fit, found, read_picture
from recipes.tiny.segment import FULL_RANGE, Array, Blob, nearest_colour, segment

# Travel over the clip, as a share of the side, from which a shape counts as moving; the grammar's travel is 0.46.
MOVING = 0.15
# The grammar's growth makes the radius 2.4 times as long, its turn is 120 degrees.
GROWING = 1.3
TURNING = math.radians(60)
# A grown shape ends, a shrinking one begins, at 1.2 times the size it is called by.
SWELL = 1.2
MOST = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """Changes between neighbouring frames as shares, and how far the centre strays from a straight, even path.

    A frame in which the thing is missing counts as an area changed by 100%.
    """

    colour: tuple[float, ...]
    area: tuple[float, ...]
    stray: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipReading:
    background: str
    things: tuple[Found, ...]
    drifts: tuple[Drift, ...]
    residue: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """One thing through all frames; None where it was not seen."""

    blobs: tuple[Blob | None, ...]
    grounds: tuple[Array, ...]

    @property
    def seen(self) -> list[tuple[float, Blob]]:
        """Sights with their time, from 0 to 1."""
        last = max(len(self.blobs) - 1, 1)
        return [(index / last, blob) for index, blob in enumerate(self.blobs) if blob is not None]

    @property
    def lost(self) -> bool:
        return len(self.seen) < max(3, 0.75 * len(self.blobs))


def read_clip(clip: NDArray[np.uint8]) -> ClipReading:
    """What is in [frames, height, width, 3] bytes and how it moves; things by falling area in the middle frame."""
    frames = [segment(frame) for frame in clip]
    grounds = tuple(ground for ground, _ in frames)
    tracks = [Track(blobs=tuple(blobs), grounds=grounds) for blobs in _follow([blobs for _, blobs in frames])]
    things, drifts = [], []
    for track in tracks:
        thing = _read_track(track, clip.shape[1:])
        things.append(thing)
        drifts.append(_drift(track, clip.shape[1:], thing.motion))
    background = nearest_colour(np.median(np.stack(grounds), axis=0).astype(np.float32))
    residue = read_picture(clip[len(clip) // 2]).residue
    return ClipReading(background=background, things=tuple(things), drifts=tuple(drifts), residue=residue)


def read_motion(clip: NDArray[np.uint8]) -> str:
    """What the largest shape does: a direction, "grow", "shrink", "turn", "still", or "lost" where there is none."""
    things = read_clip(clip).things
    return things[0].motion if things else "lost"


def _follow(frames: list[list[Blob]]) -> list[list[Blob | None]]:
    """The things of the middle frame, each linked from frame to frame to the likest by colour and position."""
    middle = len(frames) // 2
    starts = frames[middle][:MOST]
    tracks: list[list[Blob | None]] = [[None] * len(frames) for _ in starts]
    for path in (range(middle, len(frames)), range(middle, -1, -1)):
        last = list(starts)
        for index in path:
            free = list(range(len(frames[index])))
            for number, before in enumerate(last):
                likest = min(free, key=lambda i: _unlike(before, frames[index][i]), default=None)
                if likest is None or _unlike(before, frames[index][likest]) > 0.5:
                    continue
                free.remove(likest)
                tracks[number][index] = last[number] = frames[index][likest]
    return tracks


def _unlike(one: Blob, two: Blob) -> float:
    """Difference of colour as a share of full range plus distance in radii, weighted so that a step is about 0.1."""
    apart = math.dist(one.centre, two.centre) / math.sqrt(one.area)
    return float(np.linalg.norm(one.ink - two.ink)) / FULL_RANGE + 0.25 * apart


def _read_track(track: Track, shape: tuple[int, ...]) -> Found:
    sights = _sights(track)
    fits = best_fit(sights, turned=True)
    motion = _motion(track, shape, fits[0].shape)
    radii = [fit.radius / min(shape[:2]) for fit in fits]
    radius = max(radii) / SWELL if motion in ("grow", "shrink") else float(np.median(radii))
    colour = nearest_colour(np.median(np.stack([blob.ink for _, blob in track.seen]), axis=0).astype(np.float32))
    return replace(found(sights[0], fits[0], shape), colour=colour, radius=radius, motion=motion)


def _sights(track: Track) -> list[Blob]:
    """Middle, first and last; what is much smaller than the largest of them says little about the shape."""
    blobs = [blob for _, blob in track.seen]
    middle = track.blobs[len(track.blobs) // 2] or blobs[0]
    ends = [blob for blob in (blobs[0], blobs[-1]) if blob.area > 0.5 * max(blobs[0].area, middle.area, blobs[-1].area)]
    return [middle, *ends]


def _motion(track: Track, shape: tuple[int, ...], kind: str) -> str:
    if track.lost:
        return "lost"
    (dx, dy), _ = _path(track, shape)
    if math.hypot(dx, dy) >= MOVING:
        return max(words.DIRECTIONS, key=lambda name: _agreement(words.DIRECTIONS[name], (dx, dy)))
    start, *_, end = _swelling(track)
    if end > GROWING * start:
        return "grow"
    if start > GROWING * end:
        return "shrink"
    return "turn" if abs(_rotation(track, FOLDS.get(kind, 0))) > TURNING else "still"


def _agreement(direction: tuple[int, int], step: tuple[float, float]) -> float:
    return (direction[0] * step[0] + direction[1] * step[1]) / math.hypot(*direction)


def _path(track: Track, shape: tuple[int, ...]) -> tuple[tuple[float, float], float]:
    """Travel of the best straight, even path as shares of width and height, and the RMS distance from it."""
    height, width = shape[:2]
    times = np.array([time for time, _ in track.seen])
    centres = np.array([blob.centre for _, blob in track.seen]) / (width, height)
    slopes, starts = np.polyfit(times, centres, 1)
    off = centres - times[:, None] * slopes - starts
    return (float(slopes[0]), float(slopes[1])), float(np.sqrt((off**2).sum(axis=1).mean()))


def _swelling(track: Track) -> NDArray[np.float64]:
    """The square root of the area at every frame, as the best straight line over time has it."""
    times, sides = zip(*((time, math.sqrt(blob.area)) for time, blob in track.seen), strict=True)
    slope, start = np.polyfit(times, sides, 1) if len(times) > 1 else (0.0, sides[0])
    line: NDArray[np.float64] = start + slope * np.linspace(0.0, 1.0, len(track.blobs))
    return line.clip(min=1.0)


def _rotation(track: Track, folds: int) -> float:
    """Radians turned in all; each step is known up to a symmetry of the shape and taken as the shortest."""
    if not folds:
        return 0.0
    moments = np.array([blob.fold(folds) for _, blob in track.seen])
    return float(np.angle(moments[1:] * moments[:-1].conj()).sum()) / folds


def _drift(track: Track, shape: tuple[int, ...], motion: str) -> Drift:
    line = _swelling(track) if motion in ("grow", "shrink") else np.ones(len(track.blobs))
    colour, area = [], []
    for index, (one, two) in enumerate(pairwise(track.blobs)):
        ground = _apart(track.grounds[index], track.grounds[index + 1])
        if one is None or two is None:
            colour.append(ground)
            area.append(1.0)
            continue
        colour.append(max(ground, _apart(one.ink, two.ink)))
        if not one.clipped and not two.clipped:
            expected = float(line[index + 1] / line[index]) ** 2
            area.append(abs(two.area / one.area / expected - 1.0))
    return Drift(colour=tuple(colour), area=tuple(area), stray=None if track.lost else _path(track, shape)[1])


def _apart(one: Array, two: Array) -> float:
    return float(np.linalg.norm(one - two)) / FULL_RANGE
