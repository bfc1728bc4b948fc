"""/v1/videos as its users call it."""

from __future__ import annotations

import asyncio
import io

import av
import numpy as np
import openai
import pytest
from PIL import Image

from sfumato.api.config import ApiConfig
from tests.api.service import Site, asynchronous, open_app, open_site
from tests.api.studio import draw

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")
URL = "/v1/videos"


async def finished(site: Site, **fields: object) -> dict[str, object]:
    """A video that was posted plainly and has its file."""
    video = (await site.http.post(URL, json={"prompt": "x", **fields})).json()
    return (await site.client.videos.poll(video["id"], poll_interval_ms=5)).model_dump()


@asynchronous
async def test_a_video_is_created_polled_downloaded_and_deleted_with_the_official_client() -> None:
    async with open_site() as site:
        video = await site.client.videos.create(
            prompt="a ball", model="tiny/video", seconds="2", size="64x48", extra_body={"seed": 3, "slo_ms": 60000}
        )
        assert video.object == "video"
        video = await site.client.videos.poll(video.id)
        assert (video.status, video.progress, video.size, video.prompt) == ("completed", 100, "64x48", "a ball")
        assert float(video.seconds) * 8 == 17
        assert video.completed_at is not None
        assert (video.expires_at or 0) > video.completed_at
        assert (video.model_extra or {})["slo"]["met"] is True
        clip = (await site.client.videos.download_content(video.id)).content
        assert clip.find(b"moov") < clip.find(b"mdat")  # plays before it is whole
        assert (await site.client.videos.delete(video.id)).deleted
        with pytest.raises(openai.NotFoundError):
            await site.client.videos.retrieve(video.id)
        assert video.id in site.studio.forgotten


@asynchronous
async def test_the_clip_is_h264_of_the_right_size_rate_frames_and_colours() -> None:
    async with open_site() as site:
        video = await finished(site, num_frames=13, fps=12, size="96x64", seed=1)
        clip = await site.http.get(f"{URL}/{video['id']}/content")
        assert clip.headers["content-type"] == "video/mp4"
        with av.open(io.BytesIO(clip.content)) as container:
            stream = container.streams.video[0]
            assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
            assert (stream.width, stream.height, stream.average_rate) == (96, 64, 12)
            frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(stream)])
        expected = draw(site.studio.asks[0])
        assert frames.shape == expected.shape == (13, 64, 96, 3)
        assert np.abs(frames.astype(int) - expected).mean() < 4


@asynchronous
async def test_a_second_expert_is_guided_as_asked() -> None:
    async with open_site() as site:
        await finished(site, guidance_scale=4, guidance_scale_2=2.5)
        await finished(site)
        assert [(ask.guidance, ask.guidance_2) for ask in site.studio.asks] == [(4.0, 2.5), (3.0, None)]


@asynchronous
async def test_the_thumbnail_is_the_middle_frame() -> None:
    async with open_site() as site:
        video = await finished(site, seed=1)
        still = await site.http.get(f"{URL}/{video['id']}/content", params={"variant": "thumbnail"})
        image = np.asarray(Image.open(io.BytesIO(still.content)).convert("RGB")).astype(int)
        assert np.abs(image - draw(site.studio.asks[0])[4]).mean() < 4


@pytest.mark.parametrize(
    ("fields", "frames"),
    [
        ({}, 9),
        ({"seconds": 2}, 17),
        ({"seconds": "1.6"}, 13),
        ({"seconds": "2", "num_frames": "5"}, 5),
        ({"seconds": 2, "fps": 4}, 9),
    ],
)
@asynchronous
async def test_seconds_and_frames_give_the_length(fields: dict[str, object], frames: int) -> None:
    async with open_app(held=True) as site:
        video = (await site.http.post(URL, json={"prompt": "x", **fields})).json()
        assert video["num_frames"] == site.studio.asks[0].shape.frames == frames
        assert float(video["seconds"]) == pytest.approx(frames / video["fps"])


@asynchronous
async def test_progress_is_steps_done_over_steps() -> None:
    async with open_app(held=True) as site:
        first = (await site.http.post(URL, json={"prompt": "x", "num_inference_steps": 10})).json()
        second = (await site.http.post(URL, json={"prompt": "y"})).json()
        seen = []
        for step in range(1, 10):
            site.studio.allow(1)
            await site.studio.reached(step)
            answer = await site.http.get(f"{URL}/{first['id']}")
            seen.append(answer.json()["progress"])
            assert answer.json()["status"] == "in_progress"
            assert 100 <= int(answer.headers["openai-poll-after-ms"]) <= 5000
        assert seen == [10, 20, 30, 40, 50, 60, 70, 80, 90]
        waiting = (await site.http.get(f"{URL}/{second['id']}")).json()
        assert (waiting["status"], waiting["progress"]) == ("queued", 0)


@asynchronous
async def test_deleting_a_live_video_cancels_it_and_ends_its_poll() -> None:
    async with open_site(held=True) as site:
        video = await site.client.videos.create(prompt="x")
        site.studio.allow(1)
        await site.studio.reached(1)
        polling = asyncio.create_task(site.client.videos.poll(video.id, poll_interval_ms=5))
        assert (await site.client.videos.delete(video.id)).deleted
        assert site.studio.cancelled == [video.id]
        assert (await polling).status == "cancelled"
        site.studio.release()
        assert (await finished(site))["status"] == "completed"
        assert site.studio.steps == 1 + 4
        assert (await site.client.videos.delete(video.id)).deleted
        with pytest.raises(openai.NotFoundError):
            await site.client.videos.retrieve(video.id)


