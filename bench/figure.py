"""A figure: what was measured, what it should be, and whether that was held; and the file that keeps the last run.

Rules: a program's `measure(quick)` returns its figures and details; all of it goes to bench/results/NAME.json with the
machine, the date and the commit. Quick runs (fewer repeats, for busy machines) are kept apart and prove nothing.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

RESULTS = Path(__file__).parent / "results"


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One claim. `limit` None: it is reported without a target."""

    name: str
    value: float
    unit: str = ""
    sense: Literal["<=", ">="] = "<="
    limit: float | None = None

    @property
    def held(self) -> bool | None:
        """Whether the target was reached."""
        if self.limit is None:
            return None
        return self.value <= self.limit if self.sense == "<=" else self.value >= self.limit

    def line(self) -> str:
        """name, value, target, verdict."""
        verdict = {True: "held", False: "SHORT", None: ""}[self.held]
        target = "" if self.limit is None else f"{self.sense} {self.limit:g} {self.unit}".rstrip()
        return f"{self.name:<58} {self.value:>10.4g} {self.unit:<9} {target:<16} {verdict}".rstrip()


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What a program found; `note` says what it rests on, `details` are for whoever doubts it."""

    figures: tuple[Figure, ...]
    note: str = ""
    details: dict[str, Any] = {}


Measure = Callable[[bool], Result]


def main(measure: Measure) -> None:
    """The command line of one program; `measure` is that of its module."""
    given = parser(measure).parse_args()
    run(program(measure), measure, quick=given.quick)


def parser(measure: Callable[..., Result]) -> argparse.ArgumentParser:
    """What every program takes."""
    options = argparse.ArgumentParser(description=sys.modules[measure.__module__].__doc__)
    options.add_argument("--quick", action="store_true", help="fewer repeats: a look, not a proof")
    return options


def program(measure: Callable[..., Result]) -> str:
    """The name of its module, also where that is run as the main one."""
    return Path(str(sys.modules[measure.__module__].__file__)).stem


def run(name: str, measure: Measure, *, quick: bool) -> Result:
    """Measure, keep, print."""
    began = datetime.now(UTC)
    result = measure(quick)
    keep(name, result, quick=quick, began=began)
    if result.note:
        print(f"{name}: {result.note}", flush=True)
    for figure in result.figures:
        print(figure.line(), flush=True)
    return result


def keep(name: str, result: Result, *, quick: bool, began: datetime) -> None:
    """Write the result where the last run of its kind is kept."""
    folder = RESULTS / "quick" if quick else RESULTS
    folder.mkdir(parents=True, exist_ok=True)
    document = {
        "name": name,
        "quick": quick,
        "date": began.isoformat(timespec="seconds"),
        "seconds": round((datetime.now(UTC) - began).total_seconds(), 1),
        "commit": commit(),
        "machine": machine(),
        "note": result.note,
        "figures": [{**msgspec.to_builtins(figure), "held": figure.held} for figure in result.figures],
        "details": result.details,
    }
    text = msgspec.json.format(msgspec.json.encode(document), indent=1)
    (folder / f"{name}.json").write_bytes(text + b"\n")


def machine() -> dict[str, Any]:
    """What the numbers depend on; `load` is what else was running when the result was written."""
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)),
        "system": platform.platform(),
        "load_1_min": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        **{name: importlib.metadata.version(name) for name in ("torch", "diffusers", "numpy", "msgspec")},
    }


def commit() -> str:
    """The commit that was measured; with a plus if there were changes to it."""
    here = Path(__file__).parent
    try:
        head = subprocess.check_output(["git", "rev-parse", "--short", "HEAD"], cwd=here, text=True).strip()
        changed = subprocess.check_output(["git", "status", "--porcelain", "--", "../src"], cwd=here, text=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return f"{head}+" if changed.strip() else head


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of them lie (nearest rank)."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def ms(seconds: float) -> float:
    """Milliseconds with three places."""
    return round(seconds * 1000, 3)


def summary(values: Sequence[float]) -> dict[str, float]:
    """Percentiles in milliseconds, for the details of a result."""
    shares = {"p10": 0.1, "p50": 0.5, "p90": 0.9, "p99": 0.99}
    return {"n": len(values), **{name: ms(percentile(values, share)) for name, share in shares.items()}}


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
