"""The plot and the table of docs/reuse.md, from the rows that `bench.reuse` measured."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sfumato.report.colours import INK, SERIES
from sfumato.report.plots import dress, save

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "reuse.md"
PICTURE = ROOT / "docs" / "images" / "reuse.png"
BEGIN, END = "<!-- measured -->", "<!-- end -->"
CURVES = ("threshold", "learned", "FirstBlockCache", "TaylorSeer")


class Row(NamedTuple):
    """What one setting of a technique gave; `faster` is against exact on the same engine."""

    family: str
    line: str
    setting: str
    psnr: float
    ssim: float
    right: float
    right_exact: float
    marks: dict[str, list[int]]
    spared: float
    seconds: float
    faster: float
    prompts: int


def write(rows: Sequence[Row], *, quick: bool) -> None:
    """The picture, and the table between its marks on the page."""
    draw([row for row in rows if row.family == "image"])
    lines = "\n".join([BEGIN, "", *table(rows, quick=quick), "", END])
    page = PAGE.read_text()
    PAGE.write_text(re.sub(f"{BEGIN}.*{END}", lambda _: lines, page, flags=re.DOTALL))


def table(rows: Sequence[Row], *, quick: bool) -> Iterator[str]:
    prompts = {row.family: row.prompts for row in rows}
    counted = ", ".join(f"{count} prompts of tiny-{family}" for family, count in prompts.items())
    yield f"{counted}, 64 px{' (a quick run: few prompts, on a busy machine)' if quick else ''}."
    yield ""
    yield "| model | technique | setting | PSNR | SSIM | judged right | not computed | s a picture | faster |"
    yield "|---|---|---|---:|---:|---:|---:|---:|---:|"
    for row in rows:
        near = "" if row.psnr > 90 else f"{row.psnr:.1f}"
        yield (
            f"| tiny-{row.family} | {row.line} | {row.setting} | {near} | {row.ssim:.3f} | {row.right:.1%} "
            f"| {row.spared:.0%} | {row.seconds:.3f} | {row.faster:.2f}x |"
        )


def draw(rows: Sequence[Row]) -> None:
    """PSNR against the gain: each technique's settings as a line, and the qualities as they are shipped."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.0, 4.2), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for place, (name, unit) in zip(axes, (("spared", "blocks not computed"), ("faster", "times faster")), strict=True):
        dress(place)
        for colour, (curve, found) in zip(SERIES, _curves(rows).items(), strict=False):
            points = sorted((getattr(row, name), row.psnr) for row in found)
            place.plot(*zip(*points, strict=True), marker="o", color=colour, label=curve)
        for row in rows:
            if row.line == "quality" and row.setting != "exact":
                at = getattr(row, name), row.psnr
                place.plot(*at, marker="*", markersize=13, color=INK, linestyle="")
                place.annotate(row.setting, at, xytext=(6, 6), textcoords="offset points", color=INK)
        place.set_xlabel(unit)
    axes[0].set_ylabel("PSNR to exact, dB")
    axes[0].legend(fontsize=8, frameon=False)
    save(figure, PICTURE)


def _curves(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each technique and, of ours, of each way to judge tokens."""
    curves: dict[str, list[Row]] = {}
    for row in rows:
        if row.line in CURVES:
            _, _, where = row.setting.partition(", ")
            curves.setdefault(f"{row.line}, {where}" if where else row.line, []).append(row)
    return curves
