"""Guided and unguided passes side by side, on two halves of a group."""

import pytest
from msgspec.structs import replace

from sfumato.core.cost import Work
from sfumato.core.values import ModelSpec, Shape, Stage, StageSpec
from sfumato.cost import Point, Profile, ProfileCosts, spec_of


def point(side: int, seconds: float, *, degree: int = 1, cfg: int = 1, batch: int = 1, guided: bool = True) -> Point:
    stage = Stage.DIFFUSE
    return Point(
        stage=stage, height=side, width=side, seconds=seconds, degree=degree, cfg=cfg, batch=batch, guided=guided
    )


WHOLE = (
    point(64, 0.2), point(128, 0.8), point(64, 0.15, degree=2), point(128, 0.5, degree=2),
    point(64, 0.3, batch=2), point(128, 1.2, batch=2),
)  # fmt: skip
PROFILE = Profile(model="m", device="cpu", kind="measured", source="test", points=WHOLE)
MEASURED = replace(PROFILE, points=(*WHOLE, point(64, 0.12, degree=2, cfg=2), point(128, 0.44, degree=2, cfg=2)))


def step(*sides: int, degree: int = 2, cfg: int = 2, guided: bool = True) -> Work:
    shapes = tuple(Shape(height=side, width=side) for side in sides)
    return Work(model="m", stage=Stage.DIFFUSE, shapes=shapes, degree=degree, cfg=cfg, guided=guided)


def test_halves_that_nobody_measured_take_one_pass_on_a_half_and_are_marked_as_estimated() -> None:
    costs = ProfileCosts([PROFILE])
    assert costs.unit_s(step(64)) == pytest.approx(0.1)
    assert costs.unit_s(step(128, degree=4)) == pytest.approx(0.25)
    assert costs.estimated(step(64))


def test_measured_halves_come_back_as_they_are_and_lend_what_they_lose_to_other_sizes_widths_and_batches() -> None:
    costs = ProfileCosts([MEASURED])
    assert costs.unit_s(step(64)) == 0.12
    assert not costs.estimated(step(64))
    between = costs.unit_s(step(96)) / (costs.unit_s(step(96, degree=1, cfg=1)) / 2)
    assert 1.1 < between < 1.2
    assert costs.unit_s(step(128, degree=4)) == pytest.approx(1.1 * 0.25)
    assert costs.unit_s(step(64, 64)) == pytest.approx(1.2 * 0.15)


def test_a_measurement_of_halves_says_nothing_about_the_whole_group() -> None:
    assert ProfileCosts([MEASURED]).unit_s(step(96, cfg=1)) == ProfileCosts([PROFILE]).unit_s(step(96, cfg=1))


def test_a_model_without_a_profile_is_guessed_to_take_one_pass_on_a_half() -> None:
    costs = ProfileCosts(models={"m": ModelSpec(name="m", diffuse=StageSpec(parts=("w",)), part_bytes={"w": 10**9})})
    assert costs.unit_s(step(64)) == costs.unit_s(step(64, degree=1, cfg=1, guided=False))


def test_a_profile_with_halves_makes_a_model_that_may_use_them() -> None:
    spec = spec_of(MEASURED).diffuse
    assert (spec.degrees, spec.halves) == ((1, 2), True)
    assert spec.layouts(guided=True) == ((1, 1), (2, 1), (2, 2), (4, 2))
    assert spec.layouts(guided=False) == ((1, 1), (2, 1))
    assert not spec_of(PROFILE).diffuse.halves
