"""How fast the planner is: events a second of the simulator under `fixed`, and one decision of `sfumato`.

Both on 8 simulated ranks with a profile of Flux on H100s. A decision is one call of `plan` in a running simulation
while about 64 requests are live, so with queues, running chunks and a warm cost model as they come.
"""

from __future__ import annotations

import gc
import time
from statistics import median
from typing import Any

from bench.figure import Figure, Result, main, ms, percentile, summary
from sfumato.assemble import Setup, simulated
from sfumato.core.policy import Plan
from sfumato.core.values import RankInfo, Request
from sfumato.core.view import View
from sfumato.cost import read_profile, spec_of
from sfumato.sim import Simulation
from sfumato.workload.arrivals import draw, requests
from sfumato.workload.load import read

PROFILE = "profiles/published/h100-flux1-dev-modelled.json"
RANKS = 8
LIVE = 64
NEAR = 4  # decisions with 60 to 68 live requests are looked at


def measure(quick: bool) -> Result:
    count, repeats = (2_000, 3) if quick else (10_000, 7)
    speeds = [_events_per_second(count) for _ in range(repeats)]
    decisions = [seconds for seed in range(2 if quick else 6) for seconds in _decisions(seed)]
    return Result(
        figures=(
            Figure(name="simulator, fixed, 8 ranks", value=median(speeds), unit="events/s", sense=">=", limit=30_000),
            Figure(
                name=f"a decision of sfumato, 8 ranks, {LIVE} live: p99",
                value=ms(percentile(decisions, 0.99)),
                unit="ms",
                limit=2.0,
            ),
            Figure(name="the same: median", value=ms(median(decisions)), unit="ms"),
        ),
        details={"events_per_s": [round(speed) for speed in speeds], "decision_ms": summary(decisions)},
    )


def _events_per_second(count: int) -> float:
    simulation = _simulation("fixed", _arrivals(0, count, per_second=1.5))
    began = time.perf_counter()
    simulation.run()
    return simulation.events / (time.perf_counter() - began)


def _decisions(seed: int) -> list[float]:
    """Seconds of plans near LIVE live requests, from a burst of 128 that is worked off."""
    simulation = _simulation("sfumato", _arrivals(seed, 2 * LIVE, per_second=100.0))
    timed = Timed(simulation.serving.policy)
    simulation.serving.policy = timed
    gc.collect()
    simulation.run()
    return [seconds for live, seconds in timed.calls if abs(live - LIVE) <= NEAR]


class Timed:
    """A policy whose calls are timed."""

    def __init__(self, policy: Any) -> None:
        self.name = policy.name
        self.work_conserving = policy.work_conserving
        self.calls: list[tuple[int, float]] = []
        self._policy = policy

    def plan(self, view: View) -> Plan:
        began = time.perf_counter()
        plan: Plan = self._policy.plan(view)
        self.calls.append((len(view.jobs), time.perf_counter() - began))
        return plan


def _simulation(policy: str, arrivals: list[Request]) -> Simulation:
    profile = read_profile(PROFILE)
    setup = Setup(models={profile.model: spec_of(profile)}, profiles=(profile,), policy=policy)
    return simulated(setup, [RankInfo(rank=rank, device="h100") for rank in range(RANKS)], arrivals)


def _arrivals(seed: int, count: int, per_second: float) -> list[Request]:
    """TetriServe's mix of sizes, and SLOs with room: all that arrive are worked on."""
    classes = [
        {"name": size, "model": "flux1-dev", "size": f"{size}x{size}", "steps": 28, "slo": slo}
        for size, slo in (("256", 15.0), ("512", 20.0), ("1024", 30.0), ("2048", 90.0))
    ]
    arrivals = {"process": "poisson", "per_second": per_second}
    return requests(draw(read({"seed": seed, "requests": count, "classes": classes, "arrivals": arrivals})))


if __name__ == "__main__":
    main(measure)
