"""The words of the scene grammar: what can be asked for, its synonyms, and the colours as numbers.

The first synonym is the canonical name. Every word that a caption can hold is in `VOCABULARY`; the tokenizer drops all
others, so articles and chatter ("please draw a nice ...") cost no tokens.
"""

from __future__ import annotations

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 30, 40),
    "orange": (250, 140, 20),
    "yellow": (250, 225, 40),
    "green": (30, 150, 50),
    "cyan": (60, 210, 220),
    "blue": (40, 90, 240),
    "navy": (15, 25, 105),
    "purple": (130, 40, 170),
    "pink": (250, 130, 190),
    "white": (250, 250, 250),
    "gray": (130, 130, 130),
    "black": (10, 10, 10),
}

COLOUR_WORDS: dict[str, tuple[str, ...]] = {
    "red": ("red", "crimson", "scarlet"),
    "orange": ("orange",),
    "yellow": ("yellow", "golden"),
    "green": ("green", "emerald"),
    "cyan": ("cyan", "turquoise"),
    "blue": ("blue", "azure"),
    "navy": ("navy",),
    "purple": ("purple", "violet"),
    "pink": ("pink", "rose"),
    "white": ("white", "snowy"),
    "gray": ("gray", "grey"),
    "black": ("black",),
}

SHAPE_WORDS: dict[str, tuple[str, ...]] = {
    "circle": ("circle", "disc", "disk", "ball", "dot"),
    "square": ("square", "box"),
    "triangle": ("triangle",),
    "star": ("star",),
    "ring": ("ring", "hoop", "donut"),
    "cross": ("cross", "plus"),
}

SIZE_WORDS: dict[str, tuple[str, ...]] = {
    "small": ("small", "little", "tiny"),
    "medium": ("medium", "middling"),
    "big": ("big", "large", "huge"),
}

# Circumradius as a share of the shorter side. 0.12 of 64 px is 8 px: below that a star is not told from a cross.
SIZES: dict[str, float] = {"small": 0.12, "medium": 0.175, "big": 0.24}

# Centres as shares of (width, height).
PLACES: dict[str, tuple[float, float]] = {
    "top left": (0.25, 0.25),
    "top": (0.5, 0.25),
    "top right": (0.75, 0.25),
    "left": (0.25, 0.5),
    "center": (0.5, 0.5),
    "right": (0.75, 0.5),
    "bottom left": (0.25, 0.75),
    "bottom": (0.5, 0.75),
    "bottom right": (0.75, 0.75),
}

PLACE_PHRASES: dict[str, tuple[str, ...]] = {
    "top left": ("in the top left corner", "at the top left", "in the upper left", "in the upper left corner"),
    "top": ("at the top", "at the top center", "at the upper edge"),
    "top right": ("in the top right corner", "at the top right", "in the upper right", "in the upper right corner"),
    "left": ("on the left", "at the left", "on the left side"),
    "center": ("in the center", "in the middle", "in the centre"),
    "right": ("on the right", "at the right", "on the right side"),
    "bottom left": ("in the bottom left corner", "at the bottom left", "in the lower left", "in the lower left corner"),
    "bottom": ("at the bottom", "at the bottom center", "at the lower edge"),
    "bottom right": (
        "in the bottom right corner",
        "at the bottom right",
        "in the lower right",
        "in the lower right corner",
    ),
}

RELATION_PHRASES: dict[str, tuple[str, ...]] = {
    "left of": ("left of", "to the left of"),
    "right of": ("right of", "to the right of"),
    "above": ("above", "over"),
    "below": ("below", "under"),
}

# Unit steps as (x, y), y growing downwards.
DIRECTIONS: dict[str, tuple[int, int]] = {
    "right": (1, 0),
    "left": (-1, 0),
    "up": (0, -1),
    "down": (0, 1),
    "up right": (1, -1),
    "up left": (-1, -1),
    "down right": (1, 1),
    "down left": (-1, 1),
}

DIRECTION_PHRASES: dict[str, tuple[str, ...]] = {
    "right": ("right", "to the right", "rightwards"),
    "left": ("left", "to the left", "leftwards"),
    "up": ("up", "upwards"),
    "down": ("down", "downwards"),
    "up right": ("up right", "up and to the right", "up and right"),
    "up left": ("up left", "up and to the left", "up and left"),
    "down right": ("down right", "down and to the right", "down and right"),
    "down left": ("down left", "down and to the left", "down and left"),
}

MOVE_VERBS: tuple[str, ...] = ("moving", "moves", "sliding", "slides", "going", "flying", "drifting")

CHANGE_PHRASES: dict[str, tuple[str, ...]] = {
    "grow": ("growing", "grows", "getting bigger"),
    "shrink": ("shrinking", "shrinks", "getting smaller"),
    "turn": ("turning", "turns", "spinning", "rotating"),
    "still": ("standing still", "still", "not moving"),
}

JOINTS: tuple[str, ...] = ("and", "of", "on", "with", "background", "backdrop")

# These carry nothing that the order of the other words does not; dropped, they save 3 to 8 tokens of a caption.
DROPPED: frozenset[str] = frozenset({"a", "an", "the", "in", "at", "to", "corner", "side", "edge"})


def _vocabulary() -> tuple[str, ...]:
    tables = (COLOUR_WORDS, SHAPE_WORDS, SIZE_WORDS, PLACE_PHRASES, RELATION_PHRASES, DIRECTION_PHRASES, CHANGE_PHRASES)
    phrases = [phrase for table in tables for synonyms in table.values() for phrase in synonyms]
    words = {word for phrase in (*phrases, *MOVE_VERBS, *JOINTS) for word in phrase.split()}
    return tuple(sorted(words - DROPPED))


VOCABULARY: tuple[str, ...] = _vocabulary()
