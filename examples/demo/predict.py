"""What the simulator says of the demo's load: same planner, measured profile, several seeds of the machine's drift.

The profile was measured in passes with a part of a minute between them, and on a shared machine most of the spread is
between passes: the speed wanders, and what is slow stays so for a while. Noise of each chunk's own would average out.
"""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from sfumato.assemble import Setup, simulated
from sfumato.core.journal import Entry
from sfumato.core.values import RankInfo
from sfumato.cost import Profile, ProfileCosts
from sfumato.report.journal import tell
from sfumato.report.metrics import Metrics, measure
from sfumato.report.story import Story
from sfumato.sim import DRIFT_S, drifting
from sfumato.workload.arrivals import Arrival, requests

SEEDS = 20
_P10_TO_P90 = 2.563  # standard deviations of a normal distribution


def predict(setup: Setup, arrivals: Sequence[Arrival], *, ranks: int, seeds: int = SEEDS) -> list[Metrics]:
    """The figures of one simulated run a seed."""
    infos = [RankInfo(rank=rank, device=device_of(setup.profiles)) for rank in range(ranks)]
    sigma = spread_of(setup.profiles)
    found = []
    for seed in range(seeds):
        journal: list[Entry] = []
        wandering = drifting(seed, sigma, DRIFT_S, infos)
        simulated(setup, infos, requests(arrivals), pace=wandering, write=journal.append).run()
        found.append(measure(tell(journal)))
    return found


def device_of(profiles: Sequence[Profile]) -> str:
    """What was measured calls itself."""
    return profiles[0].device if profiles else "cpu"


def spread_of(profiles: Sequence[Profile]) -> float:
    """The relative standard deviation of a unit, as the profiles measured it."""
    shares = [
        (point.p90_s - point.p10_s) / (_P10_TO_P90 * point.seconds)
        for profile in profiles
        for point in profile.points
        if point.p10_s is not None and point.p90_s is not None
    ]
    return median(shares) if shares else 0.05


def pace_of(story: Story, setup: Setup) -> float:
    """Seconds that the units of a run took, over what the profiles say of the same units."""
    costs = ProfileCosts(setup.profiles, setup.models, correct=False)
    took = expected = 0.0
    for span in story.spans:
        if span.units and all(job in story.lives for job in span.jobs):
            took += span.seconds
            expected += span.units * costs.unit_s(story.work(span, device_of(setup.profiles)))
    return took / expected if expected else 1.0
