"""Bytes that the planner counts with: as weighed, else by a rule."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from sfumato.core.cost import Overheads, Work
from sfumato.core.values import Job, ModelSpec, Request, Shape, Stage
from sfumato.cost import Profile, ProfileCosts, estimates
from sfumato.cost.profile import Held, Peak

MODEL = ModelSpec(name="m")


def square(size: int, frames: int = 1) -> Shape:
    return Shape(height=size, width=size, frames=frames)


def peak(size: int, many: int, stage: Stage = Stage.DIFFUSE, **more: object) -> Peak:
    return Peak(**{"stage": stage, "height": size, "width": size, "bytes": many, **more})  # type: ignore[arg-type]


def held(size: int, many: int, stage: Stage = Stage.DIFFUSE, **more: object) -> Held:
    return Held(**{"stage": stage, "height": size, "width": size, "bytes": many, **more})  # type: ignore[arg-type]


def costs(*weighed: Peak | Held, device: str = "cpu") -> ProfileCosts:
    peaks = tuple(one for one in weighed if isinstance(one, Peak))
    helds = tuple(one for one in weighed if isinstance(one, Held))
    profile = Profile(model="m", device=device, kind="measured", source="test", points=(), peaks=peaks, held=helds)
    return ProfileCosts([profile], {"m": MODEL})


def work(size: int, batch: int = 1, stage: Stage = Stage.DIFFUSE, **more: object) -> Work:
    return Work(model="m", stage=stage, shapes=(square(size),) * batch, **more)  # type: ignore[arg-type]


def job(size: int, stage: Stage = Stage.DIFFUSE, model: str = "m", **asked: object) -> Job:
    fields = {"id": "a", "model": model, "shape": square(size), "steps": 8, "arrived_at": 0.0, **asked}
    request = Request(**fields)  # type: ignore[arg-type]
    return Job(request=request, shape=square(size), steps=8, stage=stage)


def test_a_peak_is_that_of_the_nearest_larger_setting() -> None:
    table = costs(peak(64, 100), peak(128, 400), peak(64, 210, batch=2), peak(128, 900, batch=4))
    assert table.peak_bytes(work(64)) == 100
    assert table.peak_bytes(work(80)) == 400
    assert table.peak_bytes(work(64, batch=2)) == 210
    assert table.peak_bytes(work(64, batch=3)) == 900
    assert table.peak_bytes(work(64, degree=2)) == 100  # more ranks take no more each


@pytest.mark.parametrize("beyond", [work(256), work(64, batch=8), work(64, guided=True), work(64, stage=Stage.DECODE)])
def test_what_nothing_measured_covers_goes_by_the_rule(beyond: Work) -> None:
    table = costs(peak(128, 400, batch=4))
    assert table.peak_bytes(beyond) == estimates.peak_bytes(beyond)
    assert table.peak_bytes(replace(beyond, device="h100")) == estimates.peak_bytes(beyond)


def test_a_guided_setting_speaks_for_unguided_ones_and_decode_knows_no_guidance() -> None:
    table = costs(peak(64, 100, guided=True), peak(64, 30, Stage.DECODE))
    assert table.peak_bytes(work(64)) == 100
    assert table.peak_bytes(work(64, stage=Stage.DECODE, guided=True)) == 30


def test_encoding_takes_the_same_at_any_size() -> None:
    assert costs(peak(64, 100, Stage.ENCODE)).peak_bytes(work(512, stage=Stage.ENCODE)) == 100


def test_a_job_holds_what_the_nearest_larger_shape_held_at_its_stage() -> None:
    table = costs(held(64, 10), held(128, 40), held(128, 900, Stage.DECODE))
    assert table.held_bytes(job(64), MODEL) == 10
    assert table.held_bytes(job(64, Stage.ENCODE), MODEL) == 10  # it makes what the steps keep
    assert table.held_bytes(job(96), MODEL) == 40
    assert table.held_bytes(job(96, Stage.DECODE), MODEL) == 900


def test_a_state_that_was_never_weighed_goes_by_the_rule() -> None:
    rule = estimates.held_bytes(square(256))
    assert costs(held(128, 40)).held_bytes(job(256), MODEL) == rule
    assert costs(held(512, 40)).held_bytes(job(256, Stage.DECODE), MODEL) == rule
    assert costs(held(512, 40)).held_bytes(job(256, model="n"), ModelSpec(name="n")) == rule


def test_a_state_is_as_large_on_another_device_and_moves_by_its_bytes() -> None:
    table = costs(held(128, 10_000_000), device="h100")
    assert table.held_bytes(job(128), MODEL) == 10_000_000
    moved = table.start_s(work(128), (1,), [(0,)]) - table.start_s(work(128), (0,), [(0,)])
    assert moved == pytest.approx(Overheads().move_s + 10_000_000 / Overheads().move_bytes_s)


def test_a_job_that_reuses_steps_holds_what_was_weighed_for_its_quality_until_it_is_decoded() -> None:
    table = costs(held(64, 10), held(64, 30, quality="fast"), held(128, 500, quality="fast"), held(64, 8, Stage.DECODE))
    assert table.held_bytes(job(64, quality="fast"), MODEL) == 30
    assert table.held_bytes(job(64, Stage.ENCODE, quality="fast"), MODEL) == 30
    assert table.held_bytes(job(96, quality="fast"), MODEL) == 500
    assert table.held_bytes(job(64, Stage.DECODE, quality="fast"), MODEL) == 8
    assert table.held_bytes(job(64), MODEL) == 10, "of exact ones nothing else is said"


@pytest.mark.parametrize("guided", [False, True])
def test_what_a_quality_keeps_that_was_never_weighed_goes_by_the_rule_beside_the_state(guided: bool) -> None:
    table = costs(held(128, 40), held(64, 30, quality="fast"))
    kept = estimates.reuse_bytes(square(128), guided=guided)
    assert table.held_bytes(job(128, quality="fast", guided=guided), MODEL) == 40 + kept
    assert table.held_bytes(job(64, quality="high", guided=guided), MODEL) == 40 + estimates.reuse_bytes(
        square(64), guided=guided
    )
    other = estimates.reuse_bytes(square(128), guided=not guided)
    assert table.held_bytes(job(128, quality="fast", guided=not guided), MODEL) == 40 + other
    moved = table.start_s(work(128, qualities=("fast",)), (1,), [(0,)]) - table.start_s(work(128), (0,), [(0,)])
    assert moved == pytest.approx(Overheads().move_s + 40 / Overheads().move_bytes_s), "what is kept stays behind"


def test_the_rule_is_what_the_widest_model_keeps_of_a_long_clip() -> None:
    """Wan 14B, 81 frames of 720p: 75,600 tokens of 5120 values, three times, in 16 bit; guidance has two passes."""
    clip = Shape(height=720, width=1280, frames=81)
    one = 3 * 75_600 * 5120 * 2
    assert one <= estimates.reuse_bytes(clip, guided=False) <= 1.01 * one
    assert estimates.reuse_bytes(clip, guided=True) == 2 * estimates.reuse_bytes(clip, guided=False)
