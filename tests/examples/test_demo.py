"""The demo's load, prediction, table and pictures; its live run is `make demo`."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from msgspec.structs import replace

from examples.demo.gallery import draw_all
from examples.demo.load import LEAST_SLO_S, LOAD, make_load, standalone
from examples.demo.predict import pace_of, predict, spread_of
from examples.demo.results import Compared, results, table
from examples.demo.runs import Run, output_path, renamed, short_name, warm_up, write_outputs
from sfumato.api.media import encode_image, encode_video
from sfumato.assemble import Setup, simulated
from sfumato.config import EMBEDDED
from sfumato.core.journal import Entry
from sfumato.core.values import JobState, RankInfo, Shape, Stage
from sfumato.cost import Point, Profile
from sfumato.models import describe
from sfumato.report.journal import tell
from sfumato.report.metrics import measure
from sfumato.workload.arrivals import Arrival, requests
from sfumato.workload.played import Played

MODELS = {name: describe(source, name).spec for name, source in EMBEDDED.items()}
SPEEDS = (0.2, 1.0, 5.0, 20.0)


def profiles(speed: float) -> tuple[Profile, ...]:
    """Of a machine so many times as fast as one on which a step takes 2 microseconds a pixel."""
    return tuple(_profile(name, shape, speed) for name, shape in _SHAPES.items())


_SHAPES = {
    "sfumato/tiny-image": Shape(height=128, width=128),
    "sfumato/tiny-video": Shape(height=96, width=96, frames=17),
}


def _profile(name: str, shape: Shape, speed: float) -> Profile:
    step_s = 2e-6 * shape.height * shape.width * shape.frames**0.6 / speed
    points = tuple(
        Point(
            stage=stage,
            height=shape.height,
            width=shape.width,
            frames=shape.frames,
            guided=stage is not Stage.DECODE,
            seconds=step_s,
            p10_s=step_s * 0.9,
            p90_s=step_s * 1.1,
            n=9,
        )
        for stage in Stage
    )
    stride = MODELS[name].frame_stride
    return Profile(model=name, device="cpu", kind="modelled", source="a test", frame_stride=stride, points=points)


def load_of(speed: float, ranks: int = 2) -> list[Arrival]:
    return make_load(standalone(profiles(speed), MODELS), ranks=ranks)


@pytest.mark.parametrize("speed", SPEEDS)
def test_the_load_is_the_same_each_time_and_has_forty_requests_of_both_kinds(speed: float) -> None:
    arrivals = load_of(speed)
    assert arrivals == load_of(speed)
    assert len(arrivals) >= 40
    sizes = {(one.shape.height, one.shape.width) for one in arrivals if one.shape.frames == 1}
    lengths = {one.shape.frames for one in arrivals if one.shape.frames > 1}
    assert len(sizes) >= 3
    assert len(lengths) >= 3
    assert all(one.slo_s is not None for one in arrivals)


@pytest.mark.parametrize("ranks", [1, 2, 8])
@pytest.mark.parametrize("speed", SPEEDS)
def test_the_work_offered_is_the_stated_share_of_the_machine(speed: float, ranks: int) -> None:
    arrivals = load_of(speed, ranks)
    alone_s = standalone(profiles(speed), MODELS)
    work = sum(alone_s(one.model, one.shape, one.steps, one.guided) for one in arrivals)
    assert work / (ranks * arrivals[-1].at) == pytest.approx(LOAD)


def test_every_model_takes_the_requests_that_the_load_has() -> None:
    offers = {name: describe(source, name) for name, source in EMBEDDED.items()}
    for speed in SPEEDS:
        for one in load_of(speed):
            offers[one.model].check(shape=one.shape, steps=one.steps, guidance=one.guidance, prompt=one.prompt)


def test_a_picture_never_has_less_than_a_second() -> None:
    assert min(one.slo_s or 0 for one in load_of(20.0) if one.shape.frames == 1) == LEAST_SLO_S


@pytest.mark.parametrize("speed", [1.0, 5.0])
def test_head_of_line_blocking_shows_in_the_prediction(speed: float) -> None:
    arrivals = load_of(speed)
    found = {}
    for policy in ("fixed", "sfumato"):
        setup = Setup(models=MODELS, profiles=profiles(speed), policy=policy)
        runs = predict(setup, arrivals, ranks=2, seeds=2)
        found[policy] = fmean(run.by_modality["image"].attainment or 0.0 for run in runs)
    assert found["sfumato"] > found["fixed"] + 0.15


def test_the_noise_of_the_prediction_is_what_the_profile_measured() -> None:
    assert spread_of(profiles(1.0)) == pytest.approx(0.2 / 2.563)
    assert spread_of(()) == 0.05


def test_the_pace_of_a_run_is_told_against_its_profile(compared: list[Compared]) -> None:
    story = compared[1].run.story
    for speed in (1.0, 2.0):
        setup = Setup(models=MODELS, profiles=profiles(speed))
        assert pace_of(story, setup) == pytest.approx(speed)


def test_every_worker_is_warmed_with_a_picture_and_a_clip_that_count_for_nothing() -> None:
    warm = warm_up(load_of(1.0), 3)
    assert sorted(one.shape.frames > 1 for one in warm) == [False] * 3 + [True] * 3
    assert all(one.slo_s is None for one in warm)


# -- what it leaves ---------------------------------------------------------------------------------------------------


def small_run(policy: str, folder: Path) -> Run:
    """A simulated run of eight requests, with drawn outputs."""
    arrivals = [replace(one, prompt="a <small> star") for one in load_of(1.0)[:8]]
    journal: list[Entry] = []
    setup = Setup(models=MODELS, profiles=profiles(1.0), policy=policy)
    ranks = [RankInfo(rank=0), RankInfo(rank=1)]
    outcomes = {one.request: one for one in simulated(setup, ranks, requests(arrivals), write=journal.append).run()}
    played = []
    for number, arrival in enumerate(arrivals):
        outcome = outcomes[f"r{number:04d}"]
        video = arrival.shape.frames > 1
        pixels = np.full((arrival.shape.frames, 64, 64, 3), 20 * number, np.uint8)
        output = encode_video(pixels, 8) if video else encode_image(pixels, "png")
        played.append(
            Played(
                number=number,
                arrival=arrival,
                sent=arrival.at,
                finished=outcome.at,
                state=outcome.state,
                told={"id": outcome.request},
                output=output,
            )
        )
    write_outputs(played, folder / policy)
    story = renamed(tell(journal), {one.id: short_name(one) for one in played})
    return Run(policy=policy, folder=folder / policy, played=tuple(played), story=story, metrics=measure(story))


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> list[Compared]:
    folder = tmp_path_factory.mktemp("demo")
    runs = [small_run(policy, folder) for policy in ("fixed", "sfumato")]
    return [Compared(run=run, predicted=(run.metrics, run.metrics)) for run in runs]


def test_the_story_is_told_under_short_names(compared: list[Compared]) -> None:
    story = compared[0].run.story
    assert list(story.lives) == [short_name(one) for one in compared[0].run.played]
    assert {job for span in story.spans for job in span.jobs} == set(story.lives)
    assert {one.outcome.request for one in story.lives.values() if one.outcome} == set(story.lives)


def test_a_story_leaves_out_what_was_not_part_of_the_load(compared: list[Compared]) -> None:
    part = renamed(compared[0].run.story, {"i00": "kept"} if "i00" in compared[0].run.story.lives else {"v00": "kept"})
    assert list(part.lives) == ["kept"]
    assert {job for span in part.spans for job in span.jobs} == {"kept"}


def test_the_table_has_measured_beside_simulated(compared: list[Compared]) -> None:
    found = table(compared)
    assert found.columns == ("", "fixed", "fixed, simulated", "sfumato", "sfumato, simulated")
    named = {row[0]: row[1:] for row in found.rows}
    measured, simulated, *_ = named["images in time"]
    assert simulated.startswith(f"{measured} (")  # the predictions are the run itself here


def test_the_results_are_ready_for_json(compared: list[Compared]) -> None:
    assert len(json.loads(json.dumps(results(compared)))["sfumato"]["requests"]) == 8


def test_the_page_shows_every_video_both_charts_and_escapes_prompts(compared: list[Compared]) -> None:
    folder = compared[0].run.folder.parent
    draw_all(compared, folder)
    page = (folder / "index.html").read_text()
    for one in compared[-1].run.played:
        if one.modality == "video":
            assert output_path(one, Path("sfumato")).as_posix() in page
        else:
            assert f"{short_name(one)}.png" in page
    assert "a &lt;small&gt; star" in page
    assert "at the same times of a live server\nwith 2 ranks" in page
    for name in ("contact.png", "filmstrips.png", "gantt-fixed.png", "gantt-sfumato.png", "latency.png"):
        assert name in page
        assert (folder / name).stat().st_size > 1000


def test_a_request_that_the_demo_gave_up_counts_as_unanswered(compared: list[Compared]) -> None:
    run = compared[0].run
    assert run.unanswered == 0
    given_up = replace(run.played[0], state=JobState.CANCELLED)
    assert replace(run, played=(given_up, replace(run.played[1], state=None), *run.played[2:])).unanswered == 2
