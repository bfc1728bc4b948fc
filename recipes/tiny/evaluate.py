"""Asks a checkpoint for held-out scenes and lets the judge read what came: `python -m recipes.tiny.evaluate image`.

Prints, for the judge on ground-truth drawings (it must be near 100%) and for the model, the share of right answers.
"""

from __future__ import annotations

import argparse
import json
import random
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recipes.tiny import words
from recipes.tiny.drawing import draw
from recipes.tiny.export import CHECKPOINTS, load_pipeline
from recipes.tiny.judge import Found, read_motion, read_picture
from recipes.tiny.sampling import sample
from recipes.tiny.scenes import Scene, caption, random_image_scene, random_video_scene


def score_picture(scene: Scene, pixels: NDArray[np.uint8]) -> dict[str, bool]:
    """Which of background, colour, shape, place (all things) and relation the picture gets right."""
    reading = read_picture(pixels)
    found = list(reading.things[: len(scene.things)])
    matched = [_take(found, thing.colour) for thing in scene.things]
    pairs = list(zip(scene.things, matched, strict=True))
    marks = {
        "background": reading.background == scene.background,
        "colour": all(got is not None and got.colour == thing.colour for thing, got in pairs),
        "shape": all(got is not None and got.shape == thing.shape for thing, got in pairs),
    }
    if scene.relation is not None:
        marks["relation"] = _related(scene.relation, matched)
    elif all(thing.place for thing in scene.things):
        marks["place"] = all(got is not None and got.place == thing.place for thing, got in pairs)
    return marks


def score_clip(scene: Scene, clip: NDArray[np.uint8]) -> dict[str, bool]:
    """One frame as a picture, and the motion over all frames; turning is not told from standing still."""
    thing = scene.things[0]
    # A turned square is judged upright, in its first frame; what moves is at its place in the middle one.
    marks = score_picture(scene, clip[0 if thing.motion == "turn" else len(clip) // 2])
    if thing.motion in words.DIRECTIONS:
        marks["direction"] = read_motion(clip) == thing.motion
        marks.pop("place", None)
    elif thing.motion in ("grow", "shrink") and len(scene.things) == 1:
        marks["change"] = read_motion(clip) == thing.motion
    return marks


def tally(marks: list[dict[str, bool]]) -> str:
    right, asked = Counter[str](), Counter[str]()
    for mark in marks:
        asked.update(mark.keys())
        right.update(name for name, good in mark.items() if good)
    return "  ".join(f"{name} {right[name] / asked[name]:.0%} ({asked[name]})" for name in asked)


def _take(found: list[Found], colour: str) -> Found | None:
    """The thing of that colour, else the largest left: a wrong colour must not also cost shape and place."""
    if not found:
        return None
    index = next((i for i, thing in enumerate(found) if thing.colour == colour), 0)
    return found.pop(index)


def _related(relation: str, found: list[Found | None]) -> bool:
    one, two = found
    if one is None or two is None:
        return False
    gaps = {"left of": two.x - one.x, "right of": one.x - two.x, "above": two.y - one.y, "below": one.y - two.y}
    return gaps[relation] > 0.2


def main() -> None:
    args = _arguments()
    rng = random.Random(args.seed)
    make, score = (random_image_scene, score_picture) if args.family == "image" else (random_video_scene, score_clip)
    scenes = [make(rng, two=args.two, held_out=True) for _ in range(args.count)]
    prompts = [caption(scene, rng) for scene in scenes]
    moving = args.family == "video"
    height, width = args.height, args.width
    frames = args.frames if moving else 1
    truth = [draw(scene, height=height, width=width, frames=frames) for scene in scenes]
    show = [clip if moving else clip[0] for clip in truth]
    print("judge on ground truth:", tally([score(scene, clip) for scene, clip in zip(scenes, show, strict=True)]))
    folder = args.checkpoint or CHECKPOINTS / f"tiny-{args.family}"
    card = json.loads((folder / "sfumato.json").read_text())
    pipe = load_pipeline(folder)
    marks = []
    for start in range(0, len(scenes), args.batch):
        part = slice(start, start + args.batch)
        clips = sample(
            pipe,
            prompts[part],
            height=height,
            width=width,
            frames=frames,
            steps=args.steps or card["default_steps"],
            guidance=args.guidance or card["default_guidance"],
            seed=args.seed + start,
        )
        marks += [score(s, clip if moving else clip[0]) for s, clip in zip(scenes[part], clips, strict=True)]
    print(f"{folder.name} at {width}x{height}:", tally(marks))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("family", choices=("image", "video"))
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--count", type=int, default=64)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--height", type=int, default=64)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--frames", type=int, default=13)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--guidance", type=float)
    parser.add_argument("--two", type=float, default=0.0, help="share of scenes with two shapes")
    parser.add_argument("--seed", type=int, default=12345)
    return parser.parse_args()


if __name__ == "__main__":
    main()
