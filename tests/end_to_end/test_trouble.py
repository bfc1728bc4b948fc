"""What goes wrong in life: clients that leave, workers that die, chunks that raise, more work than there is room for.

The policy is `fixed`, whose chunks are a whole stage long, so that it shows when one ends early. One of the models
promises sizes that its position embedding does not reach: its chunks raise.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from openai import OpenAI, RateLimitError

from sfumato.assemble import rebuild
from sfumato.config import EMBEDDED, Config, PolicyConfig, ServerConfig, WorkersConfig
from sfumato.core.commands import Launch
from sfumato.core.events import ChunkDone, WorkerLost
from sfumato.core.journal import Record
from sfumato.core.values import JobState, Stage
from sfumato.models.describe import CHECKPOINTS
from sfumato.report.story import Life, Span
from sfumato.sim import replay

from .live import Live, completed, live, until

MAX_WAITING = 4
STEPS = 100

# the client's word on its maker's own service; the endpoints live on in open servers
pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")


def overpromising(folder: Path) -> Path:
    """The embedded video model with a card that offers four times its largest size."""
    shutil.copytree(CHECKPOINTS / "tiny-video", folder)
    card = json.loads((folder / "sfumato.json").read_text())
    card["sizes"]["max"] = 2048
    (folder / "sfumato.json").write_text(json.dumps(card))
    return folder


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("trouble")
    config = Config(
        models={**EMBEDDED, "overpromising": str(overpromising(folder / "model"))},
        workers=WorkersConfig(count=2, device="cpu", snapshot_every_s=0.05),
        policy=PolicyConfig(name="fixed"),
        server=ServerConfig(journal=str(folder / "journal"), max_waiting=MAX_WAITING),
    )
    with live(config) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Live) -> Iterator[OpenAI]:
    with server.client() as made:
        yield made


def start_video(client: OpenAI, prompt: str, size: str = "64x64", **body: Any) -> str:
    made = client.videos.create(prompt=prompt, size=size, extra_body={"num_frames": 9, **body})  # type: ignore[arg-type]
    return made.id


def ended_early(server: Live, request_id: str, done: int) -> Life:
    """Its last chunk was halted within a unit or two of `done`, and nothing of it ran after."""
    seq = server.story(request_id).lives[request_id].spans[-1].seq

    def look() -> tuple[Life, Span] | None:
        story = server.story(request_id)
        span = next(span for span in story.spans if span.seq == seq)
        return (story.lives[request_id], span) if span.fate != "open" else None

    server.idle()
    life, ended = until(look, f"the end of chunk {seq} is in the journal")
    assert life.state is JobState.CANCELLED
    assert ended.halted
    assert ended.fate == "done"
    # one unit in flight when the server heard of it, one whose report was on its way
    assert ended.units <= done + 2 < ended.planned
    assert life.spans[-1].seq == seq, "nothing more of it was launched"
    return life


def test_a_deleted_video_stops_within_a_step(server: Live, client: OpenAI) -> None:
    video = start_video(client, "to be deleted", num_inference_steps=STEPS)
    ticket = server.until_at(video, Stage.DIFFUSE, 3)
    client.videos.delete(video)
    life = ended_early(server, video, ticket.done)
    assert life.spans[-1].stage is Stage.DIFFUSE
    assert client.videos.retrieve(video).status == "cancelled"  # type: ignore[comparison-overlap]


def test_a_video_deleted_during_its_decode_stops_within_a_latent_frame(server: Live, client: OpenAI) -> None:
    video = start_video(client, "to be deleted late", size="96x96", num_frames=33, num_inference_steps=1)
    ticket = server.until_at(video, Stage.DECODE, 1)
    client.videos.delete(video)
    life = ended_early(server, video, ticket.done)
    assert life.spans[-1].stage is Stage.DECODE
    assert life.spans[-1].planned == 9


def test_a_client_that_hangs_up_cancels_its_image(server: Live) -> None:
    body = json.dumps({"prompt": "nobody waits for me", "size": "64x64", "num_inference_steps": STEPS}).encode()
    host, _, port = server.url.removeprefix("http://").partition(":")
    head = f"POST /v1/images/generations HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\n"
    with socket.create_connection((host, int(port))) as line:
        line.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        ticket = server.until_at(server.newest("nobody waits for me").id, Stage.DIFFUSE, 3)
    until(ticket.ended.is_set, "the request has ended")
    ended_early(server, ticket.id, ticket.done)


def test_a_killed_worker_comes_back_and_its_request_goes_on_from_its_snapshot(server: Live, client: OpenAI) -> None:
    body = {"num_inference_steps": 60, "seed": 11}

    def draw() -> Any:
        return client.images.generate(prompt="a survivor", size="96x96", extra_body=body)

    undisturbed = draw()
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(draw)
        ticket = server.until_at(server.newest("a survivor").id, Stage.DIFFUSE, 15)
        os.kill(server.worker_of(ticket.id), signal.SIGKILL)
        disturbed = call.result()
    assert disturbed.data[0].b64_json == undisturbed.data[0].b64_json

    server.story(ticket.id)
    records = [entry for entry in server.entries() if isinstance(entry, Record)]
    events = [event for record in records for event in record.events]
    saved = dict(next(event for event in events if isinstance(event, WorkerLost)).saved)[ticket.id]
    assert saved >= 5, "snapshots are taken every 50 ms"
    after = steps_after_loss(records, ticket.id)
    assert after == 60 - saved, "no step that the snapshot holds was computed again"
    until(lambda: server.ask(lambda: len(server.engine.serving.pool.ranks)) == 2, "the worker is back")


def steps_after_loss(records: list[Record], job: str) -> int:
    """The denoising steps of a job in chunks that ended after the first loss of a worker."""
    stages: dict[int, Stage] = {}
    lost, steps = False, 0
    for record in records:
        for event in record.events:
            lost = lost or isinstance(event, WorkerLost)
            if lost and isinstance(event, ChunkDone) and stages.get(event.seq) is Stage.DIFFUSE:
                steps += sum(progress.units for progress in event.progress if progress.job == job)
        for command in record.commands:
            if isinstance(command, Launch):
                stages[command.seq] = command.chunk.stage
    return steps


def test_a_chunk_that_raises_ends_its_own_request_alone(server: Live, client: OpenAI) -> None:
    other = start_video(client, "a bystander", num_inference_steps=20)
    doomed = start_video(client, "too large", size="64x1040", model="overpromising", num_inference_steps=2)
    completed(client, doomed, "failed")
    error = client.videos.retrieve(doomed).error
    assert error
    assert "RuntimeError" in error.message
    assert server.story(doomed).lives[doomed].state is JobState.FAILED
    completed(client, other)
    assert server.ask(lambda: len(server.engine.serving.pool.ranks)) == 2, "the worker lives on"


def test_one_more_than_may_wait_is_told_when_to_come_back(server: Live, client: OpenAI) -> None:
    server.idle()
    videos = [start_video(client, f"filler {i}", num_inference_steps=STEPS) for i in range(2)]
    for video in videos:
        server.until_at(video, Stage.DIFFUSE, 1)
    videos += [start_video(client, f"filler {i}", num_inference_steps=STEPS) for i in range(2, 2 + MAX_WAITING)]
    with pytest.raises(RateLimitError) as caught:
        client.images.generate(prompt="one too many", size="64x64")
    assert caught.value.code == "overloaded"
    assert int(caught.value.response.headers["retry-after"]) >= 1
    for video in videos:
        client.videos.delete(video)
    server.idle()
    assert client.images.generate(prompt="room again", size="64x64", extra_body={"num_inference_steps": 2}).data


def test_the_journal_of_all_this_replays(server: Live) -> None:
    server.idle()
    result = replay(server.entries(), rebuild)
    assert result.mismatch is None
    story = server.story()
    assert not story.broken
