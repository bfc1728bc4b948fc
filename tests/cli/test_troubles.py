"""Workload files in which ranks die or slow down, machines wander, and the planner's costs are wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from sfumato.assemble import rebuild
from sfumato.cli.trials import BOUND, Trial, _entries, run
from sfumato.cli.worlds import world_of
from sfumato.core.cost import Work
from sfumato.core.events import WorkerLost
from sfumato.core.values import Shape, Stage
from sfumato.errors import ConfigError
from sfumato.sim import replay
from sfumato.workload.load import parse

PROFILE = Path(__file__).parents[2] / "profiles" / "published" / "h100-flux1-dev-modelled.json"
REQUESTS, PER_SECOND, RANKS = 120, 0.6, 4
LENGTH_S = REQUESTS / PER_SECOND
WORKLOAD = f"""
requests = {REQUESTS}
[pool]
ranks = {RANKS}
device = "h100"
[[models]]
name = "flux"
profile = "{PROFILE}"
distilled = true
[arrivals]
process = "poisson"
per_second = {PER_SECOND}
[[classes]]
name = "small"
size = "512x512"
steps = 28
slo_scale = 3.0
[[classes]]
name = "large"
size = "2048x2048"
steps = 28
slo_scale = 3.0
"""


def attainment(text: str, policy: str = "sfumato") -> float:
    found = run(Trial(workload=parse(text), policy=policy, seed=5)).attainment
    assert found is not None
    return found


def troubled(trouble: str, at: float = 0.25) -> str:
    return f"{WORKLOAD}\n[[pool.troubles]]\nrank = 1\nat_s = {at * LENGTH_S}\n{trouble}\n"


@pytest.mark.parametrize(("trouble", "lost"), [("dead = true", 1.0), ("slowdown = 3.0", 2 / 3)])
def test_attainment_falls_at_most_in_proportion_to_the_ranks_that_die_or_slow_down(trouble: str, lost: float) -> None:
    whole, hurt = attainment(WORKLOAD), attainment(troubled(trouble))
    assert hurt < 1.0
    assert hurt >= whole * (1.0 - lost * 0.75 / RANKS) - 1.0 / REQUESTS


def test_the_journal_of_a_run_with_troubles_and_wrong_costs_replays() -> None:
    text = troubled("dead = true\nuntil_s = 60", at=0.1).replace(f"requests = {REQUESTS}", "requests = 30")
    workload = parse(f"believed = 1.2\ndrift = 0.1\nnoise = 0.05\n{text}")
    entries, _ = _entries(Trial(workload=workload, policy="sfumato", seed=5))
    events = [event for entry in entries for event in getattr(entry, "events", ())]
    assert any(isinstance(event, WorkerLost) for event in events)
    assert replay(entries, rebuild).mismatch is None


def test_a_machine_that_wanders_costs_little() -> None:
    assert attainment(f"drift = 0.1\ndrift_s = 10\n{WORKLOAD}") >= attainment(WORKLOAD) - 0.05


def test_a_planner_that_is_wrong_plans_with_other_times_in_the_same_world() -> None:
    world = world_of(parse(f"believed = 1.2\n{WORKLOAD}"))
    work = Work(model="flux", stage=Stage.DIFFUSE, shapes=(Shape(height=512, width=512),), device="h100")
    told = world.setup("fixed").costs().unit_s(work)
    assert told == pytest.approx(1.2 * world.truth.unit_s(work))
    right = world_of(parse(WORKLOAD))
    assert world.truth.unit_s(work) == right.truth.unit_s(work)
    assert world.draw(parse(WORKLOAD), 0) == right.draw(parse(WORKLOAD), 0)


def test_the_bound_is_of_the_world_whatever_is_believed() -> None:
    assert attainment(f"believed = 0.8\n{WORKLOAD}", BOUND) == attainment(WORKLOAD, BOUND)


def test_nothing_is_misjudged_that_has_no_profile() -> None:
    text = f"believed = 1.2\n{WORKLOAD}".replace('name = "flux"', 'name = "sfumato/tiny-image"')
    with pytest.raises(ConfigError, match="has no profile that could be misjudged"):
        world_of(parse(text.replace("profile = ", "# ")))
