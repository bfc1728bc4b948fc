"""How far `sfumato` is from what is possible: beside the bound of the suite, and beside a tighter one.

The suite's bound is a linear programme in rank-seconds. On the same arrivals `sim.bound_whole` serves requests whole
and runs nothing beside a group of all ranks: still no schedule exceeds it, and still it knows all arrivals in advance.
What lies between the two is the looseness of the first, not something that a planner could win. Measured on
TetriServe's set-ups, where the share of the bound is lowest: 150 requests a run, no batches, seeds of their own.
"""

from __future__ import annotations

import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

from msgspec.structs import replace

from bench.figure import Figure, Result, main
from sfumato.cli.trials import Trial, run
from sfumato.config import usable_cores
from sfumato.sim.bound import bound
from sfumato.sim.bound_whole import whole_bound
from sfumato.workload.load import load
from sfumato.workload.points import swept

FOLDER = Path(__file__).parents[1] / "recipes" / "workloads"
FILES = ("tetriserve-uniform", "tetriserve-skewed")
OURS, PAPERS = "sfumato", "tetriserve"
FIRST_SEED = 6_000_000
SEEDS, REQUESTS = 2, 150
WORTH_CLOSING = 0.05
NOTE = "simulated; the step times of these profiles are modelled or published by others, none measured"


class Seen(NamedTuple):
    """Shares of the requests of one run: served in time by us and by the paper's policy, the most by either bound."""

    served: float
    papers: float
    loose: float
    whole: float


def measure(quick: bool) -> Result:
    trials = dict(_trials(quick=quick))
    with ProcessPoolExecutor(usable_cores()) as pool:
        seen = dict(zip(trials, pool.map(_seen, trials, trials.values()), strict=True))
    points = list(dict.fromkeys(name for name, _ in seen))
    means = {
        point: Seen(*map(fmean, zip(*(found for (name, _), found in seen.items() if name == point), strict=True)))
        for point in points
    }
    loose = [mean.served / mean.loose for mean in means.values()]
    whole = [mean.served / mean.whole for mean in means.values()]
    gaps = [mean for mean in means.values() if mean.whole - mean.papers >= WORTH_CLOSING]
    figures = [
        Figure(name="share of the suite's bound: mean", value=fmean(loose)),
        Figure(name="share of the suite's bound: lowest", value=min(loose)),
        Figure(name="share of the bound of whole requests: mean", value=fmean(whole)),
        Figure(name="share of the bound of whole requests: lowest", value=min(whole)),
    ]
    if gaps:
        closed = 100 * fmean((mean.served - mean.papers) / (mean.whole - mean.papers) for mean in gaps)
        figures.append(Figure(name=f"gap from {PAPERS} to that bound: closed", value=closed, unit="%"))
    details = {
        point: {
            OURS: round(mean.served, 4),
            PAPERS: round(mean.papers, 4),
            "suite's bound": round(mean.loose, 4),
            "bound of whole requests": round(mean.whole, 4),
        }
        for point, mean in means.items()
    }
    return Result(figures=tuple(figures), note=NOTE, details=details)


def _trials(*, quick: bool) -> list[tuple[tuple[str, int], Trial]]:
    found = []
    for file in FILES:
        points = list(swept(load(FOLDER / f"{file}.toml")))
        for point, workload in points[:1] if quick else points:
            plain = replace(workload, requests=REQUESTS // 2 if quick else REQUESTS, batches=False, seed=FIRST_SEED)
            for seed in range(FIRST_SEED, FIRST_SEED + (1 if quick else SEEDS)):
                found.append(((f"{file} {point}", seed), Trial(workload=plain, policy=OURS, seed=seed)))
    return found


def _seen(name: tuple[str, int], trial: Trial) -> Seen:
    world, asked = trial.world, trial.requests()
    loose, whole = (of(asked, world.ranks, world.models, world.truth) for of in (bound, whole_bound))
    ours, theirs = (run(replace(trial, policy=policy)).attainment or 0.0 for policy in (OURS, PAPERS))
    print(f"{name[0]}, seed {name[1]}: {ours:.3f} of {whole.attainment:.3f}", file=sys.stderr, flush=True)
    return Seen(ours, theirs, loose.attainment or 0.0, whole.attainment or 0.0)


if __name__ == "__main__":
    main(measure)
