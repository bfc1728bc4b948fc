"""Sentences about coloured shapes, in the words that the embedded tiny models were trained on.

A sentence follows from its number alone, so a trace need not be made in order. Real models draw them as well.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

from numpy.random import Generator

from sfumato.workload.streams import stream

T = TypeVar("T")

COLOURS: tuple[tuple[str, ...], ...] = (
    ("red", "crimson", "scarlet"),
    ("orange",),
    ("yellow", "golden"),
    ("green", "emerald"),
    ("cyan", "turquoise"),
    ("blue", "azure"),
    ("navy",),
    ("purple", "violet"),
    ("pink", "rose"),
    ("white", "snowy"),
    ("gray", "grey"),
    ("black",),
)
SHAPES: tuple[tuple[str, ...], ...] = (
    ("circle", "disc", "ball"),
    ("square", "box"),
    ("triangle",),
    ("star",),
    ("ring", "hoop"),
    ("cross",),
)
SIZES = ("small", "little", "tiny", "medium", "big", "large", "huge")
PLACES = (
    "in the top left corner",
    "at the top",
    "in the upper right corner",
    "on the left",
    "in the middle",
    "on the right side",
    "in the lower left corner",
    "at the bottom",
    "in the bottom right corner",
)
RELATIONS = ("to the left of", "to the right of", "above", "below")
VERBS = ("moving", "sliding", "flying", "drifting")
DIRECTIONS = ("to the right", "to the left", "up", "down", "up and to the right", "down and to the left")
CHANGES = ("growing", "shrinking", "standing still")


def write_prompt(number: int, *, moving: bool = False) -> str:
    """The sentence of a number, about a picture or about a clip in which something moves."""
    rng = stream(number, "prompt")
    ground, first, second = (_pick(rng, words) for words in _sample(rng, COLOURS, 3))
    body = _clip(rng, first) if moving else _picture(rng, first, second)
    order = _pick(rng, ("{0} on a {1} background", "{0}, on a {1} background", "a {1} background with {0}"))
    return re.sub(r"\ba (?=[aeiou])", "an ", order.format(body, ground))


def _picture(rng: Generator, first: str, second: str) -> str:
    if rng.random() < 0.25:
        return f"{_thing(rng, first, 0.0)} {_pick(rng, RELATIONS)} {_thing(rng, second, 0.0)}"
    return f"{_thing(rng, first)} {_pick(rng, PLACES)}"


def _clip(rng: Generator, colour: str) -> str:
    if rng.random() < 0.75:
        return f"{_thing(rng, colour)} {_pick(rng, VERBS)} {_pick(rng, DIRECTIONS)}"
    return f"{_thing(rng, colour)} {_pick(rng, CHANGES)} {_pick(rng, PLACES)}"


def _thing(rng: Generator, colour: str, sized: float = 0.7) -> str:
    size = f"{_pick(rng, SIZES)} " if rng.random() < sized else ""
    return f"a {size}{colour} {_pick(rng, _pick(rng, SHAPES))}"


def _pick(rng: Generator, choices: Sequence[T]) -> T:
    return choices[int(rng.random() * len(choices))]


def _sample(rng: Generator, choices: Sequence[T], count: int) -> list[T]:
    """`count` different choices."""
    left = list(choices)
    return [left.pop(int(rng.random() * len(left))) for _ in range(count)]
