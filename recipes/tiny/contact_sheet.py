"""Draws a contact sheet of a checkpoint through the stock pipeline: `python -m recipes.tiny.contact_sheet video`.

Images: a row for each size, a column for each prompt. Clips: a row for each prompt, frames from left to right, and an
animated picture of all of them beside it.
"""

from __future__ import annotations

import argparse
import json
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from recipes.tiny.export import CHECKPOINTS, load_pipeline
from recipes.tiny.sampling import sample

IMAGE_PROMPTS = [
    "a small crimson disc in the top left corner, on a navy background",
    "a big yellow star in the center on a purple background",
    "a green square at the bottom right on a white background",
    "a large blue ring on the right, orange background",
    "on a gray background, a black triangle at the top",
    "a pink cross on the left on a green background",
    "a red square left of a cyan circle on a black background",
    "a white star above a blue square on a pink background",
]
IMAGE_SIZES = [(64, 64), (96, 96), (128, 128), (160, 160), (160, 96), (64, 128)]
VIDEO_PROMPTS = [
    ("a red circle moving right on a white background", (13, 64, 64)),
    ("a yellow star moving to the left on a navy background", (17, 64, 64)),
    ("a big green square flying up on a pink background", (13, 64, 64)),
    ("a blue triangle sliding down, orange background", (13, 64, 64)),
    ("a white ring drifting up and to the right on a purple background", (17, 96, 96)),
    ("a black cross moves down left on a yellow background", (13, 64, 64)),
    ("a cyan disc growing in the center on a black background", (13, 64, 64)),
    ("an orange square turning in the middle on a blue background", (17, 64, 96)),
]
CELL = 112
PAPER = (246, 244, 240)


def image_sheet(pipe: Any, card: dict[str, Any]) -> Image.Image:
    rows = []
    for width, height in IMAGE_SIZES:
        pictures = sample(pipe, IMAGE_PROMPTS, height=height, width=width, **_advised(card))
        rows.append((f"{width} x {height}", [Image.fromarray(picture[0]) for picture in pictures]))
    return _page(rows, heads=IMAGE_PROMPTS)


def video_sheet(pipe: Any, card: dict[str, Any]) -> tuple[Image.Image, list[Image.Image]]:
    """The page of strips, and the frames of one animation that shows all clips at once."""
    rows, clips = [], []
    for prompt, (frames, height, width) in VIDEO_PROMPTS:
        clip = sample(pipe, [prompt], height=height, width=width, frames=frames, **_advised(card))[0]
        shown = np.linspace(0, frames - 1, 7).round().astype(int)
        rows.append((f"{prompt} ({width}x{height}, {frames} frames)", [Image.fromarray(clip[i]) for i in shown]))
        clips.append(clip)
    return _page(rows, heads=None), _animation(clips)


def _page(rows: list[tuple[str, list[Image.Image]]], heads: list[str] | None) -> Image.Image:
    left, top = 110, 64 if heads else 8
    columns = max(len(pictures) for _, pictures in rows)
    page = Image.new("RGB", (left + columns * (CELL + 8), top + len(rows) * (CELL + 8)), PAPER)
    pen = ImageDraw.Draw(page)
    for column, head in enumerate(heads or []):
        pen.multiline_text((left + column * (CELL + 8), 4), textwrap.fill(head, 19), fill=(30, 30, 30), font_size=11)
    for row, (label, pictures) in enumerate(rows):
        y = top + row * (CELL + 8)
        pen.multiline_text((6, y + 4), textwrap.fill(label, 17), fill=(30, 30, 30), font_size=11)
        for column, picture in enumerate(pictures):
            page.paste(_fitted(picture), (left + column * (CELL + 8), y))
    return page


def _animation(clips: list[NDArray[np.uint8]]) -> list[Image.Image]:
    columns = 4
    count = max(len(clip) for clip in clips)
    frames = []
    for index in range(count):
        page = Image.new("RGB", (columns * (CELL + 6), -(-len(clips) // columns) * (CELL + 6)), PAPER)
        for place, clip in enumerate(clips):
            picture = Image.fromarray(clip[min(index * len(clip) // count, len(clip) - 1)])
            page.paste(_fitted(picture), (place % columns * (CELL + 6), place // columns * (CELL + 6)))
        frames.append(page)
    return frames


def _advised(card: dict[str, Any]) -> dict[str, Any]:
    return {"steps": card["default_steps"], "guidance": card["default_guidance"]}


def _fitted(picture: Image.Image) -> Image.Image:
    scale = CELL / max(picture.size)
    return picture.resize((round(picture.width * scale), round(picture.height * scale)), Image.Resampling.NEAREST)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("family", choices=("image", "video"))
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--to", type=Path, default=Path(__file__).parent / "sheets")
    args = parser.parse_args()
    folder = args.checkpoint or CHECKPOINTS / f"tiny-{args.family}"
    card = json.loads((folder / "sfumato.json").read_text())
    pipe = load_pipeline(folder)
    args.to.mkdir(parents=True, exist_ok=True)
    if args.family == "image":
        image_sheet(pipe, card).quantize(128).save(args.to / "image.png", optimize=True)
        return
    page, frames = video_sheet(pipe, card)
    page.quantize(128).save(args.to / "video.png", optimize=True)
    timing = {"duration": round(1000 / card["fps"]), "loop": 0}
    frames[0].save(args.to / "video.webp", save_all=True, append_images=frames[1:], quality=80, **timing)


if __name__ == "__main__":
    main()
