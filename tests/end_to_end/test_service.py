"""The whole server under its own policy, as the official client sees it."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import av
import httpx
import pytest
from openai import BadRequestError, NotFoundError, OpenAI
from PIL import Image

from sfumato.assemble import rebuild
from sfumato.config import Config, ServerConfig, WorkersConfig
from sfumato.core.values import JobState, Stage
from sfumato.sim import replay

from .live import Live, completed, live, until

SMALL: dict[str, Any] = {"num_inference_steps": 4}

# the client's word on its maker's own service; the endpoints live on in open servers
pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    config = Config(
        workers=WorkersConfig(count=2, device="cpu"),
        server=ServerConfig(journal=str(tmp_path_factory.mktemp("service") / "journal")),
    )
    with live(config) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Live) -> Iterator[OpenAI]:
    with server.client() as made:
        yield made


def test_images_come_in_the_answer_and_a_seed_names_a_picture(client: OpenAI) -> None:
    answers = [
        client.images.generate(prompt="a red circle", size="96x64", n=2, extra_body={**SMALL, "seed": 5})
        for _ in range(2)
    ]
    first, second = (base64.b64decode(image.b64_json or "") for image in answers[0].data or ())
    assert Image.open(io.BytesIO(first)).size == (96, 64)
    assert first != second, "each of n has a seed of its own"
    assert [image.b64_json for image in answers[1].data or ()] == [image.b64_json for image in answers[0].data or ()]


def test_an_image_that_was_asked_for_as_a_url_can_be_fetched_there(client: OpenAI) -> None:
    answer = client.images.generate(prompt="a red circle", size="64x64", response_format="url", extra_body=SMALL)
    assert answer.data
    assert answer.data[0].url
    assert Image.open(io.BytesIO(httpx.get(answer.data[0].url).content)).size == (64, 64)


def test_a_video_reports_its_progress_and_plays(client: OpenAI, server: Live) -> None:
    body = {"num_inference_steps": 16, "num_frames": 13, "seed": 1}
    made = client.videos.create(prompt="a blue square moves", size="64x64", extra_body=body)  # type: ignore[arg-type]
    seen = [made.progress]

    def poll() -> bool:
        video = client.videos.retrieve(made.id)
        seen.append(video.progress)
        return video.status == "completed"

    until(poll, "the video is completed")
    assert seen == sorted(seen)
    assert seen[-1] == 100
    assert len({progress for progress in seen if 0 < progress < 100}) >= 3
    with av.open(io.BytesIO(client.videos.download_content(made.id).content)) as file:
        pictures = [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
    assert {picture.shape for picture in pictures} == {(64, 64, 3)}
    assert len(pictures) == 13
    assert server.story(made.id).lives[made.id].state is JobState.DONE


def test_videos_are_listed_newest_first_and_gone_once_deleted(client: OpenAI) -> None:
    body = {"num_inference_steps": 2, "num_frames": 9}
    ids = [
        client.videos.create(prompt=f"a square {i}", size="64x64", extra_body=body).id  # type: ignore[arg-type]
        for i in range(2)
    ]
    for one in ids:
        completed(client, one)
    assert [video.id for video in client.videos.list(limit=2)][:2] == ids[::-1]
    client.videos.delete(ids[0])
    with pytest.raises(NotFoundError):
        client.videos.retrieve(ids[0])
    assert client.videos.retrieve(ids[1]).status == "completed"
    client.videos.delete(ids[1])


def test_bad_input_names_the_field(client: OpenAI) -> None:
    with pytest.raises(BadRequestError, match="multiples of 16") as caught:
        client.images.generate(prompt="a red circle", size="65x64")
    assert caught.value.param == "size"


def test_urgent_images_pause_a_video_and_everybody_ends_once(client: OpenAI, server: Live) -> None:
    """Two long videos without a deadline hold both ranks; images with one come in between two of their steps."""
    body = {"num_frames": 9, "num_inference_steps": 40, "slo": "none"}
    videos = [
        client.videos.create(prompt=f"a long video {i}", size="64x64", extra_body=body)  # type: ignore[arg-type]
        for i in range(2)
    ]
    for video in videos:
        server.until_at(video.id, Stage.DIFFUSE, 2)
    with ThreadPoolExecutor(4) as pool:
        calls = [
            pool.submit(
                client.images.generate, prompt=f"image {i}", size="64x64", extra_body={**SMALL, "slo_ms": 20_000}
            )
            for i in range(4)
        ]
        images: list[Any] = [call.result() for call in calls]
    for video in videos:
        completed(client, video.id)

    ids = [image.id for image in images] + [video.id for video in videos]
    story = server.story(*ids)
    assert {story.lives[one].state for one in ids} == {JobState.DONE}
    assert all(image.slo["met"] for image in images)
    firsts = [story.lives[image.id].outcome.at for image in images]  # type: ignore[union-attr]
    last = [story.lives[video.id].outcome.at for video in videos]  # type: ignore[union-attr]
    assert max(firsts) < max(last), "the images did not wait for the videos"
    assert any(
        begin < story.lives[image.id].spans[0].end and story.lives[image.id].spans[0].start < end
        for video in videos
        for begin, end in story.lives[video.id].pauses
        for image in images
    ), "an image ran while a video was paused"


def test_the_journal_replays_to_the_same_decisions(server: Live) -> None:
    server.idle()
    result = replay(server.entries(), rebuild)
    assert result.mismatch is None
    assert result.records > 50
    assert not server.story().broken
