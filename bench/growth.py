"""How a time grows with its input: lines over doubled logarithms, a picture beside the results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log

from bench.figure import RESULTS
from sfumato.report.plots import new_figure, save

Line = Sequence[tuple[float, float]]


def picture(name: str, lines: Mapping[str, Line], *, x: str, y: str, quick: bool) -> str:
    """Draw `lines` into bench/results/NAME.png; returns the path within the repository."""
    figure, axes = new_figure(6.4, 4.0)
    for label, line in lines.items():
        axes.plot(*zip(*line, strict=True), marker="o", markersize=4, label=label)
    axes.set(xscale="log", yscale="log", xlabel=x, ylabel=y)
    axes.legend(frameon=False, fontsize=9)
    folder = RESULTS / "quick" if quick else RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    save(figure, folder / f"{name}.png")
    return f"bench/results/{'quick/' if quick else ''}{name}.png"


def power(line: Line) -> float:
    """The exponent p of y ~ x^p from the first point to the last."""
    (x0, y0), (x1, y1) = line[0], line[-1]
    return log(y1 / y0) / log(x1 / x0)
