"""The live load against the real HTTP service, in front of a scripted one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from sfumato.core.values import JobState, Shape
from sfumato.workload.arrivals import Arrival
from sfumato.workload.play import Player, advised_s, connect, play
from sfumato.workload.played import Played
from tests.api.service import Site, asynchronous, open_app

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")


def arrival(at: float = 0.0, *, frames: int = 1, **changes: Any) -> Arrival:
    fields: dict[str, Any] = {
        "cls": "clip" if frames > 1 else "picture",
        "model": "tiny/video" if frames > 1 else "tiny/image",
        "shape": Shape(height=48, width=64, frames=frames),
        "steps": 3,
        "guidance": 3.0,
        "guided": True,
        "seed": 5,
        "slo_s": 60.0,
        "prompt": "a ball",
    }
    return Arrival(at=at, **fields | changes)


@asynccontextmanager
async def client_of(site: Site) -> AsyncIterator[Any]:
    assert site.transport is not None
    async with connect(site.url, http_client=httpx.AsyncClient(transport=site.transport)) as client:
        yield client


async def played(site: Site, arrivals: Sequence[Arrival], **options: Any) -> list[Played]:
    async with client_of(site) as client:
        return await Player(client, arrivals, poll_s=0.001, **options).run()


@asynchronous
async def test_images_and_videos_come_back_with_their_bytes_and_what_the_server_said() -> None:
    async with open_app() as site:
        picture, clip = await played(site, [arrival(), arrival(0.01, frames=9, priority=3)])
        asks = {ask.shape.frames: ask for ask in site.studio.asks}
    assert (picture.state, clip.state) == (JobState.DONE, JobState.DONE)
    assert picture.output.startswith(b"\x89PNG")
    assert b"ftyp" in clip.output[:12]
    assert (picture.met, clip.met) == (True, True)
    assert picture.id
    assert picture.id != clip.id
    assert picture.told["timings"]["diffuse_s"] > 0
    assert (asks[9].seed, asks[9].steps, asks[9].guidance, asks[9].slo, asks[9].priority) == (5, 3, 3.0, "clip", 3)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [({"openai-poll-after-ms": "1500"}, 1.5), ({"openai-poll-after-ms": "soon"}, 0.1), ({}, 0.1)],
)
def test_a_video_is_asked_for_again_when_the_server_says(headers: dict[str, str], seconds: float) -> None:
    assert advised_s(headers) == seconds


@asynchronous
async def test_the_slo_that_is_sent_runs_from_the_planned_arrival() -> None:
    async with open_app() as site:
        (first,) = await played(site, [arrival(0.05, slo_s=30.0)])
        (ask,) = site.studio.asks
    assert first.sent is not None
    lag = first.sent - first.planned
    assert lag >= 0
    assert ask.slo_s is not None
    assert ask.slo_s <= 30.0 - lag + 1e-6


@asynchronous
async def test_best_effort_is_sent_as_such_and_is_not_judged() -> None:
    async with open_app() as site:
        (one,) = await played(site, [arrival(slo_s=None)])
        assert site.studio.asks[0].slo_s is None
    assert one.state is JobState.DONE
    assert one.met is None


@asynchronous
async def test_the_servers_verdict_makes_a_request_late() -> None:
    async with open_app() as site:  # a step takes 0.1 s of the studio's clock, and none of this one's
        (one,) = await played(site, [arrival(slo_s=0.2)])
    assert one.state is JobState.LATE
    assert one.met is False
    assert one.latency_s is not None


@asynchronous
async def test_refusals_and_failures_are_outcomes_with_their_reasons() -> None:
    async with open_app() as site:
        site.studio.refusal = "no time"
        refused = await played(site, [arrival(), arrival(frames=9)])
        site.studio.refusal, site.studio.failure = "", "out of memory"
        failed = await played(site, [arrival(), arrival(frames=9)])
        unknown = await played(site, [arrival(model="other")])
    assert [one.state for one in refused] == [JobState.REJECTED] * 2
    assert [one.state for one in failed] == [JobState.FAILED] * 2
    assert all("no time" in one.error for one in refused)
    assert all("out of memory" in one.error for one in failed)
    assert "there is no 'other'" in unknown[0].error
    assert [one.met for one in (*refused, *failed, *unknown)] == [False] * 5


@asynchronous
async def test_a_server_that_is_not_there_loses_no_request() -> None:
    ended: list[Played] = []
    result = await play([arrival(), arrival(frames=9)], "http://127.0.0.1:9", watch=ended.append)
    assert [one.state for one in result] == [JobState.FAILED] * 2
    assert all(one.error for one in result)
    assert sum(one.state is not None for one in ended) == 2


@asynchronous
async def test_max_concurrency_bounds_what_is_open_and_the_clock_does_not_wait() -> None:
    async with open_app() as site:
        open_now, most = 0, 0

        def watch(one: Played) -> None:
            nonlocal open_now, most
            open_now += 1 if one.state is None else -1
            most = max(most, open_now)

        result = await played(site, [arrival() for _ in range(5)], max_concurrency=2, watch=watch)
    assert most == 2
    assert all(one.state is JobState.DONE for one in result)
    assert result[-1].latency_s == result[-1].finished


@asynchronous
async def test_a_load_that_is_stopped_keeps_what_it_has_and_cancels_the_rest_on_the_server() -> None:
    async with open_app(held=True) as site, client_of(site) as client:
        player = Player(client, [arrival(frames=9), arrival(3600.0)], poll_s=0.001)
        running = asyncio.create_task(player.run())
        while not site.studio.asks:
            await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        await asyncio.wait_for(site.studio.cancellation.wait(), 5)
    assert [one.state for one in player.played] == [JobState.CANCELLED] * 2
    assert player.played[1].sent is None


def test_a_row_is_ready_for_json_and_leaves_the_output_out() -> None:
    one = Played(number=0, arrival=arrival(1.0), sent=1.0, finished=3.5, state=JobState.DONE, output=b"1234")
    row = one.row()
    assert (row["latency_s"], row["outcome"], row["bytes"], row["met"]) == (2.5, "done", 4, True)
    assert "output" not in row
