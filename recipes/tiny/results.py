"""What an evaluation found, as JSON that can be gone on with after each size, and as a markdown table.

A file counts only for the weights, prompts and settings that it names; with others the evaluation starts anew.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recipes.tiny.judge_clip import Drift
from recipes.tiny.marks import Tally

RESULTS = Path(__file__).parent / "results"
WANTED = {"background": 0.95, "colour": 0.95, "place": 0.95, "shape": 0.85, "both objects": 0.9, "direction": 0.9}
STEADY = 0.05
ORDER = ("background", "colour", "place", "shape", "size", "count", "both objects", "relation", "direction")


def load(path: Path | None, key: dict[str, Any]) -> dict[str, Any]:
    """The results that `path` holds for this key, else none yet."""
    kept: dict[str, Any] = json.loads(path.read_text()) if path is not None and path.exists() else {}
    return kept if kept.get("of") == key else {"of": key, "sizes": {}}


def save(path: Path | None, results: dict[str, Any]) -> None:
    if path is None:
        return
    path.parent.mkdir(exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(results, indent=1) + "\n")
    part.replace(path)


def fingerprint(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.safetensors")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def steadiness(drifts: Sequence[Sequence[Drift]]) -> dict[str, float]:
    """Of clips with the drifts of their things: means, the worst twentieth of all frame pairs, and the steady clips."""
    things = [drift for clip in drifts for drift in clip]
    colour = np.array([step for drift in things for step in drift.colour] or [0.0])
    area = np.array([step for drift in things for step in drift.area] or [0.0])
    return {
        "colour": _rounded(colour.mean()),
        "colour, 95th percentile": _rounded(np.quantile(colour, 0.95)),
        "area": _rounded(area.mean()),
        "area, 95th percentile": _rounded(np.quantile(area, 0.95)),
        "off a straight, even path": _rounded(
            np.mean([drift.stray for drift in things if drift.stray is not None] or [0.0])
        ),
        "clips under 5%": _rounded(np.mean([bool(clip) and all(map(_steady, clip)) for clip in drifts])),
    }


def _steady(drift: Drift) -> bool:
    """Colour and area change by less than 5% from frame to frame on average."""
    return all(np.mean(steps or (0.0,)) < STEADY for steps in (drift.colour, drift.area))


def _rounded(value: Any) -> float:
    return round(float(value), 5)


def table(tallies: dict[str, Tally]) -> str:
    """Attributes down, sizes across; shares with the number asked over all sizes, and what is wanted."""
    names = sorted({name for tally in tallies.values() for name in tally}, key=_rank)
    lines = ["| | " + " | ".join(tallies) + " | all | asked | wanted |", "|---|" + "---|" * (len(tallies) + 3)]
    for name in names:
        counts = [tally.get(name, [0, 0]) for tally in tallies.values()]
        right, asked = (sum(column) for column in zip(*counts, strict=True))
        wanted = f"{WANTED[name]:.0%}" if name in WANTED else ""
        cells = [_share(*count) for count in [*counts, [right, asked]]]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {asked} | {wanted} |")
    return "\n".join(lines)


def report(results: dict[str, Any]) -> str:
    """The markdown of one model's results."""
    sizes = results["sizes"]
    lines = [table({name: size["marks"] for name, size in sizes.items()}), ""]
    lines += [f"| | {' | '.join(sizes)} |", "|---|" + "---|" * len(sizes)]
    for row in [name for name in next(iter(sizes.values())) if name not in ("marks", "wrong", "drift")]:
        lines.append(f"| {row} | " + " | ".join(f"{size[row]:.4g}" for size in sizes.values()) + " |")
    for row in next(iter(sizes.values())).get("drift", {}):
        lines.append(f"| drift: {row} | " + " | ".join(f"{size['drift'][row]:.1%}" for size in sizes.values()) + " |")
    for name, (right, asked) in results.get("wording", {}).items():
        lines.append(f"\n{name}: {right} of {asked}")
    return "\n".join(lines)


def _rank(name: str) -> tuple[int, str]:
    return (ORDER.index(name) if name in ORDER else len(ORDER), name)


def _share(right: int, asked: int) -> str:
    return f"{right / asked:.1%}" if asked else ""
