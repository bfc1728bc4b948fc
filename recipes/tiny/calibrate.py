"""The judge's own test: drawn scenes, of which it must read at least 99% right in each attribute at each size."""

from __future__ import annotations

from collections.abc import Callable

from recipes.tiny.drawing import draw
from recipes.tiny.exam import EVEN, EXTENTS, Extent, exam
from recipes.tiny.judge import read_picture
from recipes.tiny.judge_clip import read_clip
from recipes.tiny.marks import Marks, Tally, mark, tally
from recipes.tiny.scenes import Scene

# Scenes a size that hold every attribute at least 1,000 times over the three sizes.
ENOUGH = {"image": 1200, "video": 1400}


def calibrate(family: str, count: int, seed: int, tick: Callable[[], None] = lambda: None) -> dict[str, Tally]:
    """Tallies of `count` drawn scenes by size."""
    scenes, _ = exam(family, count, seed, mix=EVEN, held_out=False)
    return {str(extent): tally(_judged(scene, extent, tick) for scene in scenes) for extent in EXTENTS[family]}


def _judged(scene: Scene, extent: Extent, tick: Callable[[], None]) -> Marks:
    clip = draw(scene, height=extent.height, width=extent.width, frames=extent.frames)
    tick()
    return mark(scene, read_clip(clip) if scene.moving else read_picture(clip[0]))
