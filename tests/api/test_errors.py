"""Bad input of every kind: a 4xx in the one shape, naming the field and the fix, and nothing reaches the engine."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from sfumato.errors import SfumatoError
from sfumato.runtime.service import Ask, Ticket
from tests.api.service import asynchronous, open_app, open_site

IMAGES, VIDEOS = "/v1/images/generations", "/v1/videos"


def mended(answer: httpx.Response) -> dict[str, Any]:
    """The error of an answer, in the one shape."""
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json()) == {"error"}
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"]
    assert error["type"] in ("invalid_request_error", "rate_limit_error", "server_error")
    return error


IMAGE_TABLE: list[tuple[dict[str, Any], str, str]] = [
    ({"quality": "best"}, "quality", "use one of: exact, high, fast"),
    ({"quality": 5}, "quality", "use one of: exact, high, fast"),
    ({"prompt": None}, "prompt", "required"),
    ({"prompt": "  "}, "prompt", "say what to draw"),
    ({"prompt": 5}, "prompt", "string"),
    ({"prompt": "x" * 40_000}, "prompt", "at most 32000"),
    ({"n": 0}, "n", "greater than or equal to 1"),
    ({"n": 11}, "n", "less than or equal to 10"),
    ({"n": 1.5}, "n", "integer"),
    ({"n": True}, "n", "number"),
    ({"n": "many"}, "n", "integer"),
    ({"size": "10"}, "size", '"512x512"'),
    ({"size": "64x"}, "size", '"512x512"'),
    ({"size": "-64x64"}, "size", '"512x512"'),
    ({"size": 64}, "size", '"512x512"'),
    ({"size": "70x64"}, "size", "multiples of 16 from 32 to 128"),
    ({"size": "128x128"}, "size", "at most 12288 pixels"),
    ({"size": "999999x999999"}, "size", "pixels"),
    ({"response_format": "gif"}, "response_format", "b64_json"),
    ({"output_format": "bmp"}, "output_format", "webp"),
    ({"output_compression": 101, "output_format": "jpeg"}, "output_compression", "100"),
    ({"output_compression": 50}, "output_compression", "jpeg or webp"),
    ({"stream": True}, "stream", "not offered yet"),
    ({"partial_images": 2}, "partial_images", "not offered yet"),
    ({"seed": -1}, "seed", "0"),
    ({"seed": 2**60}, "seed", "less than"),
    ({"seed": "1e3"}, "seed", "integer"),
    ({"num_inference_steps": 51}, "num_inference_steps", "use 1 to 50"),
    ({"num_inference_steps": 0}, "num_inference_steps", "use 1 to 50"),
    ({"guidance_scale": 31}, "guidance_scale", "use 0 to 30"),
    ({"guidance_scale": float("nan")}, "guidance_scale", "finite"),
    ({"guidance_scale": float("inf")}, "guidance_scale", "finite"),
    ({"guidance_scale": 2, "true_cfg_scale": 3}, "true_cfg_scale", "one of them"),
    ({"guidance_scale": 1, "negative_prompt": "blue"}, "negative_prompt", "above 1"),
    ({"guidance_scale_2": 3}, "guidance_scale_2", "leave it out"),
    ({"slo_ms": 0}, "slo_ms", "greater than 0"),
    ({"slo_ms": float("inf")}, "slo_ms", "finite"),
    ({"slo_ms": 1e12}, "slo_ms", "less than"),
    ({"slo_ms": [1]}, "slo_ms", "number"),
    ({"deadline_ms": 1000}, "deadline_ms", "slo_ms"),
    ({"deadline_ms": 1e308}, "deadline_ms", "slo_ms"),
    ({"deadline_ms": 1.8e12, "slo_ms": 5}, "deadline_ms", "one of them"),
    ({"slo": "none", "slo_ms": 5}, "slo", "one of them"),
    ({"slo": "a b"}, "slo", "match"),
    ({"priority": 1e9}, "priority", "1000"),
    ({"slo_sm": 100}, "slo_sm", "did you mean slo_ms?"),
    ({"zzzz": 1}, "zzzz", "known are: prompt"),
    ({"": 1}, "(no name)", "is not a field"),
    ({"model": "tiny/video"}, "model", "POST it to /v1/videos"),
    ({"model": 3}, "model", "string"),
]

VIDEO_TABLE: list[tuple[dict[str, Any], str, str]] = [
    ({"quality": "fast"}, "quality", "is not offered by tiny/video; use exact"),
    ({"seconds": "soon"}, "seconds", "number"),
    ({"seconds": "nan"}, "seconds", "finite"),
    ({"seconds": 0}, "seconds", "greater than 0"),
    ({"seconds": 60}, "seconds", "use 0.625 to 4.12"),
    ({"num_frames": 10}, "num_frames", "5, 9, ... 33"),
    ({"num_frames": 4000}, "num_frames", "e.g. 33"),
    ({"fps": 0}, "fps", "1"),
    ({"n": 2}, "n", "is not a field"),
    ({"input_reference": "data:image/png;base64,AAAA"}, "input_reference", "not offered yet"),
    ({"model": "tiny/image"}, "model", "POST it to /v1/images/generations"),
]


@pytest.mark.parametrize(("fields", "param", "fix"), IMAGE_TABLE)
def test_a_bad_image_request_is_a_400_that_names_field_and_fix(fields: dict[str, Any], param: str, fix: str) -> None:
    check(IMAGES, fields, param, fix)


@pytest.mark.parametrize(("fields", "param", "fix"), VIDEO_TABLE)
def test_a_bad_video_request_is_a_400_that_names_field_and_fix(fields: dict[str, Any], param: str, fix: str) -> None:
    check(VIDEOS, fields, param, fix)


@asynchronous
async def check(url: str, fields: dict[str, Any], param: str, fix: str) -> None:
    import json

    async with open_app() as site:
        body = json.dumps({"prompt": "x", **fields})  # writes NaN and Infinity, as careless clients do
        answer = await site.http.post(url, content=body, headers={"content-type": "application/json"})
        error = mended(answer)
        assert (answer.status_code, error["param"]) == (400, param)
        assert error["message"].startswith(f"{param}: ")
        assert fix in error["message"]
        assert len(error["message"]) < 600
        assert site.studio.asks == []


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", "application/json", 400),
        (b"{", "application/json", 400),
        (b"[1]", "application/json", 400),
        (b'"text"', "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b'{"prompt": "\\ud800"}', "application/json", 400),
        (b'{"a":' * 5000, "application/json", 400),
        (b'{"prompt": "x", "seed": ' + b"9" * 5000 + b"}", "application/json", 400),
        (b"prompt=x", "application/x-www-form-urlencoded", 415),
        (b"<prompt/>", "text/xml", 415),
        (b"", "multipart/form-data", 400),
        (b"no parts", "multipart/form-data; boundary=abc", 400),
        (b"--abc\r\n\r\nx\r\n--abc--", "multipart/form-data; boundary=abc", 400),
    ],
)
@pytest.mark.parametrize("url", [IMAGES, VIDEOS])
def test_a_malformed_body_is_a_4xx_in_the_one_shape(url: str, body: bytes, kind: str, status: int) -> None:
    @asynchronous
    async def post() -> None:
        async with open_app() as site:
            answer = await site.http.post(url, content=body, headers={"content-type": kind})
            mended(answer)
            assert answer.status_code == status
            assert site.studio.asks == []

    post()


@asynchronous
async def test_a_field_of_a_form_is_one_text() -> None:
    async with open_app() as site:
        twice = [("prompt", (None, "x")), ("prompt", (None, "y"))]
        assert mended(await site.http.post(VIDEOS, files=twice))["param"] == "prompt"
        file = {"prompt": ("prompt.txt", b"x")}
        assert mended(await site.http.post(VIDEOS, files=file))["param"] == "prompt"
        picture = {"prompt": (None, "x"), "input_reference": ("a.png", b"PNG")}
        assert mended(await site.http.post(VIDEOS, files=picture))["param"] == "input_reference"
        nested = {"prompt": (None, "x"), "slo[ms]": (None, "5")}
        assert mended(await site.http.post(VIDEOS, files=nested))["param"] == "slo[ms]"


@asynchronous
async def test_a_packed_body_is_refused_as_such() -> None:
    async with open_app() as site:
        body = gzip.compress(b'{"prompt": "x"}')
        answer = await site.http.post(IMAGES, content=body, headers={"content-encoding": "gzip"})
        assert answer.status_code == 415
        assert "'gzip' is not understood; send the body as it is" in mended(answer)["message"]


@asynchronous
async def test_a_bad_header_is_named_like_its_field() -> None:
    async with open_app() as site:
        answer = await site.http.post(IMAGES, json={"prompt": "x"}, headers={"x-sfumato-slo-ms": "soon"})
        assert mended(answer)["param"] == "slo_ms"


@asynchronous
async def test_an_unknown_model_is_404_with_the_known_names() -> None:
    async with open_site() as site:
        with pytest.raises(openai.NotFoundError) as caught:
            await site.client.images.generate(prompt="x", model="dall-e-3")
        assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
        assert "tiny/image" in caught.value.message
        with pytest.raises(openai.NotFoundError):
            await site.client.models.retrieve("dall-e-3")


@pytest.mark.parametrize(
    ("method", "path", "status", "param", "fix"),
    [
        ("GET", "/v1/images/nope/content", 404, "id", "response_format=url"),
        ("GET", "/v1/videos/nope", 404, "id", "GET /v1/videos lists all"),
        ("GET", "/v1/videos/nope/content", 404, "id", "GET /v1/videos lists all"),
        ("DELETE", "/v1/videos/nope", 404, "id", "GET /v1/videos lists all"),
        ("GET", "/v1/nope", 404, None, "see POST /v1/images/generations"),
        ("GET", "/", 404, None, "see POST /v1/images/generations"),
        ("GET", "/v1/images/generations", 405, None, "use POST"),
        ("PUT", "/v1/videos/nope", 405, None, "use DELETE or GET"),
        ("DELETE", "/v1/videos", 405, None, "use GET or POST"),
        ("POST", "/metrics", 405, None, "use GET"),
        ("GET", "/v1/videos?limit=0", 400, "limit", "use 1 to 100"),
        ("GET", "/v1/videos?limit=x", 400, "limit", "use 1 to 100"),
        ("GET", "/v1/videos?order=up", 400, "order", "use asc or desc"),
        ("GET", "/v1/videos?after=nope", 400, "after", "one in the list"),
    ],
)
def test_every_refusal_has_the_one_shape(method: str, path: str, status: int, param: str | None, fix: str) -> None:
    @asynchronous
    async def ask() -> None:
        async with open_app() as site:
            answer = await site.http.request(method, path)
            error = mended(answer)
            assert (answer.status_code, error["param"]) == (status, param)
            assert fix in error["message"]

    ask()


@asynchronous
async def test_an_unexpected_error_is_500_in_the_one_shape_and_not_retried() -> None:
    async with open_app() as site:
        site.studio.queue_position = lambda ticket: 1 // 0  # type: ignore[method-assign]
        answer = await site.http.post(IMAGES, json={"prompt": "x"})
        assert answer.status_code == 500
        assert answer.headers["x-should-retry"] == "false"
        assert mended(answer)["code"] == "internal_error"


@pytest.mark.parametrize(("url", "fields"), [(IMAGES, {"n": 2}), (VIDEOS, {})])
@asynchronous
async def test_an_engine_that_has_stopped_is_503_with_its_reason(url: str, fields: dict[str, Any]) -> None:
    def submit(ask: Ask) -> Ticket:
        raise SfumatoError("the server has stopped planning")

    async with open_app() as site:
        site.studio.submit = submit  # type: ignore[method-assign]
        answer = await site.http.post(url, json={"prompt": "x", **fields})
        assert (answer.status_code, mended(answer)["code"]) == (503, "unavailable")
        assert "stopped planning" in mended(answer)["message"]


@asynchronous
async def test_a_prompt_of_too_many_tokens_is_refused(tmp_path: Path) -> None:
    tokenizer = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    (tmp_path / "tokenizer_2").mkdir()
    tokenizer.save(str(tmp_path / "tokenizer_2" / "tokenizer.json"))
    async with open_app(path=tmp_path) as site:
        assert (await site.http.post(IMAGES, json={"prompt": "one two three four five six"})).status_code == 200
        error = mended(await site.http.post(IMAGES, json={"prompt": "one two three four five six seven"}))
        assert error["param"] == "prompt"
        assert "7 tokens are more than the 6" in error["message"]
