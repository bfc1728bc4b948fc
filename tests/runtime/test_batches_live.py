"""A live engine on a real worker: the planner joins unlike requests, and each gets the picture that it gets alone."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np

from sfumato.assemble import Setup, live
from sfumato.core.commands import Launch
from sfumato.core.journal import Entry, Record
from sfumato.core.values import JobState, Shape, Stage
from sfumato.models import describe, load_model
from sfumato.models.family import Payload, Task
from sfumato.runtime.crew import ClusterConfig
from sfumato.runtime.engine import Engine
from sfumato.runtime.service import Ask

NAME = "sfumato/tiny-image"
PROMPTS = ("a red circle on a blue background", "a yellow star", "a small green square to the left")
SHAPES = tuple(Shape(height=height, width=96) for height in (64, 96, 128))


def asks() -> list[Ask]:
    """Unlike in prompt, size, steps and seed."""
    each = enumerate(zip(PROMPTS, SHAPES, strict=True))
    return [
        Ask(model=NAME, prompt=prompt, shape=shape, steps=3 + i, guidance=3.0, seed=i, slo_s=60.0)
        for i, (prompt, shape) in each
    ]


async def pictures(engine: Engine) -> list[np.ndarray]:
    tickets = [engine.submit(ask) for ask in asks()]
    await asyncio.gather(*(ticket.ended.wait() for ticket in tickets))
    assert {ticket.outcome.state for ticket in tickets if ticket.outcome} == {JobState.DONE}
    return [await engine.pixels(ticket) for ticket in tickets]


def alone() -> list[np.ndarray]:
    model = load_model(describe(NAME))
    model.load(model.offer.components.values())
    made = []
    for ask in asks():
        payload = Payload(prompt=ask.prompt, guidance=ask.guidance)
        (state,) = model.encode([Task(id="a", shape=ask.shape, steps=ask.steps, seed=ask.seed, payload=payload)])
        for _ in range(ask.steps):
            model.step([state])
        model.decode(state)
        made.append(model.output(state))
    return made


def test_the_planner_joins_unlike_requests_and_each_gets_its_own_picture(tmp_path: Path) -> None:
    offer, entries = describe(NAME), list[Entry]()

    async def scene() -> list[np.ndarray]:
        setup, clock = Setup(models={NAME: offer.spec}), asyncio.get_running_loop().time
        cluster = ClusterConfig(snapshots=str(tmp_path))
        engine, _ = live(setup, {NAME: offer}, cluster, clock=clock, write=entries.append)
        await engine.start(1)
        try:
            return await pictures(engine)
        finally:
            await engine.stop()

    for one, other in zip(asyncio.run(scene()), alone(), strict=True):
        assert np.abs(one.astype(int) - other.astype(int)).max() <= 1, "sums in another order may round a pixel"
    records = [entry for entry in entries if isinstance(entry, Record)]
    chunks = [command.chunk for record in records for command in record.commands if isinstance(command, Launch)]
    for stage in (Stage.ENCODE, Stage.DIFFUSE):
        assert max(len(chunk.jobs) for chunk in chunks if chunk.stage is stage) > 1
