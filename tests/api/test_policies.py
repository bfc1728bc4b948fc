"""The server takes every registered policy: HTTP, engine and driver as they are, before fake workers on the clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from sfumato.api.app import create_app
from sfumato.assemble import Setup, build
from sfumato.core.commands import Order
from sfumato.core.events import AnyEvent, WorkerUp
from sfumato.core.serving import Serving
from sfumato.core.values import JobState, ModelSpec, RankInfo, Stage, StageSpec
from sfumato.models.family import Task
from sfumato.policies import POLICIES
from sfumato.runtime.engine import Engine
from sfumato.runtime.fake import FakeCluster
from sfumato.runtime.service import Pixels
from tests.api.service import asynchronous
from tests.api.studio import draw, offer
from tests.costs import PlainCosts

RANKS = 4
NAMES = ("tiny/image", "tiny/video")


class QuickCosts(PlainCosts):
    """A step of the largest picture takes 5 ms."""

    def unit_s(self, work: Any) -> float:
        return super().unit_s(work) / 10


class FakeWorkers:
    """Workers as the engine knows them, in this process; what they deliver is drawn when it is asked for."""

    most_bytes = 0

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._tasks: dict[str, Task] = {}

    def on_event(self, callback: Callable[[AnyEvent], None]) -> None:
        self._post = callback

    def on_progress(self, callback: Callable[[str, Stage, int], None]) -> None:
        pass

    async def start(self, count: int) -> None:
        now = asyncio.get_running_loop().time
        stamped = lambda event: self._post(replace(event, at=now()))  # noqa: E731 - a timer of a real loop is late
        self._fake = FakeCluster(self._serving, QuickCosts(), stamped)
        parts = tuple(sorted({part for model in self._serving.view().models.values() for part in model.part_bytes}))
        for rank in range(count):
            self._post(WorkerUp(at=now(), info=RankInfo(rank=rank), parts=parts))

    def execute(self, command: Order) -> None:
        self._fake.execute(command)

    def accept(self, model: str, task: Task) -> None:
        self._tasks[task.id] = task

    def output(self, job: str) -> Pixels:
        return draw(self._tasks[job])  # type: ignore[arg-type]  # a task has the shape and the seed of its ask

    def forget(self, job: str) -> None:
        self._tasks.pop(job, None)

    async def close(self) -> None:
        pass


def spec(name: str) -> ModelSpec:
    return ModelSpec(
        name=name,
        encode=StageSpec(parts=("text",)),
        diffuse=StageSpec(parts=(name,), degrees=(1, 2, 4), max_batch=4),
        decode=StageSpec(parts=("vae",)),
        part_bytes={"text": 100, name: 1000, "vae": 50},
    )


def post(http: httpx.AsyncClient, number: int) -> Coroutine[Any, Any, httpx.Response]:
    """Pictures of two sizes and videos in turn, every other one with a deadline."""
    body: dict[str, Any] = {"prompt": "x", "seed": number} | ({"slo_ms": 2000} if number % 2 else {})
    if number % 4 == 0:
        return http.post("/v1/videos", json={**body, "model": NAMES[1]})
    return http.post("/v1/images/generations", json={**body, "size": ("32x32", "96x64")[number % 2]})


@pytest.mark.parametrize("policy", sorted(POLICIES))
@asynchronous
async def test_the_server_serves_images_and_videos_under_every_policy(policy: str) -> None:
    """Strict: an illegal plan would end every request as failed."""
    offers = {name: replace(offer(name, name.removeprefix("tiny/")), spec=spec(name)) for name in NAMES}
    setup = Setup(models={name: offers[name].spec for name in NAMES}, policy=policy)
    serving = build(setup, strict=True)
    engine = Engine(serving, FakeWorkers(serving), offers)
    await engine.start(RANKS)
    transport = httpx.ASGITransport(create_app(engine))
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as http:
        answers = await asyncio.gather(*(post(http, number) for number in range(8)))
        assert [answer.status_code for answer in answers] == [200] * 8, [answer.text for answer in answers]
        while len(serving.backlog):  # of the videos, that clients come back for
            await asyncio.sleep(0)
    ended = serving.backlog.ended
    assert ended[JobState.DONE] + ended[JobState.LATE] == serving.backlog.arrived == 8
    await engine.stop()
