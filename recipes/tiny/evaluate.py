"""Asks a checkpoint for held-out scenes at three sizes and judges what comes: `python -m recipes.tiny.evaluate image`.

The figures go to `results/`, size by size, so that a stopped run goes on where it was; a table is printed. With
`--calibrate` it is the judge that is tested, on drawn scenes; with `--quick` a few prompts, and nothing is kept.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from recipes.tiny.calibrate import ENOUGH, calibrate
from recipes.tiny.exam import EXTENTS, Extent, exam
from recipes.tiny.judge import Reading, read_picture
from recipes.tiny.judge_clip import ClipReading, read_clip
from recipes.tiny.marks import mark, tally
from recipes.tiny.results import RESULTS, fingerprint, load, report, save, steadiness, table
from recipes.tiny.scenes import Scene

if TYPE_CHECKING:
    from recipes.tiny.sampling import Painter

BATCH = 8
CHATTER = ("kindly sketch me {}", "{} zzyzx masterpiece 4k", "wonderful {}, if you please", "hmm {} ok thanks")
# Blurred or broken pictures differ by more than this share of full scale from a clean drawing of what is read in them.
CLEAN = 0.06


def judge_size(
    painter: Painter, extent: Extent, scenes: list[Scene], prompts: list[str], seed: int, tick: Callable[[int], None]
) -> dict[str, Any]:
    """The figures of one size."""
    began = time.monotonic()
    readings: list[Reading | ClipReading] = []
    for start in range(0, len(prompts), BATCH):
        clips = painter.paint(prompts[start : start + BATCH], extent, seed=seed + start)
        readings += [read_clip(clip) if extent.frames > 1 else read_picture(clip[0]) for clip in clips]
        tick(len(clips))
    marks = [mark(*asked) for asked in zip(scenes, readings, prompts, strict=True)]
    figures: dict[str, Any] = {"marks": tally(marks)}
    figures["residue"] = round(float(np.mean([reading.residue for reading in readings])), 5)
    if extent.frames > 1:
        figures["drift"] = steadiness([reading.drifts for reading in readings if isinstance(reading, ClipReading)])
    figures["seconds"] = round(time.monotonic() - began, 1)
    wrong = [[name for name, good in mark.items() if not good] for mark in marks]
    figures["wrong"] = {prompt: names for prompt, names in zip(prompts, wrong, strict=True) if names}
    return figures


def judge_wording(painter: Painter, extent: Extent, prompts: list[str], seed: int) -> dict[str, list[int]]:
    """An empty prompt draws a clean scene of one or two things; words of no meaning change not a byte."""
    empty = painter.paint([""] * BATCH, extent, seed=seed)
    readings = [read_picture(clip[len(clip) // 2]) for clip in empty]
    valid = [1 <= len(reading.things) <= 2 and reading.residue < CLEAN for reading in readings]
    plain = painter.paint(prompts, extent, seed=seed)
    chatty = [talk.format(prompt) for talk, prompt in zip(CHATTER, prompts, strict=True)]
    same = [np.array_equal(one, two) for one, two in zip(plain, painter.paint(chatty, extent, seed=seed), strict=True)]
    return {
        "an empty prompt draws a valid scene": [sum(valid), len(valid)],
        "unknown words change nothing": [sum(same), len(same)],
    }


def evaluate(family: str, painter: Painter, path: Path | None, *, count: int, seed: int) -> dict[str, Any]:
    """All that the file at `path` does not hold yet; it is written after each size."""
    key = {"model": painter.card["name"], "weights": fingerprint(painter.folder), "count": count, "seed": seed}
    key |= {"steps": painter.steps, "guidance": painter.guidance}
    results = load(path, key)
    scenes, prompts = exam(family, count, seed)
    with _progress() as progress:
        for extent in EXTENTS[family]:
            if str(extent) in results["sizes"]:
                continue
            bar = progress.add_task(f"tiny-{family} {extent}", total=count)
            figures = judge_size(painter, extent, scenes, prompts, seed, partial(progress.advance, bar))
            results["sizes"][str(extent)] = figures
            save(path, results)
    if "wording" not in results:
        results["wording"] = judge_wording(painter, EXTENTS[family][0], prompts[: len(CHATTER)], seed)
        save(path, results)
    return results


def main() -> None:
    args = _arguments()
    if args.calibrate:
        count = args.count or ENOUGH[args.family]
        with _progress() as progress:
            bar = progress.add_task("drawn scenes", total=count * len(EXTENTS[args.family]))
            print(table(calibrate(args.family, count, args.seed, partial(progress.advance, bar))))
        return
    import torch

    from recipes.tiny.sampling import Painter

    torch.set_num_threads(args.threads)
    painter = Painter.load(args.family, args.checkpoint, steps=args.steps, guidance=args.guidance)
    path = None if args.quick else args.to or RESULTS / f"{args.family}.json"
    count = args.count or (20 if args.quick else 200)
    print(report(evaluate(args.family, painter, path, count=count, seed=args.seed)))


def _progress() -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("family", choices=sorted(EXTENTS))
    parser.add_argument("--count", type=int, help="prompts at each size (default 200)")
    parser.add_argument("--quick", action="store_true", help="20 prompts at each size; keeps nothing")
    parser.add_argument("--calibrate", action="store_true", help="test the judge on drawn scenes instead")
    parser.add_argument("--checkpoint", type=Path, help="another folder than the shipped one")
    parser.add_argument("--to", type=Path, help="results file (default recipes/tiny/results/FAMILY.json)")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--guidance", type=float)
    parser.add_argument("--seed", type=int, default=12345)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
