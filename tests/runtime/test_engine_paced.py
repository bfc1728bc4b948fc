"""The engine over paced workers, where a batch of events tells more than one thing of a request."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest

from sfumato.assemble import Setup, build
from sfumato.core.values import JobState, Shape
from sfumato.models import Payload, Task
from sfumato.runtime.cluster import ProcessCluster
from sfumato.runtime.crew import ClusterConfig
from sfumato.runtime.engine import Engine
from sfumato.runtime.service import Ask

from .cluster_rig import paced_offer
from .test_random_plans import NoTime


def test_a_request_whose_last_two_stages_end_while_the_loop_is_busy_is_done_and_no_longer_runs(tmp_path: Path) -> None:
    setup = Setup(models={"m": paced_offer().spec}, policy="tests.core.test_onward:Merging")

    async def scene() -> None:
        loop, errors = asyncio.get_running_loop(), list[dict[str, Any]]()
        loop.set_exception_handler(lambda _, context: errors.append(context))
        cluster = ProcessCluster(
            [paced_offer()], loop.time, ClusterConfig(kind="paced", snapshots=str(tmp_path)), NoTime()
        )
        engine = Engine(build(setup, lambda _: None, strict=True), cluster, {"m": paced_offer()})
        await engine.start(1)
        try:
            ticket = engine.submit(
                Ask(model="m", prompt="x", shape=Shape(height=16, width=16), steps=4, guidance=1.0, seed=1)
            )
            while not ticket.ended.is_set():
                await asyncio.sleep(0)
                time.sleep(0.05)  # a long plan
            await asyncio.sleep(0)
            assert ticket.outcome is not None
            assert ticket.outcome.state is JobState.DONE
            assert not ticket.running
            assert all(seconds >= 0.0 for seconds in ticket.outcome.stage_s)
            assert not errors
        finally:
            await engine.stop()

    asyncio.run(scene())


def test_workers_are_told_all_of_a_request_that_only_the_model_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: dict[str, Any] = {
        "prompt": "x",
        "negative_prompt": "y",
        "guidance": 4.0,
        "guidance_2": 2.5,
        "quality": "high",
    }
    told: list[Payload] = []

    async def scene() -> None:
        config = ClusterConfig(kind="paced", snapshots=str(tmp_path))
        cluster = ProcessCluster([paced_offer()], asyncio.get_running_loop().time, config, NoTime())
        accept = cluster.accept

        def listen(model: str, task: Task) -> None:
            told.append(task.payload)
            accept(model, task)

        monkeypatch.setattr(cluster, "accept", listen)
        setup = Setup(models={"m": paced_offer().spec}, policy="fixed")
        engine = Engine(build(setup, lambda _: None, strict=True), cluster, {"m": paced_offer()})
        await engine.start(1)
        try:
            ticket = engine.submit(Ask(model="m", shape=Shape(height=16, width=16), steps=2, seed=1, **said))
            await ticket.ended.wait()
        finally:
            await engine.stop()

    asyncio.run(scene())
    assert told == [Payload(**said)]
