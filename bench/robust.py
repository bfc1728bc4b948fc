"""What trouble costs `sfumato`: noise, costs that are wrong, a machine that wanders, a rank that dies or slows down.

Each case is played on the same arrivals as the workload as it is; a figure is the most, over workloads, of the points
of attainment that it falls by. A rank that dies or takes three times as long does so half-way: then the figure is by
how many points attainment is below that of the whole pool for half the time and of one rank fewer for the other half.
(A share of the ranks' time would be no measure: without the eighth rank there is no group of eight.) Other policies are
in the details.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from msgspec.structs import replace

from bench.figure import Figure, Result, main
from sfumato.cli.trials import Trial, play
from sfumato.report.compare import mean_of
from sfumato.workload.load import load
from sfumato.workload.points import per_minute, swept
from sfumato.workload.pool import Trouble
from sfumato.workload.spec import Workload

FOLDER = Path(__file__).parents[1] / "recipes" / "workloads"
PLACES = {
    "tetriserve-uniform": "24/min, SLO x1",
    "tetriserve-skewed": "24/min, SLO x1",
    "genserve": "50% video",
    "gfdit": "load 90%",
    "mixfusion": "SLO 5x, faster",
    "two-kinds": "54/min",
}
FIRST_SEED = 3_000_000
SEEDS, REQUESTS = 5, 300
OURS, OTHERS = "sfumato", ("srtf", "tetriserve")
POINTS = 5.0
NOTICED = 2.0  # points: what ran on the rank is lost, and that it is slow has to be seen
PLAIN, FEWER = "as it is", "one rank fewer"
SLOWDOWN = 3.0
WRONG: dict[str, dict[str, float]] = {
    "10% noise": {"noise": 0.1},
    "10% noise, costs 20% too high": {"noise": 0.1, "believed": 1.2},
    "10% noise, costs 20% too low": {"noise": 0.1, "believed": 0.8},
    "speed wanders by 10% over 10 s": {"drift": 0.1, "drift_s": 10.0},
}
HURT: dict[str, dict[str, Any]] = {
    "a rank dies half-way": {"dead": True},
    f"a rank is {SLOWDOWN:g}x slower from half-way on": {"slowdown": SLOWDOWN},
}
NOTE = "simulated; the times of all profiles are modelled or published by others, none measured"
Found = Mapping[str, Mapping[str, float]]  # workload -> case -> attainment


def measure(quick: bool) -> Result:
    places = {file: _base(file, quick=quick) for file in PLACES}
    trials = {
        (policy, file, case): Trial(workload=changed, policy=policy, seed=changed.seed)
        for policy in ((OURS,) if quick else (OURS, *OTHERS))
        for file, workload in places.items()
        for case, changed in cases(workload).items()
    }
    runs = iter(play([replace(trial, seed=seed) for trial in trials.values() for seed in trial.seeds], what="robust"))
    found: dict[str, dict[str, dict[str, float]]] = {}
    for (policy, file, case), trial in trials.items():
        attained = mean_of([next(runs).attainment for _ in trial.seeds])
        found.setdefault(policy, {}).setdefault(file, {})[case] = attained or 0.0
    return Result(figures=tuple(figures_of(found[OURS])), note=NOTE, details={"places": PLACES, "attainment": found})


def cases(workload: Workload) -> dict[str, Workload]:
    """The workload as it is, and every trouble that it can have: a pool of one rank is not hurt."""
    found = {PLAIN: workload} | {case: replace(workload, **changes) for case, changes in WRONG.items()}
    if len(workload.pool.infos()) > 1:
        half_s = 30.0 * (workload.requests or 0) / per_minute(workload)
        found[FEWER] = replace(workload, pool=replace(workload.pool, ranks=workload.pool.ranks - 1))
        for case, change in HURT.items():
            trouble = Trouble(rank=0, at_s=half_s, **change)
            found[case] = replace(workload, pool=replace(workload.pool, troubles=(trouble,)))
    return found


def figures_of(found: Found) -> Iterator[Figure]:
    """Of one policy."""
    for case in WRONG:
        falls = {file: 100 * (by_case[PLAIN] - by_case[case]) for file, by_case in found.items()}
        worst = max(falls, key=lambda file: falls[file])
        yield Figure(name=f"{case}: fall ({worst})", value=falls[worst], unit="points", limit=POINTS)
    for case in HURT:
        beyond = {
            file: 100 * (fmean((by_case[PLAIN], by_case[FEWER])) - by_case[case])
            for file, by_case in found.items()
            if case in by_case
        }
        worst = max(beyond, key=lambda file: beyond[file])
        yield Figure(name=f"{case}: beyond its loss ({worst})", value=beyond[worst], unit="points", limit=NOTICED)


def _base(file: str, *, quick: bool) -> Workload:
    found = dict(swept(load(FOLDER / f"{file}.toml")))[PLACES[file]]
    seeds, requests = (1, 100) if quick else (SEEDS, REQUESTS)
    return replace(found, seed=FIRST_SEED, seeds=seeds, requests=requests)


if __name__ == "__main__":
    main(measure)
