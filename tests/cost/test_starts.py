"""What is learnt of how late chunks begin."""

from __future__ import annotations

import pytest

from sfumato.core.events import Arrived, ChunkDone, Progress, WorkerUp
from sfumato.core.journal import Journal
from sfumato.core.policy import Plan
from sfumato.core.serving import Serving
from sfumato.core.values import Chunk, ModelSpec, RankInfo, Request
from sfumato.core.view import View
from sfumato.cost import ProfileCosts
from sfumato.cost.starts import BOUND_S, STEP_S, Starts
from tests.cost.test_correction import PROFILE, STEP


def test_a_launch_is_priced_at_what_it_has_been_taking() -> None:
    costs = ProfileCosts([PROFILE])
    said = costs.start_s(STEP, (0,), (None,))
    for _ in range(100):
        costs.observe(STEP, 0, 1, costs.unit_s(STEP), said + 0.002)
    assert costs.start_s(STEP, (0,), (None,)) == pytest.approx(said + 0.002, abs=STEP_S)


class Apart:
    """Every request on a rank of its own, a unit a chunk."""

    name = "apart"
    work_conserving = False

    def plan(self, view: View) -> Plan:
        ready = view.ready()
        chunks = [Chunk(jobs=(job.id,), stage=job.stage, units=1, group=(int(job.id),)) for job in ready]
        return Plan(launches=tuple(chunks))


def test_with_many_chunks_in_flight_it_settles_too() -> None:
    """Each of them was launched before what the others take was known."""
    costs, shape, count = ProfileCosts([PROFILE]), STEP.shapes[0], 128
    world = Serving(
        models={STEP.model: ModelSpec(name=STEP.model)},
        costs=costs,
        policy=Apart(),
        fallback=Apart(),
        journal=Journal(lambda _: None),
        strict=True,
    )
    said = costs.start_s(STEP, (0,), (None,))
    world.handle([WorkerUp(at=0.0, info=RankInfo(rank=rank, device=STEP.device)) for rank in range(count)])
    asked = [Request(id=str(n), model=STEP.model, shape=shape, steps=9999, arrived_at=0.0) for n in range(count)]
    world.handle([Arrived(at=0.0, request=request) for request in asked])
    for _ in range(20):
        for running in list(world.view().running.values()):
            gain = Progress(job=running.chunk.jobs[0], units=1, saved=1)
            at = max(world.now, running.started_at + said + 0.002 + 0.1)
            took = at - running.started_at - said - 0.002
            world.handle([ChunkDone(at=at, seq=running.seq, progress=(gain,), seconds=took)])
            assert 0.0 <= costs.start_s(STEP, (0,), (None,)) - said < 0.0021
    assert costs.start_s(STEP, (0,), (None,)) == pytest.approx(said + 0.002, abs=STEP_S)


def test_a_measurement_that_cannot_be_does_not_make_launches_free_for_ever() -> None:
    costs = ProfileCosts([PROFILE])
    said = costs.start_s(STEP, (0,), (None,))
    for start_s in (*[-1.0] * 100, *[said + 0.001] * 200):
        costs.observe(STEP, 0, 1, costs.unit_s(STEP), start_s)
    assert costs.start_s(STEP, (0,), (None,)) == pytest.approx(said + 0.001, abs=STEP_S)


def test_what_is_told_stands_still_while_the_mean_moves_little() -> None:
    starts = Starts()
    for place in range(1000):
        starts.observe(1e-12 if place % 2 else -1e-4)
    assert starts.late_s == 0.0


def test_one_long_wait_hardly_shows() -> None:
    starts = Starts()
    starts.observe(60.0)
    assert 0.0 < starts.late_s <= BOUND_S / 10


def test_a_cost_model_takes_up_what_another_has_learnt_of_launches() -> None:
    costs, other = ProfileCosts([PROFILE]), ProfileCosts([PROFILE])
    said = costs.start_s(STEP, (0,), (None,))
    costs.observe(STEP, 0, 1, costs.unit_s(STEP), said + 0.01)
    other.restore(costs.state())
    assert other.start_s(STEP, (0,), (None,)) == costs.start_s(STEP, (0,), (None,)) > said


def test_what_was_learnt_survives_a_checkpoint() -> None:
    starts, other = Starts(), Starts()
    for _ in range(10):
        starts.observe(0.001)
    other.restore(starts.state())
    starts.observe(0.003)
    other.observe(0.003)
    assert other.state() == starts.state() != [0.0, 0.0]
    other.restore(None)
    assert other.state() == [0.0, 0.0]
