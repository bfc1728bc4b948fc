"""How long the offline bound takes, over requests and ranks: workloads of `recipes/` with more and more arrivals.

CPU seconds of one core, so that what else runs on the machine counts little. 3,000 requests are what a point of the
suite has.
"""

from __future__ import annotations

import sys
import time
from typing import NamedTuple

from msgspec.structs import replace

from bench.figure import Figure, Result, main
from bench.growth import picture, power
from bench.suite import NOTE
from sfumato.cli.worlds import world_of
from sfumato.sim.bound import bound
from sfumato.workload.load import load

# A mix of 2 to 5 s deadlines, of images beside long videos, of stages on ranks of their own, and of the largest pool.
WORKLOADS = ("tetriserve-skewed", "genserve", "tridentserve-hunyuan", "pool-256")
COUNTS = (300, 1000, 3000)
LIMIT_S = 20.0
RATE_FACTOR = 3.0  # under overload there is something to choose


class Timed(NamedTuple):
    """A bound and what it cost."""

    ranks: int
    requests: int
    cpu_s: float
    attainment: float


def measure(quick: bool) -> Result:
    counts = COUNTS[:2] if quick else COUNTS
    found = {name: [_timed(name, count) for count in counts] for name in WORKLOADS}
    lines = {
        f"{name}, {runs[0].ranks} ranks": [(float(run.requests), run.cpu_s) for run in runs]
        for name, runs in found.items()
    }
    drawn = picture("bound", lines, x="requests", y="CPU seconds", quick=quick)
    return Result(
        figures=tuple(
            figure
            for (label, line), runs in zip(lines.items(), found.values(), strict=True)
            for figure in (
                Figure(
                    name=f"bound, {label}, {counts[-1]} requests",
                    value=runs[-1].cpu_s,
                    unit="CPU s",
                    limit=LIMIT_S,
                ),
                Figure(name="the same: exponent over requests", value=power(line)),
            )
        ),
        note=NOTE,
        details={"picture": drawn, "runs": {name: [run._asdict() for run in runs] for name, runs in found.items()}},
    )


def _timed(name: str, count: int) -> Timed:
    workload = load(f"recipes/workloads/{name}.toml")
    workload = replace(workload, requests=count, horizon_s=None, rate_factor=RATE_FACTOR * workload.rate_factor)
    world = world_of(workload)
    asked = list(world.draw(workload, workload.seed))
    costs = world.truth
    began = time.process_time()
    found = bound(asked, world.ranks, world.models, costs)
    spent_s = time.process_time() - began
    timed = Timed(len(world.ranks), len(asked), round(spent_s, 3), round(found.attainment or 0.0, 4))
    print(name, *timed, file=sys.stderr, flush=True)
    return timed


if __name__ == "__main__":
    main(measure)
