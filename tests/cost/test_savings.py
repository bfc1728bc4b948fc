"""What reuse is expected to leave of a step: from the profile, then from what was seen."""

import pytest
from msgspec.structs import replace

from sfumato.core.cost import Work
from sfumato.core.values import Shape, Stage
from sfumato.cost import Point, Profile, ProfileCosts

SHAPE, LARGE = Shape(height=64, width=64), Shape(height=128, width=64)
POINTS = tuple(
    Point(stage=Stage.DIFFUSE, height=shape.height, width=64, seconds=0.1 * shape.height / 64)
    for shape in (SHAPE, LARGE)
)
PROFILE = Profile(model="m", device="cpu", kind="measured", source="test", points=POINTS)
STEP = Work(model="m", stage=Stage.DIFFUSE, shapes=(SHAPE,))
FAST = replace(STEP, qualities=("fast",))


def test_where_the_profile_says_nothing_nothing_is_counted_on() -> None:
    costs = ProfileCosts([PROFILE])
    assert costs.unit_s(FAST) == costs.unit_s(STEP) == 0.1


def test_what_the_profile_says_is_counted_on_from_the_start() -> None:
    costs = ProfileCosts([replace(PROFILE, reuse={"fast": 0.4})])
    assert costs.unit_s(FAST) == pytest.approx(0.04)
    assert costs.unit_s(replace(FAST, qualities=("high",))) == 0.1


def test_what_is_seen_is_learnt_over_requests_not_over_single_chunks() -> None:
    costs = ProfileCosts([PROFILE])
    for _ in range(8):
        for ratio in (1.0, 1.0, 0.2, 0.2, 0.2):  # the first steps of a request are computed
            costs.observe(FAST, 0, 5, 5 * 0.1 * ratio)
    assert costs.unit_s(FAST) == pytest.approx(0.1 * 0.52, rel=0.1)


def test_a_slow_machine_is_not_taken_for_reuse_that_does_not_pay() -> None:
    costs = ProfileCosts([PROFILE])
    for _ in range(40):
        costs.observe(STEP, 0, 5, 5 * 0.2)
        costs.observe(FAST, 0, 5, 5 * 0.1)
    assert costs.unit_s(STEP) == pytest.approx(0.2, rel=0.01)
    assert costs.unit_s(FAST) == pytest.approx(0.1, rel=0.15)


def test_reuse_teaches_nothing_about_computed_steps_and_never_costs_more_than_they_do() -> None:
    costs = ProfileCosts([PROFILE])
    for _ in range(40):
        costs.observe(FAST, 0, 5, 5 * 0.3)
    assert costs.unit_s(STEP) == costs.unit_s(FAST) == 0.1


def test_a_batch_of_both_is_expected_to_save_on_the_one_by_its_size_and_teaches_nothing() -> None:
    costs = ProfileCosts([replace(PROFILE, reuse={"fast": 0.4})])
    both = replace(STEP, shapes=(SHAPE, LARGE), qualities=("exact", "fast"))
    exact = replace(both, qualities=())
    assert costs.unit_s(both) == pytest.approx(costs.unit_s(exact) * (1 / 3 + 0.4 * 2 / 3))
    before = costs.state()
    costs.observe(both, 0, 5, 5.0)
    assert costs.state() == before
