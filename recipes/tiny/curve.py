"""Draws the training curves of both run folders: `python -m recipes.tiny.curve`."""

from __future__ import annotations

import re
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from recipes.tiny.export import RUNS

LINE = re.compile(r"(image|video) step (\d+) loss ([\d.]+)")


def read_curve(log: Path) -> tuple[list[int], list[float]]:
    """Steps and running losses of the last run in the log: a smaller step number starts anew."""
    steps: list[int] = []
    losses: list[float] = []
    for match in LINE.finditer(log.read_text()):
        step = int(match[2])
        if steps and step <= steps[-1]:
            keep = sum(earlier < step for earlier in steps)
            steps, losses = steps[:keep], losses[:keep]
        steps.append(step)
        losses.append(float(match[3]))
    return steps, losses


def main() -> None:
    figure, axes = pyplot.subplots(figsize=(6.4, 3.2), layout="constrained")
    for name in ("image", "video"):
        steps, losses = read_curve(RUNS / name / "log.txt")
        axes.plot(steps, losses, label=f"tiny-{name}")
    axes.set(xlabel="optimizer step", ylabel="flow-matching loss (running mean)", yscale="log")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    target = Path(__file__).parent / "sheets" / "curve.png"
    target.parent.mkdir(exist_ok=True)
    figure.savefig(target, dpi=90)


if __name__ == "__main__":
    main()