@asynchronous
async def test_a_cancellation_that_comes_too_late_still_leaves_a_cancelled_video_and_no_output() -> None:
    async with open_site(held=True) as site:
        video = (await site.http.post(URL, json={"prompt": "x"})).json()
        site.studio.cancel = lambda request_id: True  # type: ignore[method-assign]
        await site.http.delete(f"{URL}/{video['id']}")
        site.studio.release()
        assert (await finished(site))["status"] == "completed"
        assert (await site.http.get(f"{URL}/{video['id']}")).json()["status"] == "cancelled"
        assert (await site.http.get(f"{URL}/{video['id']}/content")).status_code == 404
        assert video["id"] in site.studio.forgotten


@asynchronous
async def test_a_failed_video_answers_200_with_its_error() -> None:
    async with open_site() as site:
        site.studio.failure = "CUDA out of memory"
        video = await finished(site)
        assert video["status"] == "failed"
        error = video["error"]
        assert isinstance(error, dict)
        assert error["code"] == "generation_failed"
        assert "CUDA out of memory" in error["message"]
        content = await site.http.get(f"{URL}/{video['id']}/content")
        assert (content.status_code, content.json()["error"]["code"]) == (404, "no_content")


@asynchronous
async def test_a_refusal_at_once_is_the_status_of_the_post() -> None:
    async with open_app() as site:
        site.studio.refusal = "too late"
        answer = await site.http.post(URL, json={"prompt": "x", "slo_ms": 1})
        assert (answer.status_code, answer.headers["x-should-retry"]) == (429, "false")
        assert answer.json()["error"]["code"] == "rejected"
        assert (await site.http.get(URL)).json()["data"] == []


@asynchronous
async def test_what_no_rank_can_hold_is_a_400_that_names_the_field_and_says_nothing_of_time() -> None:
    async with open_app() as site:
        site.studio.refusal, site.studio.refused_field = "needs 9.0 GiB; ask for a smaller size", "size"
        for url in (URL, "/v1/images/generations"):
            answer = await site.http.post(url, json={"prompt": "x"})
            error = answer.json()["error"]
            assert (answer.status_code, error["param"], error["code"]) == (400, "size", "invalid_value")
            assert error["message"] == "size: needs 9.0 GiB; ask for a smaller size"
        assert (await site.http.get(URL)).json()["data"] == []


@asynchronous
async def test_a_list_can_be_walked_page_by_page_in_both_orders() -> None:
    async with open_site(held=True) as site:
        ids = [(await site.http.post(URL, json={"prompt": "x"})).json()["id"] for _ in range(5)]
        walked = [video.id async for video in site.client.videos.list(limit=2, order="asc")]
        assert walked == ids
        assert [video.id async for video in site.client.videos.list(limit=2)] == ids[::-1]
        page = (await site.http.get(URL, params={"limit": 2, "after": ids[3]})).json()
        assert (page["first_id"], page["last_id"], page["has_more"]) == (ids[2], ids[1], True)


@asynchronous
async def test_videos_expire_and_beyond_the_bound_the_oldest_ended_one_leaves() -> None:
    async with open_site(ApiConfig(videos=2, video_ttl_s=100)) as site:
        ids = [(await finished(site))["id"] for _ in range(3)]
        codes = [(await site.http.get(f"{URL}/{video}")).status_code for video in ids]
        assert codes == [404, 200, 200]
        site.clock.now += 101
        assert (await site.http.get(URL)).json() == {
            "object": "list",
            "data": [],
            "has_more": False,
            "first_id": None,
            "last_id": None,
        }


@asynchronous
async def test_files_beyond_the_bytes_leave_but_live_videos_stay() -> None:
    async with open_site(ApiConfig(video_bytes=1000), held=True) as site:
        ended = (await site.http.post(URL, json={"prompt": "x"})).json()["id"]
        live = (await site.http.post(URL, json={"prompt": "y"})).json()["id"]
        site.studio.allow(4)
        with pytest.raises(openai.NotFoundError):  # one file is more than all that may be kept
            await site.client.videos.poll(ended, poll_interval_ms=5)
        assert (await site.http.get(f"{URL}/{live}")).status_code == 200


@asynchronous
async def test_one_key_makes_one_video() -> None:
    async with open_site(held=True) as site:
        headers = {"Idempotency-Key": "k"}
        first, second = [await site.client.videos.create(prompt="x", extra_headers=headers) for _ in range(2)]
        assert first.id == second.id
        assert len(site.studio.asks) == 1


@pytest.mark.parametrize(
    ("asked", "status", "part"),
    [
        ("bytes=0-9", 206, slice(0, 10)),
        ("bytes=10-", 206, slice(10, None)),
        ("bytes=-7", 206, slice(-7, None)),
        ("bytes=0-9,20-29", 200, slice(None)),
        ("lines=1-2", 200, slice(None)),
    ],
)
@asynchronous
async def test_a_player_may_ask_for_a_part_of_the_clip(asked: str, status: int, part: slice) -> None:
    async with open_site() as site:
        url = f"{URL}/{(await finished(site, seed=1))['id']}/content"
        whole = (await site.http.get(url)).content
        answer = await site.http.get(url, headers={"Range": asked})
        assert answer.status_code == status
        assert answer.content == whole[part]


@asynchronous
async def test_a_part_beyond_the_end_is_416() -> None:
    async with open_site() as site:
        url = f"{URL}/{(await finished(site))['id']}/content"
        answer = await site.http.get(url, headers={"Range": "bytes=99999999-"})
        assert answer.status_code == 416
        assert answer.json()["error"]["param"] == "range"
