"""How fast the planner is: events a second of the simulator, one decision of `sfumato`, and long simulations with it.

All on simulated H100s with a profile of Flux. A decision is one call of `plan` that launches something, in a running
simulation with about so many requests live, as many arriving as end: so with queues, running chunks and a warm cost
model as they come. Times are CPU seconds of one core. The 100,000 requests on 64 ranks are played, by a quick look
reckoned from what each further request takes in shorter plays. The growth of both is printed and drawn
(bench/results/planner.png, planner-decisions.png).
"""

from __future__ import annotations

import gc
import time
from itertools import islice
from statistics import fmean, median
from typing import Any, NamedTuple

from msgspec.structs import replace

from bench.figure import Figure, Result, main, ms, percentile, summary
from bench.growth import picture, power
from sfumato.assemble import Setup, simulated
from sfumato.core.events import Arrived
from sfumato.core.policy import Plan
from sfumato.core.values import RankInfo, Request
from sfumato.core.view import View
from sfumato.cost import read_profile, spec_of
from sfumato.sim import Noise, Simulation, lognormal, steady
from sfumato.workload.arrivals import draw, requests
from sfumato.workload.load import read

PROFILE = "profiles/published/h100-flux1-dev-modelled.json"
SLOS = {"256": 1.5, "512": 2.0, "1024": 3.0, "2048": 5.0}  # TetriServe's, in seconds
PER_RANK = 0.09  # arrivals a second that keep a rank about nine tenths busy
RANKS = 64  # of the long simulation
WANTED = 100_000  # its requests
NOISE = 0.05  # of steps there, so that chunks do not end in step
ROOM = 8.0  # of deadlines, where decisions are timed: nearly all can be met, so that all are planned for


class Scene(NamedTuple):
    """Decisions to be timed: how many of them, with how many live, and their target if they have one."""

    ranks: int
    live: int
    decisions: int
    limit_ms: float | None = None


SCENES = (
    Scene(8, 64, 2000, 1.0),
    Scene(16, 200, 1000),
    Scene(64, 1000, 1000, 5.0),
    Scene(256, 3000, 500),
    Scene(1024, 10_000, 500, 50.0),
)


class Decisions(NamedTuple):
    """Seconds of plans that launch: the first, with all ranks free, and those after a tenth of what was there ended."""

    first_s: float
    found: list[float]


class Played(NamedTuple):
    """A simulation to its end: all CPU seconds, those of the policy, simulated seconds, decisions, launches."""

    cpu_s: float
    plan_s: float
    simulated_s: float
    decisions: int
    chunk_s: float


