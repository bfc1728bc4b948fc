"""The load of the demo: `recipes/workloads/demo.toml`, stretched to the machine by its measured profile.

Rules, so that a fast and a slow machine see the same contest: the work offered is `LOAD` of what the ranks can do, over
about `WINDOW_S` seconds. A fast machine gets more requests, then more steps; a slow one fewer steps. A picture's
deadline is never under a second, which is what a person would call at once. The same profile gives the same load.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from pathlib import Path

from msgspec.structs import replace

from sfumato.cli.worlds import standalone as alone
from sfumato.core.values import ModelSpec, RankInfo
from sfumato.cost import Profile
from sfumato.workload.arrivals import Arrival, draw
from sfumato.workload.load import load
from sfumato.workload.slo import Standalone
from sfumato.workload.spec import Workload

FILE = Path(__file__).parents[2] / "recipes" / "workloads" / "demo.toml"
LOAD = 0.8
WINDOW_S = 55.0
FEWEST, MOST = 44, 160
STEPS = (0.34, 2.0)  # the bounds of the factor on steps
LEAST_SLO_S = 1.0


def standalone(profiles: Sequence[Profile], models: dict[str, ModelSpec]) -> Standalone:
    """Seconds that a request takes alone on one rank, by the profiles: what it costs the ranks, whoever plans."""
    device = profiles[0].device if profiles else "cpu"
    return alone(profiles, models, [RankInfo(rank=0, device=device)])


def make_load(alone_s: Standalone, *, ranks: int, window_s: float = WINDOW_S, seed: int | None = None) -> list[Arrival]:
    """The arrivals for `ranks` ranks; at least `FEWEST`."""
    workload = load(FILE)
    count = round(FEWEST * window_s / _length_s(workload, alone_s, ranks, FEWEST, seed))
    count = min(max(count, FEWEST), MOST)
    factor = window_s / _length_s(workload, alone_s, ranks, count, seed)
    workload = _with_steps(workload, min(max(factor, STEPS[0]), STEPS[1]))
    length_s = _length_s(workload, alone_s, ranks, count, seed)
    drawn = draw(replace(workload, requests=count), seed=seed, standalone_s=alone_s)
    pace = length_s / drawn[-1].at
    return [_eased(replace(arrival, at=arrival.at * pace)) for arrival in drawn]


def _length_s(workload: Workload, alone_s: Standalone, ranks: int, count: int, seed: int | None) -> float:
    """Seconds over which `count` requests come to `LOAD` of the ranks."""
    drawn = draw(replace(workload, requests=count), seed=seed, standalone_s=alone_s)
    return sum(alone_s(a.model, a.shape, a.steps, a.guided) for a in drawn) / (ranks * LOAD)


def _with_steps(workload: Workload, factor: float) -> Workload:
    classes = tuple(replace(entry, steps=max(4, ceil(entry.steps * factor))) for entry in workload.classes)
    return replace(workload, classes=classes)


def _eased(arrival: Arrival) -> Arrival:
    if arrival.shape.frames > 1 or arrival.slo_s is None:
        return arrival
    return replace(arrival, slo_s=max(arrival.slo_s, LEAST_SLO_S))
