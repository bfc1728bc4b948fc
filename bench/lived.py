"""A scene played: live, on processes, at the planned times of its arrivals; and in the simulator."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from statistics import fmean
from typing import Any

from msgspec.structs import replace

from bench.scenes import Scene
from sfumato.assemble import Setup, live, simulated
from sfumato.core.journal import Entry
from sfumato.core.values import Value
from sfumato.cost import ProfileCosts
from sfumato.report.journal import tell
from sfumato.report.metrics import Metrics
from sfumato.report.metrics import measure as metrics_of
from sfumato.report.story import Story
from sfumato.runtime.engine import Engine
from sfumato.runtime.service import Ask
from sfumato.sim import DRIFT_S, drifting, even, lognormal
from sfumato.workload.arrivals import Arrival, requests


class Run(Value, frozen=True, kw_only=True):
    """A policy of the table with its options."""

    policy: str
    options: dict[str, Any] = {}

    def __str__(self) -> str:
        told = ", ".join(f"{name} {value}" for name, value in self.options.items())
        return f"{self.policy} ({told})" if told else self.policy


class Pace(Value, frozen=True, kw_only=True):
    """How fast a run was: seconds of its units over those of the profile, seconds around the units of a chunk."""

    units: float = 1.0
    gap_s: float | None = None


def setup_of(scene: Scene, run: Run, gap_s: float | None = None) -> Setup:
    """As served; with `gap_s` a launch takes that."""
    profiles = scene.profiles if gap_s is None else tuple(replace(one, launch_gap_s=gap_s) for one in scene.profiles)
    return Setup(models=scene.models, profiles=profiles, policy=run.policy, options=run.options)


async def lived(scene: Scene, run: Run, arrivals: Sequence[Arrival]) -> list[Entry]:
    """The journal of the arrivals played at their times against worker processes."""
    loop, entries = asyncio.get_running_loop(), list[Entry]()
    setup, many = setup_of(scene, run), len(arrivals)
    engine, _ = live(setup, scene.offers, scene.cluster, clock=loop.time, write=entries.append, max_waiting=many)
    await engine.start(scene.ranks)
    try:
        begins = loop.time() + 1.0
        await asyncio.gather(*(_play(engine, arrival, begins + arrival.at) for arrival in arrivals))
    finally:
        await engine.stop()
    return entries


def simulate(scene: Scene, run: Run, arrivals: Sequence[Arrival], runs: int, pace: Pace | None = None) -> list[Metrics]:
    """The same arrivals in the simulator, under `runs` draws of its noise.

    As long as nobody knows the pace of the run, the spread of the profile is the machine's drift: it was measured in
    passes with a part of a minute between them, and what is slow stays so for a while. Else it is each chunk's own.
    """
    return [_simulate(scene, run, arrivals, seed, pace) for seed in range(runs)]


def _simulate(scene: Scene, run: Run, arrivals: Sequence[Arrival], seed: int, pace: Pace | None) -> Metrics:
    entries: list[Entry] = []
    wandering = even if pace else drifting(seed, scene.noise, DRIFT_S, scene.infos)
    drawn, units = lognormal(seed, scene.noise if pace else 0.0), pace.units if pace else 1.0
    setup = setup_of(scene, run, pace.gap_s if pace else None)
    simulation = simulated(
        setup,
        scene.infos,
        requests(arrivals),
        noise=lambda: units * drawn(),
        pace=wandering,
        write=entries.append,
    )
    simulation.run()
    return metrics_of(tell(entries))


def pace_of(scene: Scene, story: Story) -> Pace:
    """How fast the run that the story tells was."""
    costs = ProfileCosts(scene.profiles, scene.models, correct=False)
    device = scene.infos[0].device
    took = said = 0.0
    gaps = []
    for span in story.spans:
        if span.units:
            took += span.seconds
            said += span.units * costs.unit_s(story.work(span, device))
            if not span.moved:  # moves have their own price
                gaps.append(span.end - span.start - span.seconds)
    return Pace(units=took / said, gap_s=fmean(gaps))


async def _play(engine: Engine, arrival: Arrival, at: float) -> None:
    ask = Ask(
        model=arrival.model,
        prompt=arrival.prompt,
        shape=arrival.shape,
        steps=arrival.steps,
        guidance=arrival.guidance,
        seed=arrival.seed,
        slo_s=arrival.slo_s,
        slo=arrival.cls,
        arrived_at=at,
    )
    await asyncio.sleep(at - asyncio.get_running_loop().time())
    ticket = engine.submit(ask)
    await ticket.ended.wait()
    engine.forget(ticket.id)


def attained(metrics: Metrics) -> float:
    """In percent."""
    assert metrics.overall.attainment is not None
    return 100 * metrics.overall.attainment
