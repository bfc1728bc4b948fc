"""Whatever is switched off, every plan is legal and every request ends (L5, L12)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from sfumato.assemble import policy_named
from sfumato.core.events import AnyEvent, Arrived
from sfumato.sim import Simulation
from sfumato.sim.noise import lognormal
from tests.costs import PlainCosts
from tests.worlds import scripts, serving

ABLATIONS: list[tuple[str, dict[str, Any]]] = [
    ("tetriserve", {"rounds": False}),
    ("tetriserve", {"granularity": 1, "placement": False, "scale_up": False, "batching": False}),
    ("genserve", {"preempt": False}),
    ("genserve", {"dp": False}),
    ("genserve", {"elastic": False, "batching": False, "wide_images": False}),
    ("sfumato", {"admission": "feasible", "shares": {"default": 0.3}, "left_over": 0.2, "explain": True}),
    ("sfumato", {"admission": "degrade", "weights": {"default": 2.0}, "limit": 0.0, "aging": 0.0, "left_over": 0.0}),
]


@pytest.mark.parametrize(("name", "options"), ABLATIONS)
@given(script=scripts())
def test_every_request_ends_under_every_ablation(name: str, options: dict[str, Any], script: list[AnyEvent]) -> None:
    simulation = Simulation(serving(policy_named(name, options), []), PlainCosts(), script, lognormal(7, 0.1))
    ended = sorted(outcome.request for outcome in simulation.run())
    assert ended == sorted(event.request.id for event in script if isinstance(event, Arrived))
