"""What of a scene a picture or a clip gets right: one mark for each thing that its prompt asks for.

A wrong colour must not also cost shape and place, so things are matched by colour first and by area else. A scene of
two is right when both colours and both places, or the relation that was asked for, are.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeAlias

from recipes.tiny import words
from recipes.tiny.judge import Found, Reading
from recipes.tiny.judge_clip import ClipReading
from recipes.tiny.scenes import Scene, Thing

# Centres of a related pair are half a side apart.
APART = 0.2
Marks: TypeAlias = dict[str, bool]
# [right, asked] by name.
Tally: TypeAlias = dict[str, list[int]]


def mark(scene: Scene, reading: Reading | ClipReading, prompt: str | None = None) -> Marks:
    """Marks by name: of a clip's middle, and of its motion. Sizes count where the prompt names them, or without one."""
    found = match(scene.things, reading.things)
    pairs = list(zip(scene.things, found, strict=True))
    colours = all(got is not None and got.colour == thing.colour for thing, got in pairs)
    marks = {
        "background": reading.background == scene.background,
        "colour": colours,
        "shape": all(got is not None and got.shape == thing.shape for thing, got in pairs),
        "count": len(reading.things) == len(scene.things),
    }
    sized = [(thing, got) for thing, got in pairs if prompt is None or names_size(prompt, thing)]
    if sized:
        marks["size"] = all(got is not None and got.size == thing.size for thing, got in sized)
    if scene.relation is not None:
        marks["relation"] = _related(scene.relation, found)
    elif all(thing.place for thing in scene.things):
        marks["place"] = all(got is not None and got.place == thing.place for thing, got in pairs)
    if len(pairs) == 2:
        marks["both objects"] = colours and marks.get("relation", marks.get("place", True))
    return marks | _motion_marks(scene, found) if isinstance(reading, ClipReading) else marks


def _motion_marks(scene: Scene, found: list[Found | None]) -> Marks:
    """Whether the first thing moves as asked; a second thing always stands still."""
    motion = scene.things[0].motion
    name = "direction" if motion in words.DIRECTIONS else "grow, shrink" if motion in ("grow", "shrink") else motion
    moves = [got is not None and got.motion == thing.motion for thing, got in zip(scene.things, found, strict=True)]
    return {name: moves[0]} | ({"second still": all(moves[1:])} if moves[1:] else {})


def tally(marks: Iterable[Marks]) -> Tally:
    counts: Tally = {}
    for each in marks:
        for name, good in each.items():
            count = counts.setdefault(name, [0, 0])
            count[0] += good
            count[1] += 1
    return counts


def match(things: Sequence[Thing], found: Sequence[Found]) -> list[Found | None]:
    """For each thing the found one of its colour, else the largest that is left, else None."""
    left = list(found)
    matched: list[Found | None] = []
    for thing in things:
        same = next((got for got in left if got.colour == thing.colour), None)
        matched.append(same)
        left = [got for got in left if got is not same]
    return [got if got is not None else left.pop(0) if left else None for got in matched]


def names_size(prompt: str, thing: Thing) -> bool:
    """Whether a word for its size stands before the thing's colour, which no other thing of the scene has."""
    return any(
        f"{size} {colour}" in prompt
        for size in words.SIZE_WORDS[thing.size]
        for colour in words.COLOUR_WORDS[thing.colour]
    )


def _related(relation: str, found: list[Found | None]) -> bool:
    one, two = found
    if one is None or two is None:
        return False
    gaps = {"left of": two.x - one.x, "right of": one.x - two.x, "above": two.y - one.y, "below": one.y - two.y}
    return gaps[relation] > APART