def measure(quick: bool) -> Result:
    count, repeats = (2_000, 3) if quick else (10_000, 7)
    speeds = [_events_per_second(count) for _ in range(repeats)]
    scenes = [scene._replace(decisions=max(10, 2000 // scene.live)) for scene in SCENES] if quick else list(SCENES)
    decisions = {scene: _decisions(scene) for scene in scenes}
    by_requests = {count: _play(RANKS, count) for count in ((200, 400) if quick else (500, 1000, 2000, 4000, WANTED))}
    by_ranks = {ranks: _play(ranks, 4 * ranks) for ranks in ((16, 32) if quick else (16, 32, 64, 128, 256))}
    took = {
        "median": [(float(scene.live), ms(median(timed.found))) for scene, timed in decisions.items()],
        "p99": [(float(scene.live), ms(percentile(timed.found, 0.99))) for scene, timed in decisions.items()],
    }
    lines = {
        f"{RANKS} ranks, over requests": [(float(n), played.cpu_s) for n, played in by_requests.items()],
        "4 requests a rank, over ranks": [(float(n), played.cpu_s) for n, played in by_ranks.items()],
    }
    return Result(
        note="CPU time of this machine; the simulated pool's step times are modelled",
        figures=(
            Figure(name="simulator, fixed, 8 ranks", value=median(speeds), unit="events/s", sense=">=", limit=30_000),
            *(figure for scene, timed in decisions.items() for figure in _of_decisions(scene, timed)),
            *_of_plays(by_requests),
            *(Figure(name=f"growth of that time: {name}: exponent", value=power(line)) for name, line in lines.items()),
            *(
                Figure(name=f"growth of a decision, {name}, over live: exponent", value=power(took[name]))
                for name in took
            ),
        ),
        details={
            "events_per_s": [round(speed) for speed in speeds],
            "decision_ms": {f"{scene.ranks}/{scene.live}": summary(timed.found) for scene, timed in decisions.items()},
            "by_requests": {str(count): played._asdict() for count, played in by_requests.items()},
            "by_ranks": {str(ranks): played._asdict() for ranks, played in by_ranks.items()},
            "pictures": [
                picture("planner", lines, x="requests, or ranks", y="CPU seconds", quick=quick),
                picture("planner-decisions", took, x="live requests (8 to 1,024 ranks)", y="CPU ms", quick=quick),
            ],
        },
    )


def _of_decisions(scene: Scene, timed: Decisions) -> tuple[Figure, ...]:
    name = f"a decision of sfumato, {scene.ranks} ranks, {scene.live} live"
    p99 = ms(percentile(timed.found, 0.99))
    return (
        Figure(name=f"{name}: p99", value=p99, unit="ms", limit=scene.limit_ms),
        Figure(name="the same: median", value=ms(median(timed.found)), unit="ms"),
        Figure(name="the same: the first, all ranks free", value=ms(timed.first_s), unit="ms"),
        Figure(name="the same: decisions timed", value=len(timed.found)),
    )


def _of_plays(by_requests: dict[int, Played]) -> tuple[Figure, ...]:
    """The longest play, or what it would be by what each further request took in it: by then the pool is full."""
    (fewer, shorter), (more, longer) = sorted(by_requests.items())[-2:]
    each_s = (longer.cpu_s - shorter.cpu_s) / (more - fewer)
    share = longer.plan_s / longer.simulated_s
    wanted_min = (longer.cpu_s + (WANTED - more) * each_s) / 60
    return (
        Figure(name=f"planner's cores, {RANKS} busy ranks", value=share, unit="cores", limit=0.5),
        Figure(name="the same: mean chunk", value=longer.chunk_s, unit="s"),
        Figure(name=f"{WANTED} requests, {RANKS} ranks, simulated", value=wanted_min, unit="CPU min", limit=15.0),
        Figure(name="the same: requests played", value=more),
    )


def _events_per_second(count: int) -> float:
    simulation = _simulation("fixed", 8, _arrivals(0, count, per_second=1.5, slo_factor=10.0))
    began = time.process_time()
    simulation.run()
    return simulation.events / (time.process_time() - began)


def _decisions(scene: Scene) -> Decisions:
    """As many requests are there at first as are wanted live, and for each that ends another comes."""
    slo_factor = ROOM * scene.live / scene.ranks
    asked = iter(_arrivals(0, scene.live + 4 * scene.decisions, per_second=1.0, slo_factor=slo_factor))
    at_once = [_at(0.0, request) for request in islice(asked, scene.live)]
    simulation = _simulation("sfumato", scene.ranks, at_once, lognormal(0, NOISE))
    timed = simulation.serving.policy = Timed(simulation.serving.policy)
    ended = 0

    def enough(now: float) -> bool:
        nonlocal ended
        for request in islice(asked, len(simulation.outcomes) - ended):
            simulation.push(Arrived(at=now, request=_at(now, request)))
        ended = len(simulation.outcomes)
        if ended < scene.live // 10:
            timed.launching.clear()
        return len(timed.launching) >= scene.decisions

    gc.collect()
    simulation.run(enough)
    return Decisions(timed.calls[0], timed.launching)


def _at(now: float, request: Request) -> Request:
    """The same, arriving now."""
    return replace(request, arrived_at=now, deadline=now + (request.deadline or 0.0) - request.arrived_at)


def _play(ranks: int, count: int) -> Played:
    """A busy pool in balance: about as much arrives as it can do."""
    simulation = _simulation("sfumato", ranks, _arrivals(7, count, per_second=PER_RANK * ranks, slo_factor=2.0))
    timed = Timed(simulation.serving.policy)
    simulation.serving.policy = timed
    gc.collect()
    began = time.process_time()
    simulation.run()
    spent_s = time.process_time() - began
    plan_s = sum(timed.calls)
    chunk_s = fmean(timed.chunks) if timed.chunks else 0.0
    return Played(spent_s, plan_s, simulation.serving.now, len(timed.calls), chunk_s)


class Timed:
    """A policy whose calls are timed, and the chunks that it launches weighed."""

    def __init__(self, policy: Any) -> None:
        self.name = policy.name
        self.work_conserving = policy.work_conserving
        self.calls: list[float] = []
        self.launching: list[float] = []  # of the calls
        self.chunks: list[float] = []
        self._policy = policy

    def plan(self, view: View) -> Plan:
        began = time.process_time()
        plan: Plan = self._policy.plan(view)
        self.calls.append(time.process_time() - began)
        self.chunks += [chunk.units * view.costs.unit_s(view.work(chunk)) for chunk in plan.launches]
        if plan.launches:
            self.launching.append(self.calls[-1])
        return plan


def _simulation(policy: str, ranks: int, arrivals: list[Request], noise: Noise = steady) -> Simulation:
    profile = read_profile(PROFILE)
    setup = Setup(models={profile.model: spec_of(profile)}, profiles=(profile,), policy=policy)
    return simulated(setup, [RankInfo(rank=rank, device="h100") for rank in range(ranks)], arrivals, noise=noise)


def _arrivals(seed: int, count: int, *, per_second: float, slo_factor: float) -> list[Request]:
    """TetriServe's uniform mix of sizes."""
    classes = [
        {"name": size, "model": "flux1-dev", "size": f"{size}x{size}", "steps": 28, "slo": slo * slo_factor}
        for size, slo in SLOS.items()
    ]
    arrivals = {"process": "poisson", "per_second": per_second}
    return requests(draw(read({"seed": seed, "requests": count, "classes": classes, "arrivals": arrivals})))


if __name__ == "__main__":
    main(measure)
