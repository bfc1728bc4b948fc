"""What the models are asked: held-out scenes in a fixed mix, at three sizes a model, the same prompts at each of them.

The mix is not that of training: what is rare there (two shapes, turning, standing still) is asked often enough to be
measured. Sizes are the smallest, a middling and a large one, two of six not square. The largest clip, 160x160 with 33
frames, costs 10 s: 200 of them would take longer than all of this.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from recipes.tiny import words
from recipes.tiny.scenes import Scene, caption, random_image_scene, random_video_scene


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    width: int
    height: int
    frames: int = 1

    def __str__(self) -> str:
        return f"{self.width}x{self.height}" + (f", {self.frames} frames" if self.frames > 1 else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """Shares in twentieths: pairs among all scenes, and motions of clips ("move": any of the eight directions)."""

    pairs: int
    motions: dict[str, int]


EXTENTS: dict[str, tuple[Extent, ...]] = {
    "image": (Extent(width=64, height=64), Extent(width=128, height=96), Extent(width=160, height=160)),
    "video": (
        Extent(width=64, height=64, frames=9),
        Extent(width=96, height=96, frames=17),
        Extent(width=160, height=96, frames=13),
    ),
}
ASKED = Mix(pairs=7, motions={"move": 10, "grow": 2, "shrink": 2, "turn": 3, "still": 3})
# Every attribute about equally often: for the judge's own test on drawings.
EVEN = Mix(pairs=12, motions={"move": 5, "grow": 2, "shrink": 3, "turn": 5, "still": 5})


def exam(
    family: str, count: int, seed: int, *, mix: Mix = ASKED, held_out: bool = True
) -> tuple[list[Scene], list[str]]:
    """Scenes and their captions. In the grammar only what rests has company, so the pairs are among resting shapes."""
    rng = random.Random(f"{family} {seed}")
    make = _image_scene if family == "image" else _video_scene
    scenes = [make(rng, index % 20, mix, held_out) for index in range(count)]
    return scenes, [caption(scene, rng) for scene in scenes]


def _image_scene(rng: random.Random, turn: int, mix: Mix, held_out: bool) -> Scene:
    return random_image_scene(rng, two=1.0 if turn * 7 % 20 < mix.pairs else 0.0, held_out=held_out)


def _video_scene(rng: random.Random, turn: int, mix: Mix, held_out: bool) -> Scene:
    motion = [motion for motion, share in mix.motions.items() for _ in range(share)][turn]
    moves = mix.motions["move"]
    # 7 shares no factor with the number of resting twentieths, so the pairs spread over all motions.
    paired = turn >= moves and (turn - moves) * 7 % (20 - moves) < mix.pairs
    while True:
        scene = random_video_scene(rng, two=0.15, held_out=held_out)
        if _kind(scene) == motion and (motion == "move" or paired == (len(scene.things) == 2)):
            return scene


def _kind(scene: Scene) -> str:
    motion = scene.things[0].motion
    return "move" if motion in words.DIRECTIONS else motion
