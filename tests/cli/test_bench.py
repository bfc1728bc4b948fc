"""`sfumato bench`: its load, its figures, and a run against the real HTTP service in front of a scripted one."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from asyncio.subprocess import PIPE
from math import inf
from pathlib import Path
from typing import Any

import pytest

from sfumato.cli.bench import Bench, Run
from sfumato.cli.loads import peak_memory, quick_workload, with_slo
from sfumato.cli.scores import rows, score, tables
from sfumato.core.values import JobState, Shape
from sfumato.errors import ConfigError, SfumatoError
from sfumato.workload.arrivals import Arrival, draw
from sfumato.workload.played import Played
from tests.api.service import asynchronous, open_site

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API:DeprecationWarning")

SERVED: dict[str, dict[str, Any]] = {
    name: {
        "id": name,
        "modality": kind,
        "default_size": "64x48",
        "default_num_inference_steps": 4,
        "default_guidance_scale": 3.0,
        "default_num_frames": frames,
    }
    for name, kind, frames in (("a", "image", 1), ("b", "video", 9), ("c", "image", 1))
}


def bench(**changes: Any) -> Bench:
    fields: dict[str, Any] = {
        "base_url": "",
        "api_key": "none",
        "workload": None,
        "num_prompts": 6,
        "request_rate": inf,
        "mix": None,
        "slo": None,
        "slo_scale": None,
        "max_concurrency": None,
        "warmup_requests": 1,
        "seed": 1,
    }
    return Bench(**fields | changes)


def ended(number: int, state: JobState | None, latency_s: float = 1.0, slo_s: float | None = 5.0) -> Played:
    at = float(number)
    cls = "even" if number % 2 == 0 else "odd"
    arrival = Arrival(at=at, cls=cls, model="a", shape=Shape(height=8, width=8), steps=1, slo_s=slo_s)
    return Played(number=number, arrival=arrival, sent=at, finished=at + latency_s, state=state)


def test_quick_flags_make_requests_of_the_first_model_of_each_kind() -> None:
    drawn = draw(quick_workload(SERVED, 50, 2.0, "image=0.5,video=0.5"), seed=0)
    assert {(one.model, one.shape.frames) for one in drawn} == {("a", 1), ("b", 9)}
    assert len(drawn) == 50
    assert {one.model for one in draw(quick_workload(SERVED, 9, 2.0, "videos"))} == {"b"}


def test_an_infinite_rate_sends_all_at_once() -> None:
    assert max(one.at for one in draw(quick_workload(SERVED, 50, inf, None))) < 1e-3


@pytest.mark.parametrize("mix", ["sound=1", "image=many", "video=1,film=1"])
def test_a_mix_that_cannot_be_is_an_error_that_names_the_flag(mix: str) -> None:
    with pytest.raises(ConfigError, match="--mix"):
        quick_workload(SERVED, 5, 1.0, mix)


def test_one_slo_rule_goes_for_all_classes_and_two_are_an_error() -> None:
    workload = quick_workload(SERVED, 5, 1.0, None)
    assert {entry.slo for entry in with_slo(workload, 2.5, None).classes} == {2.5}
    with pytest.raises(ConfigError, match="--slo-scale"):
        with_slo(workload, 2.5, 3.0)


def test_troubles_of_ranks_are_left_out_of_a_live_load_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "troubled.toml"
    path.write_text(
        "requests = 3\n[[pool.troubles]]\nrank = 0\nat_s = 1\ndead = true\n"
        '[[classes]]\nname = "a"\nmodel = "a"\nsize = "64x48"\nsteps = 4\nslo = 5\n'
        '[arrivals]\nprocess = "poisson"\nper_second = 1\n'
    )
    assert len(draw(Run(bench(workload=path))._workload(SERVED))) == 3
    assert "the server's are left alone" in capsys.readouterr().err


def test_attainment_counts_refused_and_failed_as_missed_and_leaves_best_effort_out() -> None:
    states = (JobState.DONE, JobState.LATE, JobState.REJECTED, JobState.FAILED)
    played = [ended(number, state) for number, state in enumerate(states)]
    found = score([*played, ended(4, JobState.DONE, slo_s=None)])
    assert (found["slo_judged"], found["slo_attainment_rate"], found["done"], found["late"]) == (4, 0.25, 2, 1)
    assert found["slo_attainment_low"] < 0.25 < found["slo_attainment_high"]
    assert found["throughput_qps"] == pytest.approx(3 / 5.0)
    assert found["latency_p50"] == 1.0


def test_the_figures_by_class_cover_all_requests() -> None:
    played = [ended(number, JobState.DONE) for number in range(5)]
    assert {name: part["requests"] for name, part in rows(played)["by_class"].items()} == {"even": 3, "odd": 2}
    assert [line[0] for line in tables(played)[0].rows] == ["even", "odd", "all"]


def test_nothing_that_was_judged_has_no_attainment() -> None:
    assert score([ended(0, None)])["slo_attainment_rate"] is None
    assert score([])["latency_p99"] is None


@asynchronous
@pytest.mark.parametrize("stats", [{"ranks": 1.0}, {"ranks": 1.0, "peak_memory_bytes": 0.0}, {"ranks": 0.0}])
async def test_a_server_that_does_not_know_its_peak_memory_leaves_it_out(stats: dict[str, float]) -> None:
    async with open_site() as site:
        site.studio.stats = lambda: stats  # type: ignore[method-assign]
        assert await peak_memory(site.client) is None


@asynchronous
async def test_a_run_measures_standalone_times_and_gives_every_request_an_outcome() -> None:
    async with open_site() as site:
        run = Run(bench(base_url=site.url, slo_scale=50.0, mix="image=0.5,video=0.5"))
        await run.play()
    results = run.results()
    assert set(results["standalone_s"]) == {"image", "video"}
    assert results["standalone_s"]["image"] == pytest.approx(0.4)  # the studio's clock: 4 steps of 0.1 s
    assert (results["requests"], results["done"], results["slo_attainment_rate"]) == (6, 6, 1.0)
    assert results["peak_memory"] == 1 << 20  # as the studio has it
    assert [row["slo_s"] for row in results["requests_sent"]] == pytest.approx([20.0] * 6)
    assert results["asked"]["request_rate"] == "inf"


def test_what_was_given_up_before_its_deadline_is_no_miss() -> None:
    early, after = (ended(0, JobState.CANCELLED, latency_s=wait_s, slo_s=5.0) for wait_s in (4.0, 6.0))
    assert (early.met, after.met) == (None, False)


def heeding() -> None:
    """Ctrl-C reaches the program also where whoever runs the tests ignores it, as a background job of a shell does."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_keeps_what_was_measured_until_then(tmp_path: Path) -> None:
    async def interrupt() -> tuple[str, int | None]:
        async with open_site(held=True) as site:
            words = ("--num-prompts", "5", "--request-rate", "inf", "--mix", "image", "--slo", "500")
            words += ("--warmup-requests", "0", "--max-concurrency", "1", "--out", str(tmp_path / "figures.json"))
            command = (sys.executable, "-m", "sfumato", "bench", "--base-url", site.url, *words)
            process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE, preexec_fn=heeding)
            site.studio.allow(4)
            async with asyncio.timeout(100):
                while len(site.studio.asks) < 2:  # the second is sent once the first is in the client's hands
                    await asyncio.sleep(0.01)
                process.send_signal(signal.SIGINT)
                out, err = await process.communicate()
            return (out + err).decode(), process.returncode

    said, status = asyncio.run(interrupt())
    assert status == 130, said
    assert "stopped: 1 of 5 requests were delivered" in said
    assert "Traceback" not in said
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert (figures["done"], figures["cancelled"], figures["unanswered"]) == (1, 4, 0)
    assert (figures["slo_judged"], figures["slo_attainment_rate"]) == (1, 1.0)


@asynchronous
async def test_a_refused_warm_up_ends_the_run_with_the_reason() -> None:
    async with open_site() as site:
        site.studio.failure = "out of memory"
        with pytest.raises(SfumatoError, match=r"warm-up request of class image failed.*out of memory"):
            await Run(bench(base_url=site.url)).play()


def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(SfumatoError, match=r"--base-url: http://127\.0\.0\.1:9 does not answer"):
        asyncio.run(Run(bench(base_url="http://127.0.0.1:9")).play())
