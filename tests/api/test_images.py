"""POST /v1/images/generations as its users call it."""

from __future__ import annotations

import asyncio
import base64
import io
import json

import httpx
import numpy as np
import openai
import pytest
from PIL import Image

from sfumato.api.config import ApiConfig
from tests.api.service import asynchronous, open_app, open_site
from tests.api.studio import WALL, draw

URL = "/v1/images/generations"


def picture(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


@asynchronous
async def test_an_image_arrives_as_base64_with_the_pixels_of_its_seed() -> None:
    async with open_site() as site:
        answer = await site.client.images.generate(
            prompt="a red circle", model="tiny/image", size="96x64", extra_body={"seed": 7, "num_inference_steps": 3}
        )
        assert answer.data is not None
        image = picture(base64.b64decode(answer.data[0].b64_json or ""))
        assert image.format == "PNG"
        assert np.array_equal(np.asarray(image), draw(site.studio.asks[0])[0])
        assert (site.studio.asks[0].seed, site.studio.asks[0].steps) == (7, 3)
        assert (answer.size, answer.output_format) == ("96x64", "png")
        assert answer.usage is not None
        assert answer.usage.total_tokens == 0


@asynchronous
async def test_the_answer_says_when_it_ran_and_whether_the_slo_was_met() -> None:
    async with open_app() as site:
        for slo_ms, met in ((5000, True), (250, False)):
            body = {"prompt": "x", "slo_ms": slo_ms}
            arrived_at = site.studio.now
            answer = (await site.http.post(URL, json=body)).json()
            assert answer["slo"] == {"deadline_ms": round((WALL + arrived_at) * 1000) + slo_ms, "met": met}
            took = answer["timings"]
            assert took["diffuse_s"] == took["total_s"] == pytest.approx(0.4)
            assert took["rank_s"] == pytest.approx(0.2)
            assert {took[name] for name in ("queue_s", "encode_s", "decode_s", "paused_s")} == {0}
            assert answer["queue_position"] == 0
            assert answer["predicted_finish_s"] == pytest.approx(0.4)


@asynchronous
async def test_n_images_have_following_seeds_and_one_deadline() -> None:
    async with open_site() as site:
        answer = await site.client.images.generate(prompt="x", n=3, extra_body={"seed": 5, "slo_ms": 900})
        assert answer.data is not None
        assert [ask.seed for ask in site.studio.asks] == [5, 6, 7]
        assert len({item.b64_json for item in answer.data}) == 3
        assert [ask.arrived_at for ask in site.studio.asks[1:]] == [0.0, 0.0]
        extra = answer.model_extra or {}
        assert extra["ids"] == ["r0", "r1", "r2"]
        assert extra["slo"]["met"] is False
        last = extra["timings"]  # the third waits for two others
        assert (last["queue_s"], last["diffuse_s"], last["total_s"]) == pytest.approx((0.8, 0.4, 1.2))
        assert last["rank_s"] == pytest.approx(0.6)
        assert {"r0", "r1", "r2"} <= site.studio.forgotten


@asynchronous
async def test_a_url_can_be_fetched_until_it_expires() -> None:
    async with open_site(ApiConfig(image_ttl_s=60)) as site:
        answer = await site.client.images.generate(prompt="x", response_format="url", output_format="webp")
        assert answer.data is not None
        url = answer.data[0].url or ""
        assert url.startswith(site.url)
        found = await site.http.get(url)
        assert found.headers["content-type"] == "image/webp"
        assert picture(found.content).size == (64, 48)
        site.clock.now += 61
        assert (await site.http.get(url)).status_code == 404


@asynchronous
async def test_no_more_files_are_kept_than_the_bound() -> None:
    async with open_site(ApiConfig(image_files=2)) as site:
        answer = await site.client.images.generate(prompt="x", response_format="url", n=3)
        codes = [(await site.http.get(item.url or "")).status_code for item in answer.data or []]
        assert sorted(codes) == [200, 200, 404]


@pytest.mark.parametrize(("image_format", "name"), [("png", "PNG"), ("jpeg", "JPEG"), ("webp", "WEBP")])
@asynchronous
async def test_every_output_format_is_what_it_says(image_format: str, name: str) -> None:
    async with open_app() as site:
        answer = (await site.http.post(URL, json={"prompt": "x", "output_format": image_format})).json()
        assert picture(base64.b64decode(answer["data"][0]["b64_json"])).format == name


@asynchronous
async def test_compression_makes_a_jpeg_smaller() -> None:
    async with open_app() as site:
        sizes = []
        for quality in (5, 95):
            body = {"prompt": "x", "seed": 1, "output_format": "jpeg", "output_compression": quality}
            sizes.append(len((await site.http.post(URL, json=body)).json()["data"][0]["b64_json"]))
        assert sizes[0] < sizes[1]


@pytest.mark.parametrize(
    ("fields", "headers", "slo_s", "slo"),
    [
        ({}, {}, 9.0, "default"),
        ({"slo": "none"}, {}, None, "none"),
        ({"slo_ms": 1500}, {}, 1.5, "default"),
        ({"slo_ms": "1500", "slo": "tight"}, {}, 1.5, "tight"),
        ({"deadline_ms": (WALL + 4) * 1000}, {}, 4.0, "default"),
        ({}, {"x-sfumato-slo-ms": "2500"}, 2.5, "default"),
        ({"slo_ms": 500}, {"x-sfumato-slo-ms": "2500"}, 0.5, "default"),
        ({}, {"x-sfumato-slo": "none", "x-sfumato-priority": "3"}, None, "none"),
    ],
)
@asynchronous
async def test_the_slo_comes_from_the_body_then_headers_then_the_default(
    fields: dict[str, object], headers: dict[str, str], slo_s: float | None, slo: str
) -> None:
    async with open_app(ApiConfig(default_slo_s=9.0)) as site:
        answer = await site.http.post(URL, json={"prompt": "x", **fields}, headers=headers)
        assert answer.status_code == 200
        ask = site.studio.asks[0]
        assert (ask.slo_s, ask.slo) == (pytest.approx(slo_s), slo)
        assert ask.priority == int(headers.get("x-sfumato-priority", 0))


@pytest.mark.parametrize(
    ("given", "quality"),
    [({}, "exact"), ({"quality": "fast"}, "fast"), ({"quality": "High"}, "high"), ({"quality": "hd"}, "exact")],
)
@asynchronous
async def test_steps_are_reused_only_for_who_asks_for_less_than_exact(given: dict[str, str], quality: str) -> None:
    async with open_app() as site:
        assert (await site.http.post(URL, json={"prompt": "x", **given})).status_code == 200
        assert site.studio.asks[0].quality == quality


@asynchronous
async def test_without_a_default_a_request_is_best_effort() -> None:
    async with open_app() as site:
        answer = (await site.http.post(URL, json={"prompt": "x"})).json()
        assert site.studio.asks[0].slo_s is None
        assert answer["slo"] == {"deadline_ms": None, "met": None}


@asynchronous
async def test_a_client_that_leaves_cancels_all_its_images() -> None:
    async with open_site(held=True) as site:
        posting = asyncio.create_task(site.http.post(URL, json={"prompt": "x", "n": 3}))
        site.studio.allow(2)
        await site.studio.reached(2)
        posting.cancel()
        await site.studio.cancellation.wait()
        assert site.studio.cancelled == ["r0", "r1", "r2"]
        site.studio.release()
        again = await site.http.post(URL, json={"prompt": "y"})
        assert again.status_code == 200
        assert {"r0", "r1", "r2"} <= site.studio.forgotten
        assert site.studio.steps == 2 + 4  # no step more for those that were given up


@asynchronous
async def test_a_client_time_out_cancels_too() -> None:
    async with open_site(held=True) as site:
        with pytest.raises(openai.APITimeoutError):
            await site.client.with_options(timeout=0.2).images.generate(prompt="x")
        await site.studio.cancellation.wait()
        assert site.studio.cancelled == ["r0"]


@asynchronous
async def test_one_key_draws_once_and_the_second_post_waits_for_the_first() -> None:
    async with open_site(held=True) as site:
        post = {"json": {"prompt": "x"}, "headers": {"Idempotency-Key": "k"}}
        first = asyncio.create_task(site.http.post(URL, **post))
        site.studio.allow(1)
        await site.studio.reached(1)
        second = asyncio.create_task(site.http.post(URL, **post))
        site.studio.release()
        answers = [await first, await second, await site.http.post(URL, **post)]
        assert len({answer.content for answer in answers}) == 1
        assert len(site.studio.asks) == 1
        other = await site.http.post(URL, json={"prompt": "y"}, headers={"Idempotency-Key": "k"})
        assert (other.status_code, other.json()["error"]["param"]) == (400, "Idempotency-Key")


@asynchronous
async def test_a_key_whose_client_left_starts_anew() -> None:
    async with open_site(held=True) as site:
        post = {"json": {"prompt": "x"}, "headers": {"Idempotency-Key": "k"}}
        first = asyncio.create_task(site.http.post(URL, **post))
        site.studio.allow(1)
        await site.studio.reached(1)
        first.cancel()
        site.studio.release()
        assert (await site.http.post(URL, **post)).status_code == 200


@asynchronous
async def test_a_key_whose_request_failed_may_be_tried_again() -> None:
    async with open_app() as site:
        post = {"json": {"prompt": "x"}, "headers": {"Idempotency-Key": "k"}}
        site.studio.failure = "out of memory"
        assert (await site.http.post(URL, **post)).status_code == 500
        site.studio.failure = ""
        assert (await site.http.post(URL, **post)).status_code == 200


@asynchronous
async def test_a_refused_request_is_429_and_not_retried() -> None:
    async with open_site() as site:
        site.studio.refusal = "needs 3.2 s, has 0.1 s"
        with pytest.raises(openai.RateLimitError) as caught:
            await site.client.with_options(max_retries=2).images.generate(prompt="x", extra_body={"slo_ms": 100})
        assert caught.value.response.headers["x-should-retry"] == "false"
        assert caught.value.code == "rejected"
        assert "needs 3.2 s" in caught.value.message
        assert len(site.studio.asks) == 1


@asynchronous
async def test_a_failed_request_is_500_with_the_reason_and_not_retried() -> None:
    async with open_site(held=True) as site:
        site.studio.failure = "CUDA out of memory"
        site.studio.allow(4)
        with pytest.raises(openai.InternalServerError) as caught:
            await site.client.with_options(max_retries=2).images.generate(prompt="x", n=2)
        assert caught.value.code == "generation_failed"
        assert "CUDA out of memory" in caught.value.message
        assert len(site.studio.asks) == 2
        assert site.studio.cancelled == ["r1"]  # of no use without the other


@asynchronous
async def test_an_overloaded_server_says_when_to_come_back_and_keeps_none_of_the_n() -> None:
    async with open_app(held=True, bound=2) as site:
        answer = await site.http.post(URL, json={"prompt": "x", "n": 3})
        assert answer.status_code == 429
        assert answer.headers["retry-after"] == "3"
        assert answer.json()["error"]["code"] == "overloaded"
        assert {"r0", "r1"} <= site.studio.forgotten
        assert site.studio.cancelled == ["r0", "r1"]
        page = (await site.http.get("/metrics")).text
        assert 'sfumato_requests_total{model="tiny/image",outcome="overloaded"} 1.0' in page


@asynchronous
async def test_a_body_may_be_sent_in_pieces_but_not_beyond_the_limit() -> None:
    async def pieces(text: bytes):  # type: ignore[no-untyped-def]
        for start in range(0, len(text), 1000):
            yield text[start : start + 1000]

    async with open_site(ApiConfig(body_bytes=4000)) as site:
        small = json.dumps({"prompt": "x"}).encode()
        assert (await site.http.post(URL, content=pieces(small))).status_code == 200
        large: httpx.Response = await site.http.post(URL, content=pieces(b" " * 5000))
        assert large.status_code == 413
        assert large.json()["error"]["code"] == "body_too_large"
