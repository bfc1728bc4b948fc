"""Contact sheets: what was made, side by side, with its prompt and whether it came in time.

Input is pixels as uint8 [frames, height, width, 3]. Small pictures are enlarged without smoothing, all of a sheet by
the same whole factor, so that each is judged as it is and sizes can be compared. A video gets a strip of frames from
first to last; `write_animation` makes it move.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from sfumato.core.values import Value
from sfumato.report.colours import FAINT, INK, MET, MISSED

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont, ImageFont

    Font = FreeTypeFont | ImageFont

Pixels = NDArray[np.uint8]

_GAP = 14
_PAPER = "#ffffff"
_LINE = 1.35  # line height as a multiple of the font's size


class Picture(Value, frozen=True, kw_only=True):
    """One cell of a sheet. The first caption line is bold in effect (darker); `ok` None draws no mark."""

    pixels: Any  # Pixels
    caption: tuple[str, ...] = ()
    ok: bool | None = None


def draw_contact_sheet(
    pictures: Sequence[Picture], *, columns: int = 4, cell: int = 240, title: str = "", font_size: int = 13
) -> Image:
    """A grid of pictures (of a video its middle frame), each fitted into `cell` x `cell` pixels over its caption."""
    scale = _scale(pictures, cell)
    cells = [_Cell(picture, [_middle(picture.pixels)], cell, scale, font_size) for picture in pictures]
    return _draw_sheet(cells, columns, title, font_size)


def draw_filmstrips(
    pictures: Sequence[Picture],
    *,
    frames: int = 5,
    height: int = 140,
    columns: int = 1,
    title: str = "",
    font_size: int = 13,
) -> Image:
    """Strips: of each video `frames` frames from first to last, evenly apart, over its caption."""
    scale = _scale(pictures, height)
    cells = [_Cell(picture, pick_frames(picture.pixels, frames), height, scale, font_size) for picture in pictures]
    return _draw_sheet(cells, columns, title, font_size)


def pick_frames(pixels: Pixels, count: int) -> list[Pixels]:
    """`count` frames from first to last, evenly apart; all of them where there are fewer."""
    number = min(count, len(pixels))
    return [pixels[round(place * (len(pixels) - 1) / max(1, number - 1))] for place in range(number)]


def write_animation(pixels: Pixels, path: str | Path, *, fps: float, scale: int = 1) -> None:
    """Write a video as an animated WebP (lossless) or GIF, by the name's ending, each pixel `scale` times as wide."""
    from PIL import Image

    frames = [Image.fromarray(_checked(frame).repeat(scale, axis=0).repeat(scale, axis=1)) for frame in pixels]
    kind = Path(path).suffix.lower()
    if kind not in (".webp", ".gif"):
        raise ValueError(f"{path}: an animation ends in .webp or .gif")
    options: dict[str, Any] = {"lossless": True} if kind == ".webp" else {"disposal": 1, "optimize": False}
    duration = round(1000 / fps)
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=duration, loop=0, **options)


class _Cell:
    """A picture laid out: its frames beside each other, then the lines of its caption."""

    def __init__(self, picture: Picture, frames: Sequence[Pixels], size: int, scale: int, font_size: int) -> None:
        self.ok = picture.ok
        self.images = [_fitted(frame, size, scale) for frame in frames]
        self.font = _font(font_size)
        gaps = 4 * (len(self.images) - 1)
        self.width = max(size, sum(image.width for image in self.images) + gaps)
        self.image_height = max(image.height for image in self.images)
        room = self.width - (font_size * 1.5 if picture.ok is not None else 0)
        self.lines = [
            (line, place == 0)
            for place, text in enumerate(picture.caption)
            for line in _wrapped(text, self.font, room if place == 0 else self.width)
        ]
        self.line_height = ceil(font_size * _LINE)
        self.caption_height = 6 + len(self.lines) * self.line_height

    def draw(self, sheet: Image, canvas: ImageDraw, left: int, base: int) -> None:
        """The images stand on `base`, the caption hangs below it."""
        x = left
        for image in self.images:
            y = base - image.height
            sheet.paste(image, (x, y))
            canvas.rectangle((x - 1, y - 1, x + image.width, y + image.height), outline=FAINT)
            x += image.width + 4
        y = base + 6
        for line, first in self.lines:
            canvas.text((left, y), line, font=self.font, fill=INK if first else "#5b6873")
            y += self.line_height
        if self.ok is not None:
            _draw_mark(canvas, left + self.width, base + 6, self.line_height, self.ok)


def _draw_sheet(cells: list[_Cell], columns: int, title: str, font_size: int) -> Image:
    from PIL import Image, ImageDraw

    columns = min(columns, max(1, len(cells)))
    rows = [cells[place : place + columns] for place in range(0, len(cells), columns)]
    width = max((cell.width for cell in cells), default=200)
    images = [max(cell.image_height for cell in row) for row in rows]
    captions = [max(cell.caption_height for cell in row) for row in rows]
    head = ceil(font_size * 2.6) if title else 0
    size = columns * width + (columns + 1) * _GAP, head + sum(images) + sum(captions) + (len(rows) + 1) * _GAP
    sheet = Image.new("RGB", size, _PAPER)
    canvas = ImageDraw.Draw(sheet)
    if title:
        canvas.text((_GAP, _GAP), title, font=_font(round(font_size * 1.4)), fill=INK)
    top = head + _GAP
    for row, image, caption in zip(rows, images, captions, strict=True):
        for place, cell in enumerate(row):
            cell.draw(sheet, canvas, _GAP + place * (width + _GAP), top + image)
        top += image + caption + _GAP
    return sheet


def _draw_mark(canvas: ImageDraw, right: int, top: int, size: int, ok: bool) -> None:
    """A green tick or a red cross, drawn with lines: fonts may lack the signs."""
    low, high = 0.25 * size, 0.75 * size
    left = right - size

    def line(*points: tuple[float, float]) -> None:
        canvas.line([(left + x, top + y) for x, y in points], fill=MET if ok else MISSED, width=max(2, size // 7))

    if ok:
        line((low, 0.5 * size), (0.45 * size, high), (0.85 * size, 0.2 * size))
    else:
        line((low, low), (high, high))
        line((low, high), (high, low))


def _scale(pictures: Sequence[Picture], size: int) -> int:
    """The whole factor by which all of them still fit into `size` x `size`; 1 where one is larger as it is."""
    longest = max((side for picture in pictures for side in picture.pixels.shape[1:3]), default=size)
    return max(1, size // int(longest))


def _fitted(frame: Pixels, size: int, scale: int) -> Image:
    """Enlarged by `scale`, or made smaller smoothly to fit into `size` x `size`."""
    from PIL import Image

    image = Image.fromarray(_checked(frame))
    longest = max(image.size)
    if longest * scale <= size:
        return image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
    shrink = size / longest
    return image.resize((round(image.width * shrink), round(image.height * shrink)), Image.Resampling.LANCZOS)


def _checked(frame: Pixels) -> Pixels:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise ValueError(f"a frame is uint8 [height, width, 3], not {frame.dtype} {list(frame.shape)}")
    return frame


def _middle(pixels: Pixels) -> Pixels:
    middle: Pixels = pixels[len(pixels) // 2]
    return middle


def _font(size: int) -> Font:
    from PIL import ImageFont

    return ImageFont.load_default(size)


def _wrapped(text: str, font: Font, width: float) -> list[str]:
    """The lines of a text that is broken between words to fit `width` pixels."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
