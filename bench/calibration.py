"""P4: does what the simulator says come true? Attainment under `fixed` and `sfumato`, predicted and then measured.

The load is set so that the simulator expects `fixed` to attain a little over half; then the same arrivals are played
against a live engine at their planned times. Held: the measurement lies within the simulator's 95% interval (over its
seeds of noise), or within 5 points of its mean.

Two figures a policy, because two things can be wrong. The first is the prediction as it was made, from the profile. The
second is of queueing and planning alone: the same simulation at the pace and the control gap that the run turned out to
have. Where only the first falls short, the machine was not as fast in the run as when it was profiled.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterable, Sequence
from math import sqrt
from pathlib import Path
from statistics import fmean
from typing import Any

from msgspec import to_builtins
from msgspec.structs import replace

from bench.figure import Figure, Result, main, percentile
from bench.rig import play
from bench.scenes import COMPRESSED, Scene, measured_scene, published_scene
from sfumato.assemble import Setup, live, rebuild, simulated
from sfumato.core.journal import Entry
from sfumato.core.values import Value
from sfumato.cost import ProfileCosts
from sfumato.report.journal import tell
from sfumato.report.metrics import Metrics
from sfumato.report.metrics import measure as metrics_of
from sfumato.report.story import Story
from sfumato.runtime.engine import Engine
from sfumato.runtime.service import Ask
from sfumato.sim import lognormal, replay
from sfumato.workload.arrivals import Arrival, requests

POLICIES = ("fixed", "sfumato")
SEEDS = 3
AIM = 0.55  # of `fixed`
POINTS = 5.0


class Pace(Value, frozen=True, kw_only=True):
    """How fast a run was: seconds of its units over those of the profile, seconds around the units of a chunk."""

    units: float = 1.0
    gap_s: float | None = None


def measure(quick: bool) -> Result:
    each, runs = (20, 3) if quick else (70, 20)
    with tempfile.TemporaryDirectory(prefix="sfumato-bench-") as folder:
        # the real workers are profiled when it is their turn: minutes later the machine may be another
        scenes = (make() for make in (published_scene, lambda: play(lambda: measured_scene(Path(folder)))))
        return _measured(scenes, each, runs)


def _measured(scenes: Iterable[Scene], each: int, runs: int) -> Result:
    figures: list[Figure] = []
    details: dict[str, Any] = {"time_of_paced_ranks_divided_by": COMPRESSED, "requests": SEEDS * each, "seeds": SEEDS}
    for scene in scenes:
        arrivals = scene.arrivals(SEEDS, each, _rate(scene, each))
        details[scene.name] = {"noise": scene.noise, "arrivals_per_s": each / (arrivals[each - 1].at - arrivals[0].at)}
        for policy in POLICIES:
            expected = _simulated(scene, policy, arrivals, runs)
            entries = play(lambda scene=scene, policy=policy, arrivals=arrivals: _live(scene, policy, arrivals))  # type: ignore[misc]
            story = tell(entries)
            found, pace = metrics_of(story), _pace(scene, story)
            paced = _simulated(scene, policy, arrivals, runs, pace)
            figures += _compared(scene, policy, expected, found), _compared(scene, policy, paced, found, pace)
            details[scene.name][policy] = {
                "as_profiled": _detail(expected, found),
                "at_the_pace_of_the_run": {**_detail(paced, found), **to_builtins(pace)},
                "replays": replay(entries, rebuild).mismatch is None,
            }
    return Result(figures=tuple(figures), details=details)


def _compared(
    scene: Scene, policy: str, expected: Sequence[Metrics], found: Metrics, pace: Pace | None = None
) -> Figure:
    mean, low, high = _shares(expected)
    measured = 100 * _attained(found)
    edge = high - mean if measured > mean else mean - low
    how = f" at {pace.units:.2f} of the profile's times" if pace else ""
    return Figure(
        name=f"{scene.name}, {policy}: {measured:.0f}% measured, {mean:.0f}% simulated{how}",
        value=abs(measured - mean),
        unit="points",
        limit=max(POINTS, edge),
    )


def _detail(expected: Sequence[Metrics], found: Metrics) -> dict[str, Any]:
    mean, low, high = _shares(expected)
    return {
        "attained": {"measured": 100 * _attained(found), "simulated": mean, "interval": [low, high]},
        **{
            name: {"measured": read(found), "simulated": fmean(read(one) for one in expected)}
            for name, read in (("latency_p50_s", _p50), ("latency_p95_s", _p95), ("utilisation", _utilisation))
        },
    }


def _shares(expected: Sequence[Metrics]) -> tuple[float, float, float]:
    """Mean and 95% interval of the attainment, in percent."""
    shares = [100 * _attained(one) for one in expected]
    return fmean(shares), percentile(shares, 0.025), percentile(shares, 0.975)


def _pace(scene: Scene, story: Story) -> Pace:
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


def _rate(scene: Scene, each: int) -> float:
    """The factor on the arrival rate at which the simulator expects `fixed` to attain AIM."""
    low, high = 1 / 64, 64.0
    for _ in range(10):
        middle = sqrt(low * high)
        attained = _attained(_simulate(scene, "fixed", scene.arrivals(SEEDS, each, middle), noise=0))
        low, high = (middle, high) if attained > AIM else (low, middle)
    return sqrt(low * high)


def _simulated(
    scene: Scene, policy: str, arrivals: Sequence[Arrival], runs: int, pace: Pace | None = None
) -> list[Metrics]:
    return [_simulate(scene, policy, arrivals, noise, pace) for noise in range(runs)]


def _simulate(scene: Scene, policy: str, arrivals: Sequence[Arrival], noise: int, pace: Pace | None = None) -> Metrics:
    pace = pace or Pace()
    entries: list[Entry] = []
    drawn = lognormal(noise, scene.noise)
    setup = _setup(scene, policy, pace.gap_s)

    def factor() -> float:
        return pace.units * drawn()

    simulated(setup, scene.infos, requests(arrivals), noise=factor, write=entries.append).run()
    return metrics_of(tell(entries))


def _setup(scene: Scene, policy: str, gap_s: float | None = None) -> Setup:
    profiles = scene.profiles if gap_s is None else tuple(replace(one, launch_gap_s=gap_s) for one in scene.profiles)
    return Setup(models=scene.models, profiles=profiles, policy=policy)


async def _live(scene: Scene, policy: str, arrivals: Sequence[Arrival]) -> list[Entry]:
    """The journal of the arrivals played at their times against real processes."""
    loop, entries = asyncio.get_running_loop(), list[Entry]()
    engine, _ = live(
        _setup(scene, policy),
        scene.offers,
        scene.cluster,
        clock=loop.time,
        write=entries.append,
        max_waiting=len(arrivals),
    )
    await engine.start(scene.ranks)
    try:
        begins = loop.time() + 1.0
        await asyncio.gather(*(_play(engine, arrival, begins + arrival.at) for arrival in arrivals))
    finally:
        await engine.stop()
    return entries


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


def _attained(metrics: Metrics) -> float:
    assert metrics.overall.attainment is not None
    return metrics.overall.attainment


def _p50(metrics: Metrics) -> float:
    return metrics.overall.latency.p50 if metrics.overall.latency else 0.0


def _p95(metrics: Metrics) -> float:
    return metrics.overall.latency.p95 if metrics.overall.latency else 0.0


def _utilisation(metrics: Metrics) -> float:
    return metrics.utilisation


if __name__ == "__main__":
    main(measure)
