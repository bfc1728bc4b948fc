"""Health, models and metrics."""

from __future__ import annotations

import asyncio
import subprocess
import sys

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sfumato.api.app import bind
from sfumato.api.config import ApiConfig
from sfumato.errors import ConfigError
from tests.api.service import Site, asynchronous, open_app, open_site


async def samples(site: Site) -> dict[tuple[str, ...], float]:
    """The metrics page as {(name, label values in the order of their names...): value}."""
    page = await site.http.get("/metrics")
    found = {}
    for family in text_string_to_metric_families(page.text):
        for sample in family.samples:
            found[sample.name, *(sample.labels[label] for label in sorted(sample.labels))] = sample.value
    return found


@asynchronous
async def test_health_is_ok_while_a_rank_is_up() -> None:
    async with open_app() as site:
        answer = await site.http.get("/health")
        assert (answer.status_code, answer.json()["status"], answer.json()["ranks"]) == (200, "ok", 1)
        site.studio.stats = lambda: {"ranks": 0.0}  # type: ignore[method-assign]
        assert (await site.http.get("/health")).status_code == 503


@asynchronous
async def test_models_are_listed_with_their_limits() -> None:
    async with open_site() as site:
        models = [model async for model in site.client.models.list()]
        assert [model.id for model in models] == ["tiny/image", "tiny/video"]
        extra = (await site.client.models.retrieve("tiny/video")).model_extra or {}
        assert extra["num_frames"] == {"min": 5, "max": 33, "step": 4}
        assert extra["default_size"] == "64x48"
        assert [(model.model_extra or {}).get("max_guidance_scale_2") for model in models] == [None, 30.0]
        assert [(model.model_extra or {})["qualities"] for model in models] == [["exact", "high", "fast"], ["exact"]]


@asynchronous
async def test_metrics_count_every_request_once_by_how_it_ended() -> None:
    async with open_app() as site:
        image = "/v1/images/generations"
        for fields in ({}, {"slo_ms": 5000}, {"slo_ms": 250}):
            await site.http.post(image, json={"prompt": "x", **fields})
        site.studio.failure = "broken"
        await site.http.post(image, json={"prompt": "x", "slo_ms": 5000})
        found = await samples(site)
        outcomes = {name: found["sfumato_requests_total", "tiny/image", name] for name in ("done", "late", "failed")}
        assert outcomes == {"done": 2, "late": 1, "failed": 1}
        assert found["sfumato_slo_total", "tiny/image", "attained"] == 1
        assert found["sfumato_slo_total", "tiny/image", "missed"] == 2
        assert found["sfumato_request_duration_seconds_sum", "tiny/image"] == pytest.approx(1.6)
        assert found["sfumato_request_duration_seconds_bucket", "900.0", "tiny/image"] == 4
        assert found["sfumato_stage_duration_seconds_sum", "tiny/image", "diffuse"] == pytest.approx(1.6)
        assert found["sfumato_rank_seconds_total", "tiny/image"] == pytest.approx(0.8)
        assert found["sfumato_queue_duration_seconds_count", "tiny/image"] == 4


@asynchronous
async def test_gauges_are_the_engines_own() -> None:
    async with open_app(held=True) as site:
        await asyncio.gather(*(site.http.post("/v1/videos", json={"prompt": "x"}) for _ in range(3)))
        found = await samples(site)
        assert (found["sfumato_queue_waiting",], found["sfumato_ranks",]) == (2, 1)


@asynchronous
async def test_what_its_client_cancels_in_time_is_no_miss() -> None:
    async with open_site(held=True) as site:
        video = (await site.http.post("/v1/videos", json={"prompt": "x", "slo_ms": 5000})).json()
        await site.http.delete(f"/v1/videos/{video['id']}")
        found = await samples(site)
        assert found["sfumato_requests_total", "tiny/video", "cancelled"] == 1
        assert not any(key[0] == "sfumato_slo_total" for key in found)


def test_a_bound_of_nothing_is_refused_by_name() -> None:
    with pytest.raises(ConfigError, match="video_ttl_s: 0 is not possible"):
        ApiConfig(video_ttl_s=0)
    assert ApiConfig(refusal_s=0).refusal_s == 0


def test_building_the_service_imports_no_torch_and_no_codecs() -> None:
    heavy = ("torch", "av", "PIL", "tokenizers")
    script = f"import sys, sfumato.api.app; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("host", "port"), [("no.such.host.invalid", 0), ("127.0.0.1", 70000), ("192.0.2.1", 0)])
def test_where_nobody_can_listen_is_named(host: str, port: int) -> None:
    with pytest.raises(ConfigError, match=f"port: {host}:{port} cannot be listened on .*; use another"):
        bind(host, port)


def test_a_port_that_is_taken_is_named() -> None:
    with bind("127.0.0.1", 0) as first:
        first.listen()
        with pytest.raises(ConfigError, match="already in use"):
            bind(*first.getsockname())
