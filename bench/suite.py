"""The published policies and ours on the suite (recipes/workloads): at least 3,000 requests a point, policies paired.

Figures, over all points: how far another policy is ahead of sfumato; how much of the gap between the best other policy
and the offline bound it closes; its share of the bound, without batches; the rate that it holds at 95%; its latency on
requests that both serve in time. Seeds from EVALUATION on are used for nothing else: a quick look has others.

    python -m bench.suite                                      # all of it; writes docs/suite.md
    python -m bench.suite --modelled-factor 0.7 --part 0.3     # do modelled figures decide? Fewer seeds and others
    python -m bench.suite --page                               # docs/suite.md again, from the results that are there

Runs are kept by what they depend on (cli/trials.py), so a suite that was stopped goes on, and one after a change to a
single policy plays that policy alone. What is kept rests on the source: to go on working meanwhile, play a clone of the
repository (`PYTHONPATH=src:. nice -n 15 python -m bench.suite` in it).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from msgspec import to_builtins
from msgspec.structs import replace

from bench.figure import Figure, Result, run
from bench.suite_page import write_page
from bench.suite_places import OURS, Place, figures_of
from bench.suite_rates import edges_of
from sfumato.cli.matches import course_of, tasks_of
from sfumato.cli.trials import BOUND, Trial, play
from sfumato.policies import POLICIES
from sfumato.workload.load import load
from sfumato.workload.points import swept

FOLDER = Path(__file__).parents[1] / "recipes" / "workloads"
EVALUATION = 1_000_000  # and on: for what is published, nothing else
LOOKS = 2_000_000  # of a quick look
TWO_CORES_MIN = 90.0
NOTE = "simulated; the times of all profiles are modelled or published by others, none measured"
VARIANTS = ("fixed,degree=2", "fixed,degree=4", "fixed,degree=8", 'static,rule="rasp"')
OTHERS = (*(name for name in POLICIES if name != OURS), *VARIANTS)
QUICK_OTHERS = ("tetriserve", "genserve", "tridentserve", "patchedserve", "srtf", "static")


def measure(quick: bool, factor: float = 1.0, part: float = 1.0, *, rates_too: bool = True) -> Result:
    others = QUICK_OTHERS if quick or factor != 1.0 else OTHERS
    files = [path for path in sorted(FOLDER.glob("*.toml")) if _is_in(path, quick)]
    bases = {path.stem: _base(path, factor, part, quick=quick) for path in files}
    spent: list[float] = []
    places = [place for file, base in bases.items() for place in _places(file, base, (OURS, *others), spent)]
    ranked = {file: _ranked([place for place in places if place.file == file], others) for file in bases}
    rates = edges_of(bases, ranked) if rates_too and not quick and part == 1.0 else {}
    details = {
        "modelled_factor": factor,
        "part": part,
        "policies": [OURS, *others],
        "first_seed": EVALUATION,
        "points": {place.name: place.row() for place in places},
        "rates": {name: {**to_builtins(edge), "gain": edge.gain} for name, edge in rates.items()},
        "cpu_s": {policy: round(sum(place.cpu_s[policy] for place in places), 1) for policy in (OURS, *others)},
    }
    figures = [*figures_of(places, rates)]
    if not quick and part == 1.0:
        figures.append(_cost(sum(spent) + sum(edge.cpu_s for edge in rates.values())))
    return Result(figures=tuple(figures), note=NOTE, details=details)


def _cost(cpu_s: float) -> Figure:
    """What every run has taken, also those that were kept from an earlier call."""
    minutes = cpu_s / 60 / 2
    return Figure(name="all runs, anew: CPU time over two cores", value=minutes, unit="min", limit=TWO_CORES_MIN)


def _is_in(path: Path, quick: bool) -> bool:
    """The demo is for the embedded models; a quick look leaves out what takes long."""
    slow = ("tridentserve", "pool", "diurnal")
    return path.stem != "demo" and not (quick and path.stem.startswith(slow))


def _base(path: Path, factor: float, part: float, *, quick: bool) -> Trial:
    first = LOOKS if quick else EVALUATION
    workload = replace(load(path), seed=first)
    workload = replace(workload, seeds=max(1, round(part * workload.seeds)))
    if quick:
        point = workload.points[len(workload.points) // 2 :][:1]
        workload = replace(workload, points=point, seeds=1, requests=200)
    return Trial(workload=workload, policy="", seed=first, factor=factor)


def _places(file: str, base: Trial, policies: Sequence[str], spent: list[float]) -> Iterator[Place]:
    """All points of a file played in one go; `spent` gets the CPU seconds of each run."""
    began = time.monotonic()
    points = [(name, replace(base, workload=workload)) for name, workload in swept(base.workload)]
    lone = [replace(trial, workload=replace(trial.workload, batches=False)) for _, trial in points]
    asked = [tasks_of(trial, (*policies, BOUND)) for _, trial in points]
    asked += [tasks_of(trial, (OURS, BOUND)) for trial in lone]
    runs = iter(play([trial for tasks in asked for trial in tasks], what=file))
    played = [[(task, next(runs)) for task in tasks] for tasks in asked]
    spent += [ran.cpu_s for tasks in played for _, ran in tasks]
    for place, (name, trial) in enumerate(points):
        alone = course_of(name, lone[place], played[len(points) + place])
        yield Place(file, course_of(name, trial, played[place]), alone)
    spent_s = time.monotonic() - began
    print(f"{file}: {len(points)} points in {spent_s:.0f} s", file=sys.stderr, flush=True)


def _ranked(places: Sequence[Place], others: Sequence[str]) -> list[str]:
    """Who served the most comes first."""
    return sorted(others, key=lambda policy: -sum(place.found[policy] for place in places))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.suite", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="a point of some workloads, 200 requests: a look")
    parser.add_argument("--modelled-factor", type=float, default=1.0)
    parser.add_argument("--part", type=float, default=1.0, help="of the seeds; without the search for rates")
    parser.add_argument("--no-rates", action="store_true", help="without the search for rates")
    parser.add_argument("--page", action="store_true", help="play nothing")
    given = parser.parse_args()
    factor = given.modelled_factor
    if not given.page:
        name = "suite" if factor == 1.0 else f"suite-modelled-{factor:g}"
        run(name, lambda quick: measure(quick, factor, given.part, rates_too=not given.no_rates), quick=given.quick)
    if not given.quick:
        write_page()


if __name__ == "__main__":
    main()
