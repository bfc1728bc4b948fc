"""Ranks that die or slow down in a simulation, and machines whose speed wanders."""

from __future__ import annotations

from math import log
from statistics import fmean, pstdev

import pytest

from sfumato.core.commands import Launch
from sfumato.core.events import AnyEvent, Arrived, ChunkDone, WorkerLost, WorkerUp
from sfumato.core.journal import Entry, Record
from sfumato.core.timeline import Flight
from sfumato.core.values import Chunk, JobState, RankInfo, Request, Stage
from sfumato.sim import Simulation, drifting, even
from sfumato.sim.troubles import deaths, returns, slowed, snapshot
from sfumato.workload.pool import Trouble
from tests.costs import LARGE, PARTS, PlainCosts
from tests.worlds import serving

INFOS = [RankInfo(rank=rank) for rank in range(2)]
STEP_S = 0.25  # of LARGE on one rank


def simulation(*troubles: Trouble, steps: int = 20, policy: str = "fixed") -> tuple[Simulation, list[Entry]]:
    """One request on two ranks; `fixed` runs all of its steps in one chunk on rank 0."""
    entries: list[Entry] = []
    request = Request(id="a", model="image", shape=LARGE, steps=steps, arrived_at=0.0, deadline=100.0)
    script: list[AnyEvent] = [WorkerUp(at=0.0, info=info, parts=PARTS) for info in INFOS]
    script += [Arrived(at=0.0, request=request), *returns(troubles, INFOS, {0: PARTS, 1: PARTS})]
    pace, died = slowed(troubles, even), deaths(troubles, range(2))
    return Simulation(serving(policy, entries), PlainCosts(), script, pace=pace, deaths=died), entries


def events(entries: list[Entry]) -> list[AnyEvent]:
    return [event for entry in entries if isinstance(entry, Record) for event in entry.events]


def test_a_rank_that_dies_takes_its_chunk_and_leaves_its_last_snapshot() -> None:
    simulated, entries = simulation(Trouble(rank=0, at_s=2.5, dead=True))
    (outcome,) = simulated.run()
    (lost,) = [event for event in events(entries) if isinstance(event, WorkerLost)]
    ((name, saved),) = lost.saved
    assert name == "a"
    assert saved > 0
    assert saved % 3 == 0  # of steps of 0.25 s every third ends over half a second after the last snapshot
    assert outcome.state is JobState.DONE
    steps = [e for e in events(entries) if isinstance(e, ChunkDone) and e.seconds > 2 * STEP_S]
    assert [progress.units for event in steps for progress in event.progress] == [20 - saved]


def test_a_rank_that_returns_is_used_again() -> None:
    both = [Trouble(rank=0, at_s=1.0, until_s=2.0, dead=True), Trouble(rank=1, at_s=0.5, dead=True)]
    simulated, entries = simulation(*both)
    (outcome,) = simulated.run()
    assert outcome.state is JobState.DONE
    assert simulated.serving.pool.ranks.keys() == {0}
    begun = [
        (entry.events[-1].at, command.chunk.group)
        for entry in entries
        if isinstance(entry, Record)
        for command in entry.commands
        if isinstance(command, Launch)
    ]
    assert all(group == (0,) for at, group in begun if at >= 1.0)
    assert not [at for at, _ in begun if 1.0 <= at < 2.0]


def test_units_take_longer_on_a_slow_rank_while_it_is_slow() -> None:
    took = {}
    for slow, trouble in (("never", ()), ("now", (0.0, 50.0)), ("later", (50.0, 60.0))):
        stated = [Trouble(rank=0, at_s=trouble[0], until_s=trouble[1], slowdown=3.0)] if trouble else []
        (outcome,) = simulation(*stated)[0].run()
        took[slow] = outcome.at
    assert took["now"] == pytest.approx(3.0 * took["never"], rel=0.01)
    assert took["later"] == took["never"]


def test_a_group_is_as_fast_as_its_slowest_rank() -> None:
    pace = slowed([Trouble(rank=1, at_s=1.0, until_s=2.0, slowdown=3.0)], even)
    assert [pace(group, at) for group, at in (((0,), 1.5), ((0, 1), 1.5), ((0, 1), 2.0), ((1,), 0.9))] == [1, 3, 1, 1]


def test_ranks_that_the_pool_does_not_have_have_no_troubles() -> None:
    stated = [Trouble(rank=7, at_s=1.0, until_s=2.0, dead=True)]
    assert not list(deaths(stated, range(2)))
    assert not list(returns(stated, INFOS, {}))


def test_a_snapshot_never_holds_the_end_of_its_chunk() -> None:
    launch = Launch(
        seq=1, chunk=Chunk(jobs=("a",), stage=Stage.DIFFUSE, units=4, group=(0,)), sources=(None,), start_s=0, unit_s=1
    )
    flight = Flight(launch=launch, at=10.0, start_s=0.5, unit_s=1.0)
    assert [snapshot(flight, 4, at) for at in (10.0, 11.4, 11.6, 14.4, 99.0)] == [0, 0, 1, 3, 3]


def test_a_wandering_speed_is_that_of_the_seed_whenever_it_is_asked_for() -> None:
    early, late = (drifting(3, 0.1, 10.0, INFOS) for _ in range(2))
    ats = [0.7 * n for n in range(500)]
    assert [early((0,), at) for at in ats] == [late((0,), at) for at in reversed(ats)][::-1]
    assert drifting(4, 0.1, 10.0, INFOS)((0,), 5.0) != early((0,), 5.0)
    assert drifting(3, 0.0, 10.0, INFOS) is even


def test_a_speed_wanders_by_its_deviation_within_its_time_and_not_at_once() -> None:
    pace = drifting(3, 0.1, 10.0, INFOS)
    found = [pace((0,), at / 4) for at in range(40_000)]
    assert fmean(found) == pytest.approx(1.0, abs=0.02)
    assert pstdev(map(log, found)) == pytest.approx(0.1, rel=0.1)
    soon = pstdev([log(b / a) for a, b in zip(found, found[4:], strict=False)])
    assert soon < 0.5 * 0.1 * 2**0.5


def test_nodes_wander_apart_and_ranks_of_one_together() -> None:
    ranks = [RankInfo(rank=rank, node=f"node{rank // 2}") for rank in range(4)]
    pace = drifting(3, 0.1, 10.0, ranks)
    assert pace((0,), 5.0) == pace((1,), 5.0) != pace((2,), 5.0)
    assert pace((0, 2), 5.0) == max(pace((0,), 5.0), pace((2,), 5.0))
