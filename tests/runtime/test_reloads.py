"""A load that fails: told late, so that nobody asks again at once, and not at all for a rank that is gone."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from sfumato.assemble import Setup, build
from sfumato.core.commands import Load
from sfumato.core.events import AnyEvent, Arrived, LoadFailed, WorkerUp
from sfumato.core.values import RankInfo, Request, Shape
from sfumato.runtime.cluster import ProcessCluster
from sfumato.runtime.reloads import WAIT_S
from sfumato.runtime.virtual import VirtualLoop
from sfumato.runtime.wire import PartLoadFailed

from .cluster_rig import paced_offer

PART = "net"


def test_a_planner_that_is_told_asks_again_at_once() -> None:
    """Why it is told late."""
    spec = replace(paced_offer().spec, part_bytes={PART: 1000})
    serving = build(Setup(models={"m": spec}), lambda _: None, strict=True)
    request = Request(id="a", model="m", shape=Shape(height=16, width=16), steps=4, arrived_at=0.0)
    serving.handle([WorkerUp(at=0.0, info=RankInfo(rank=0), parts=()), Arrived(at=0.0, request=request)])
    again = serving.handle([LoadFailed(at=0.1, rank=0, part=PART, reason="no file")])
    assert Load(rank=0, part=PART) in again


def heard(*, times: int = 1, lost: bool = False) -> list[AnyEvent]:
    """What the core is told of a failure in the hour after it."""

    async def scene() -> list[AnyEvent]:
        events: list[AnyEvent] = []
        cluster = ProcessCluster([paced_offer()], asyncio.get_running_loop().time)
        cluster.on_event(events.append)
        for _ in range(times):
            cluster._heard(0, PartLoadFailed(part=PART, reason="no file"))
        if lost:
            cluster._reloads.lose(0)
        await asyncio.sleep(3600.0)  # of virtual time
        await cluster.close()
        return events

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(scene())


def test_the_core_is_told_of_a_failure_a_little_later() -> None:
    assert heard() == [LoadFailed(at=WAIT_S, rank=0, part=PART, reason="no file")]


def test_the_same_failure_is_told_once() -> None:
    assert len(heard(times=2)) == 1


def test_what_a_lost_rank_failed_at_is_not_told_of_its_successor() -> None:
    assert heard(lost=True) == []
