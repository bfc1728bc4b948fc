"""Draws a contact sheet of a checkpoint through the stock pipeline: `python -m recipes.tiny.contact_sheet video`.

Pictures: a row for each size, a column for each prompt. Clips: a strip for each prompt, frames from left to right, and
a moving picture (`video.webp`) of eight of them side by side, each over its prompt.
"""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from recipes.tiny.exam import Extent
from recipes.tiny.sampling import Painter

IMAGE_PROMPTS = (
    "a small crimson disc in the top left corner, on a navy background",
    "a big yellow star in the center on a purple background",
    "a green square at the bottom right on a white background",
    "a large blue ring on the right, orange background",
    "on a gray background, a black triangle at the top",
    "a pink cross on the left on a green background",
    "a red square left of a cyan circle on a black background",
    "a white star above a blue square on a pink background",
)
IMAGE_EXTENTS = tuple(
    Extent(width=width, height=height) for width, height in ((64, 64), (96, 96), (128, 96), (80, 128), (160, 160))
)
VIDEO_PROMPTS = (
    ("a red circle moving right on a white background", Extent(width=64, height=64, frames=9)),
    ("a yellow star moving down and to the left on a navy background", Extent(width=96, height=96, frames=17)),
    ("a big green square flying up on a pink background", Extent(width=96, height=96, frames=17)),
    ("a white ring drifting up and to the right, purple background", Extent(width=96, height=96, frames=17)),
    ("an orange square turning in the middle on a blue background", Extent(width=96, height=96, frames=17)),
    ("a cyan disc growing in the center on a black background", Extent(width=96, height=96, frames=17)),
    ("a purple star spinning on the left and a red ball on the right, yellow background",
     Extent(width=160, height=96, frames=13)),
    ("a black cross shrinking above a white triangle on a green background", Extent(width=96, height=96, frames=17)),
)  # fmt: skip
MOVING = Extent(width=96, height=96, frames=17)
CELL = 128
TILE = 160
GAP = 8
PAPER = (255, 255, 255)
PEN = (40, 40, 40)
HAIRLINE = (205, 205, 205)


def image_sheet(painter: Painter) -> Image.Image:
    rows = []
    for extent in IMAGE_EXTENTS:
        pictures = painter.paint(IMAGE_PROMPTS, extent)
        rows.append((f"{extent.width} x {extent.height}", [picture[0] for picture in pictures]))
    return _page(rows, heads=IMAGE_PROMPTS)


def video_sheet(painter: Painter, strip: int = 7) -> Image.Image:
    rows = []
    for prompt, extent in VIDEO_PROMPTS:
        clip = painter.paint([prompt], extent)[0]
        rows.append((f"{prompt} ({extent})", list(clip[np.linspace(0, len(clip) - 1, strip).round().astype(int)])))
    return _page(rows)


def moving_picture(painter: Painter, columns: int = 4) -> list[Image.Image]:
    """Frames of a grid of clips of one size, each over its prompt."""
    prompts = [prompt for prompt, _ in VIDEO_PROMPTS]
    clips = painter.paint(prompts, MOVING)
    labels = [textwrap.fill(prompt, 25) for prompt in prompts]
    height = TILE + 14 * (1 + max(label.count("\n") for label in labels)) + 2 * GAP
    spots = [(index % columns * (TILE + GAP), index // columns * height) for index in range(len(prompts))]
    page = Image.new("RGB", (columns * (TILE + GAP) - GAP, -(-len(prompts) // columns) * height), PAPER)
    pen = ImageDraw.Draw(page)
    for (x, y), label in zip(spots, labels, strict=True):
        pen.multiline_text((x, y + TILE + 4), label, fill=PEN, font_size=11)
    frames = []
    for index in range(MOVING.frames):
        frame = page.copy()
        for spot, clip in zip(spots, clips, strict=True):
            frame.paste(_fitted(clip[index], TILE), spot)
        frames.append(frame)
    return frames


def _page(rows: Sequence[tuple[str, list[NDArray[np.uint8]]]], heads: Sequence[str] = ()) -> Image.Image:
    left, top = 120, 70 if heads else GAP
    columns = max(len(pictures) for _, pictures in rows)
    page = Image.new("RGB", (left + columns * (CELL + GAP), top + len(rows) * (CELL + GAP)), PAPER)
    pen = ImageDraw.Draw(page)
    for column, head in enumerate(heads):
        pen.multiline_text((left + column * (CELL + GAP), 4), textwrap.fill(head, 19), fill=PEN, font_size=11)
    for row, (label, pictures) in enumerate(rows):
        y = top + row * (CELL + GAP)
        pen.multiline_text((6, y + 4), textwrap.fill(label, 19), fill=PEN, font_size=11)
        for column, picture in enumerate(pictures):
            page.paste(_fitted(picture, CELL), (left + column * (CELL + GAP), y))
    return page


def _fitted(pixels: NDArray[np.uint8], side: int) -> Image.Image:
    """As large as fits, with a hairline around it: white pictures must not vanish on white paper."""
    scale = side / max(pixels.shape[:2])
    height, width = (round(extent * scale) for extent in pixels.shape[:2])
    picture = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
    ImageDraw.Draw(picture).rectangle((0, 0, width - 1, height - 1), outline=HAIRLINE)
    return picture


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("family", choices=("image", "video"))
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--to", type=Path, default=Path(__file__).parent / "sheets")
    args = parser.parse_args()
    painter = Painter.load(args.family, args.checkpoint)
    args.to.mkdir(parents=True, exist_ok=True)
    sheet = image_sheet(painter) if args.family == "image" else video_sheet(painter)
    sheet.quantize(128).save(args.to / f"{args.family}.png", optimize=True)
    if args.family == "video":
        first, *others = moving_picture(painter)
        # Every end is held for a moment, so that the eye sees where a path led.
        durations = [round(1000 / painter.card["fps"])] * len(others) + [700]
        first.save(args.to / "video.webp", save_all=True, append_images=others, duration=durations, loop=0, quality=80)


if __name__ == "__main__":
    main()
