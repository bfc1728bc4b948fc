"""Scenes: what is in a picture or a clip, drawn at random from a seeded generator, and put into words.

A scene is plain values; `draw` turns it into pixels, `caption` into a sentence. The same scene has many captions
(synonyms, word order, details left out), so wording is drawn anew each time a stored scene is used.
"""

from __future__ import annotations

import random
import re
import zlib
from dataclasses import dataclass, replace

from recipes.tiny import words

TURNABLE = ("square", "triangle", "star", "cross")
# Share of the side that a moving shape travels within one clip, whatever its length: plain to see, never out of frame.
TRAVEL = 0.46
MOVES = 0.3  # share of the clips in which something travels
# What an empty prompt draws: background, colour, shape, and its motion in a clip.
UNASKED = (
    ("navy", "yellow", "star", "still"),
    ("white", "red", "circle", "right"),
    ("green", "white", "square", "up"),
    ("black", "pink", "ring", "grow"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """One shape. `place` is None where the scene names none; `x`, `y` are shares of width and height."""

    shape: str
    colour: str
    size: str
    x: float
    y: float
    place: str | None = None
    motion: str = "still"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    background: str
    things: tuple[Thing, ...]
    relation: str | None = None
    moving: bool = False


def random_image_scene(rng: random.Random, *, two: float = 0.3, held_out: bool = False) -> Scene:
    """One shape at a place, or (with chance `two`) a pair of them."""
    while True:
        scene = _pair(rng) if rng.random() < two else _single(rng)
        if is_held_out(scene) == held_out:
            return scene


def random_video_scene(rng: random.Random, *, two: float = 0.5, held_out: bool = False) -> Scene:
    """A shape that moves (one in three), grows, shrinks, turns or rests; often beside a second, still one."""
    while True:
        roll = rng.random()
        resting = _pair if roll < MOVES + two else _single
        scene = _travelling(rng) if roll < MOVES else _with_motion(resting(rng), rng)
        if is_held_out(scene) == held_out:
            return replace(scene, moving=True)


def random_unasked_scene(rng: random.Random, *, moving: bool) -> Scene:
    """One of a few. Of all that can be drawn, a model this small drew a mixture in every third picture."""
    ground, colour, shape, motion = rng.choice(UNASKED)
    size = "medium" if motion in words.DIRECTIONS else "big"
    thing = Thing(shape=shape, colour=colour, size=size, x=0.5, y=0.5, motion=motion if moving else "still")
    return Scene(background=ground, things=(thing,), moving=moving)


def is_held_out(scene: Scene) -> bool:
    """One in twelve combinations of background, colour and shape is never trained on: evaluation asks for those."""
    first = scene.things[0]
    return zlib.crc32(f"{scene.background} {first.colour} {first.shape}".encode()) % 12 == 0


def caption(scene: Scene, rng: random.Random) -> str:
    """A sentence for the scene: details are left out now and then, words and their order vary."""
    return caption_and_phrases(scene, rng)[0]


def caption_and_phrases(scene: Scene, rng: random.Random) -> tuple[str, list[str]]:
    """A caption, and the part of it that speaks of each thing."""
    ground = (
        f"{rng.choice(words.COLOUR_WORDS[scene.background])} {rng.choice(('background', 'background', 'backdrop'))}"
    )
    phrases = [_phrase(thing, scene, rng) for thing in scene.things]
    joint = "and"
    if scene.relation is not None:
        joint = rng.choice(words.RELATION_PHRASES[scene.relation])
    order = rng.choice(("a {1} with {0}", "on a {1}, {0}", "{0}, {1}", "{0} on a {1}", "{0} on a {1}"))
    return re.sub(r"\ba (?=[aeiou])", "an ", order.format(f" {joint} ".join(phrases), ground)), phrases


def _phrase(thing: Thing, scene: Scene, rng: random.Random) -> str:
    parts = ["a"]
    if rng.random() < (0.45 if thing.size == "medium" else 0.75):
        parts.append(rng.choice(words.SIZE_WORDS[thing.size]))
    parts += [rng.choice(words.COLOUR_WORDS[thing.colour]), rng.choice(words.SHAPE_WORDS[thing.shape])]
    place = [] if thing.place is None else [rng.choice(words.PLACE_PHRASES[thing.place])]
    motion = _motion_words(thing, rng) if scene.moving else []
    return " ".join(parts + (place + motion if rng.random() < 0.5 else motion + place))


def _motion_words(thing: Thing, rng: random.Random) -> list[str]:
    if thing.motion in words.DIRECTIONS:
        return [rng.choice(words.MOVE_VERBS), rng.choice(words.DIRECTION_PHRASES[thing.motion])]
    if thing.motion == "still" and rng.random() < 0.5:
        return []
    return [rng.choice(words.CHANGE_PHRASES[thing.motion])]


def _colours(rng: random.Random, count: int) -> list[str]:
    return rng.sample(sorted(words.COLOURS), count)


def _jitter(rng: random.Random, centre: float) -> float:
    return centre + rng.uniform(-0.03, 0.03)


def _thing(rng: random.Random, colour: str, place: str | None, size: str | None = None) -> Thing:
    x, y = words.PLACES[place or "center"]
    return Thing(
        shape=rng.choice(sorted(words.SHAPE_WORDS)),
        colour=colour,
        size=size or rng.choice(sorted(words.SIZES)),
        x=_jitter(rng, x),
        y=_jitter(rng, y),
        place=place,
    )


def _single(rng: random.Random) -> Scene:
    ground, colour = _colours(rng, 2)
    return Scene(background=ground, things=(_thing(rng, colour, rng.choice(sorted(words.PLACES))),))


def _pair(rng: random.Random) -> Scene:
    ground, one, two = _colours(rng, 3)
    sizes = [rng.choice(("small", "medium")) for _ in range(2)]
    if rng.random() < 0.5:
        names = rng.sample(sorted(words.PLACES), 2)
        while not _far(*names):
            names = rng.sample(sorted(words.PLACES), 2)
        pair = (_thing(rng, one, names[0], sizes[0]), _thing(rng, two, names[1], sizes[1]))
        return Scene(background=ground, things=pair)
    relation = rng.choice(sorted(words.RELATION_PHRASES))
    near, far = ("left", "right") if relation.endswith(" of") else ("top", "bottom")
    if relation in ("right of", "below"):
        near, far = far, near
    pair = (_thing(rng, one, near, sizes[0]), _thing(rng, two, far, sizes[1]))
    return Scene(background=ground, things=tuple(replace(thing, place=None) for thing in pair), relation=relation)


def _far(one: str, two: str) -> bool:
    (x1, y1), (x2, y2) = words.PLACES[one], words.PLACES[two]
    return max(abs(x1 - x2), abs(y1 - y2)) >= 0.5


def _travelling(rng: random.Random) -> Scene:
    """A shape that crosses the picture; for straight directions its lane may be named ("moving right at the top")."""
    ground, colour = _colours(rng, 2)
    motion = rng.choice(sorted(words.DIRECTIONS))
    dx, dy = words.DIRECTIONS[motion]
    lane = None
    if dx * dy == 0 and rng.random() < 0.4:
        lane = rng.choice(("top", "bottom") if dx else ("left", "right"))
    thing = _thing(rng, colour, lane, rng.choice(("small", "medium", "medium", "big")))
    if thing.size == "big" and lane is not None:
        thing = replace(thing, size="medium")
    return Scene(background=ground, things=(replace(thing, motion=motion),))


def _with_motion(scene: Scene, rng: random.Random) -> Scene:
    first, *others = scene.things
    kinds = ["grow", "shrink", "still"] + (["turn", "turn"] if first.shape in TURNABLE else [])  # the hardest
    return replace(scene, things=(replace(first, motion=rng.choice(kinds)), *others))
