"""A live engine whose ranks hold one of two models each: it places them by what is asked for, and anew when that turns.

Paced workers: real processes and messages, loads and steps that take the times of a profile.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from sfumato.assemble import Setup, live, rebuild
from sfumato.core.commands import Drop, Launch, Load
from sfumato.core.journal import Entry, Record
from sfumato.core.values import JobState, Shape, Stage
from sfumato.cost import Point, Profile
from sfumato.cost.profile import Held, Peak
from sfumato.models import Offer
from sfumato.runtime.crew import ClusterConfig
from sfumato.runtime.engine import Engine
from sfumato.runtime.service import Ask
from sfumato.runtime.startup import first_parts
from sfumato.sim import replay

from .cluster_rig import paced_offer

SHAPE = Shape(height=32, width=48)
WEIGHTS, PEAK, HELD = 1000, 300, 10
NAMES = ("one", "other")


def offer(name: str) -> Offer:
    """A model with a part for all its stages."""
    base = paced_offer()
    stages = {str(stage): replace(base.spec.stage(stage), parts=(name,), max_batch=1) for stage in Stage}
    spec = replace(base.spec, name=name, part_bytes={name: WEIGHTS}, **stages)
    return replace(base, spec=spec, components={"net": name})


def profile(name: str) -> Profile:
    where = {"height": SHAPE.height, "width": SHAPE.width}
    return Profile(
        model=name,
        device="cpu",
        kind="measured",
        source="test",
        frame_stride=4,
        load_s={name: 0.02},
        points=tuple(Point(stage=stage, seconds=0.005, **where) for stage in Stage),
        peaks=tuple(Peak(stage=stage, bytes=PEAK, **where) for stage in Stage),
        held=tuple(Held(stage=stage, bytes=HELD, **where) for stage in (Stage.DIFFUSE, Stage.DECODE)),
    )


async def served(engine: Engine, model: str, count: int) -> list[JobState]:
    """Ask for so many at once; how they ended."""
    asks = [
        Ask(model=model, prompt="a fox", shape=SHAPE, steps=20, guidance=1.0, seed=seed, slo_s=60.0)
        for seed in range(count)
    ]
    tickets = [engine.submit(ask) for ask in asks]
    await asyncio.gather(*(ticket.ended.wait() for ticket in tickets))
    return [ticket.outcome.state for ticket in tickets if ticket.outcome]


async def scene(folder: Path, entries: list[Entry], turns: list[set[str]]) -> None:
    offers = {name: offer(name) for name in NAMES}
    setup = Setup(
        models={name: one.spec for name, one in offers.items()}, profiles=tuple(profile(name) for name in NAMES)
    )
    cluster = ClusterConfig(kind="paced", memory_bytes=WEIGHTS + 2 * PEAK, snapshots=str(folder))
    loop = asyncio.get_running_loop()
    engine, _ = live(setup, offers, cluster, clock=loop.time, write=entries.append)
    await engine.start(2)
    try:
        for model in (*NAMES, NAMES[0]):
            assert await served(engine, model, 12) == [JobState.DONE] * 12
            turns.append({part for rank in (0, 1) for part in engine.serving.pool.resident[rank]})
    finally:
        await engine.stop()


def test_each_rank_begins_with_a_model_and_both_take_up_the_one_that_is_asked_for(tmp_path: Path) -> None:
    entries: list[Entry] = []
    turns: list[set[str]] = []
    asyncio.run(scene(tmp_path, entries, turns))
    assert turns == [{"one"}, {"other"}, {"one"}], "what is there when a wave is over"
    commands = [command for entry in entries if isinstance(entry, Record) for command in entry.commands]
    assert {(type(c), c.part) for c in commands if isinstance(c, Load | Drop)} == {
        (kind, name) for kind in (Load, Drop) for name in NAMES
    }
    assert {rank for command in commands if isinstance(command, Launch) for rank in command.chunk.group} == {0, 1}
    assert not any(entry.broken for entry in entries if isinstance(entry, Record))
    assert replay(entries, rebuild).mismatch is None


@pytest.mark.parametrize(
    ("memory", "expected"),
    [(3000, [{"one", "other"}] * 2), (1600, [{"one"}, {"other"}]), (1400, [set(), set()])],
)
def test_a_rank_begins_with_as_many_whole_models_as_leave_room_for_requests(
    memory: int, expected: list[set[str]]
) -> None:
    offers = tuple(offer(name) for name in NAMES)
    assert [first_parts(offers, rank, memory) for rank in (0, 1)] == expected
