"""TridentServe's mechanisms: replicas, quotas, the programme, weights that follow; and the laws where memory is short."""

from __future__ import annotations

from collections import Counter
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from sfumato.assemble import policy_named
from sfumato.core.commands import Drop, Load
from sfumato.core.events import AnyEvent, Arrived, WorkerUp
from sfumato.core.journal import Entry, Journal, Record
from sfumato.core.serving import Serving
from sfumato.core.policy import Plan
from sfumato.core.view import View
from sfumato.policies.tridentserve import TridentServe
from sfumato.policies.tridentserve.dispatch import Column, Room, greedy, solved
from sfumato.policies.tridentserve.placement import Demand, imbalance, placed
from sfumato.core.values import RankInfo
from sfumato.sim import Simulation
from sfumato.sim.noise import lognormal
from tests.costs import MODELS, PlainCosts
from tests.worlds import scripts

ABLATIONS: list[dict[str, Any]] = [
    {},
    {"ilp": False, "batching": False},
    {"adjust": False},
    {"stages": False},
    {"virtual": False, "replan": False},
]
# The weights of a step of video take 2000 bytes, a chunk 100 a job, a job 10.
TIGHT = [3400, 2320, 2150]  # everything; one model at a time; the stages of the video only apart


def without_weights(script: list[AnyEvent], memory: int) -> list[AnyEvent]:
    return [
        replace(event, info=replace(event.info, memory_bytes=memory), parts=()) if isinstance(event, WorkerUp) else event
        for event in script
    ]


class Watched(TridentServe):
    """Plans twice (L11) and not for ever, and looks whether weights, held state and running chunks are within every rank's memory."""

    plans = 0

    def plan(self, view: View) -> Plan:
        self.plans += 1
        assert self.plans < 3000, "loads and drops go round in circles"
        for running in view.running.values():
            peak = view.costs.peak_bytes(view.work(running.chunk)) if all(map(view.job, running.chunk.jobs)) else 0
            assert all(view.spare_bytes(rank) >= peak for rank in running.chunk.group if rank in view.ranks)
        assert all(view.spare_bytes(rank) >= 0 for rank in view.ranks)
        plan = super().plan(view)
        assert plan == super().plan(view)
        return plan


def simulated(script: list[AnyEvent], options: dict[str, Any], entries: list[Entry]) -> Simulation:
    serving = Serving(
        models=MODELS,
        costs=PlainCosts(),
        policy=Watched(TridentServe.Options(**options)),
        fallback=policy_named("fixed"),
        journal=Journal(entries.append),
        strict=True,
    )
    return Simulation(serving, PlainCosts(), script, lognormal(7, 0.1))


@pytest.mark.parametrize("options", ABLATIONS)
@pytest.mark.parametrize("memory", TIGHT)
@settings(max_examples=12, deadline=None)
@given(script=scripts())
def test_every_request_ends_on_ranks_that_begin_empty(
    options: dict[str, Any], memory: int, script: list[AnyEvent]
) -> None:
    """L2, L5, L12 where weights have to be loaded, and dropped again for others."""
    script = without_weights(script, memory)
    simulation = simulated(script, options, [])
    ended = Counter(outcome.request for outcome in simulation.run())
    assert ended == Counter(event.request.id for event in script if isinstance(event, Arrived))
