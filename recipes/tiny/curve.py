"""Draws the training curves from the logs of run folders: `python -m recipes.tiny.curve [folder ...]`."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

LINE = re.compile(r"(\w+) step (\d+) loss ([\d.]+) .*?(\d+)s left")
HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    step: int
    loss: float
    seconds: float


def read_curve(log: str) -> list[Point]:
    """The run as it ended: where a smaller step number goes on from an earlier state, what had followed it is gone."""
    points: list[Point] = []
    for match in LINE.finditer(log):
        step = int(match[2])
        while points and points[-1].step >= step:
            points.pop()
        points.append(Point(step=step, loss=float(match[3]), seconds=float(match[4])))
    return points


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, default=[HERE / "runs" / "image", HERE / "runs" / "video"])
    parser.add_argument("--to", type=Path, default=HERE / "sheets" / "curve.png")
    args = parser.parse_args()
    figure, axes = pyplot.subplots(figsize=(6.4, 3.2), layout="constrained")
    for folder in args.folders:
        points = read_curve((folder / "log.txt").read_text())
        label = f"tiny-{folder.name}, {points[-1].seconds / 3600:.1f} h" if points else f"{folder.name}: nothing yet"
        axes.plot([point.step for point in points], [point.loss for point in points], label=label)
    axes.set(xlabel="optimizer step", ylabel="flow-matching loss (running mean)", yscale="log")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    args.to.parent.mkdir(exist_ok=True)
    figure.savefig(args.to, dpi=90)


if __name__ == "__main__":
    main()
