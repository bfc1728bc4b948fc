import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato.core.cost import Work
from sfumato.core.values import Shape, Stage
from sfumato.cost import Point, Profile, ProfileCosts

SHAPE = Shape(height=64, width=64)
POINTS = tuple(Point(stage=stage, height=64, width=64, seconds=0.1) for stage in Stage)
PROFILE = Profile(model="m", device="cpu", kind="measured", source="test", points=POINTS)
STEP = Work(model="m", stage=Stage.DIFFUSE, shapes=(SHAPE,))
FAST = msgspec.structs.replace(STEP, qualities=("fast",))
DECODE = Work(model="m", stage=Stage.DECODE, shapes=(SHAPE,))

observations = st.lists(
    st.tuples(st.sampled_from([STEP, FAST, DECODE]), st.integers(0, 3), st.integers(1, 30), st.floats(1e-6, 1e3)),
    max_size=30,
)


def fold(costs: ProfileCosts, seen: list[tuple[Work, int, int, float]]) -> ProfileCosts:
    for work, rank, units, seconds in seen:
        costs.observe(work, rank, units, seconds)
    return costs


def test_after_four_chunks_a_drift_of_half_shows_to_a_tenth() -> None:
    costs = fold(ProfileCosts([PROFILE]), [(STEP, 0, 5, 0.75)] * 4)
    assert costs.unit_s(STEP) == pytest.approx(0.15, rel=0.1)
    assert fold(costs, [(STEP, 0, 5, 0.75)] * 20).unit_s(STEP) == pytest.approx(0.15, rel=0.002)


def test_a_correction_follows_a_device_that_recovers() -> None:
    costs = fold(ProfileCosts([PROFILE]), [(STEP, 0, 1, 0.3)] * 20)
    assert fold(costs, [(STEP, 0, 1, 0.1)] * 20).unit_s(STEP) == pytest.approx(0.1, rel=0.01)


def test_one_stage_says_nothing_about_another() -> None:
    costs = fold(ProfileCosts([PROFILE]), [(STEP, 0, 1, 0.3)] * 9)
    assert costs.unit_s(DECODE) == 0.1


def test_one_absurd_measurement_moves_an_established_cost_by_less_than_half() -> None:
    costs = fold(ProfileCosts([PROFILE]), [(STEP, 0, 1, 0.1)] * 9)
    assert fold(costs, [(STEP, 0, 1, 100.0)]).unit_s(STEP) < 0.15


def test_a_rank_that_slows_down_threefold_shows_and_makes_nobody_elses_work_look_long() -> None:
    costs = ProfileCosts([PROFILE])
    for _ in range(8):
        fold(costs, [(STEP, 0, 1, 0.1), (STEP, 1, 1, 0.3), (STEP, 2, 1, 0.1)])
    assert costs.slowdown(1) == pytest.approx(3.0, rel=0.1)
    assert costs.slowdown(0) < 1.1
    assert costs.slowdown(7) == 1.0
    assert costs.unit_s(STEP) == pytest.approx(0.1)


def test_chunks_on_several_ranks_count_as_one_rank_and_accuse_none() -> None:
    costs = ProfileCosts([PROFILE])
    wide = msgspec.structs.replace(STEP, degree=2)
    expected = costs.unit_s(wide)
    fold(costs, [(wide, 0, 1, 3 * expected)] * 8)
    assert costs.unit_s(STEP) == pytest.approx(0.3, rel=0.1)  # all that was seen
    fold(costs, [(STEP, 0, 1, 0.1), (STEP, 1, 1, 0.1)] * 8)
    assert costs.slowdown(0) == pytest.approx(1.0)
    assert costs.unit_s(wide) == pytest.approx(expected)


@settings(deadline=None)
@given(observations)
def test_the_correction_stays_within_a_fifth_and_five_times(seen: list[tuple[Work, int, int, float]]) -> None:
    costs = fold(ProfileCosts([PROFILE]), seen)
    for work in (STEP, DECODE):
        assert 0.02 * 0.999 <= costs.unit_s(work) <= 0.5 * 1.001


@settings(deadline=None)
@given(observations, observations)
def test_a_restored_correction_goes_on_to_the_last_bit_like_the_one_it_came_from(
    before: list[tuple[Work, int, int, float]], after: list[tuple[Work, int, int, float]]
) -> None:
    one = fold(ProfileCosts([PROFILE]), before)
    state = msgspec.json.decode(msgspec.json.encode(one.state()))
    two = fold(ProfileCosts([PROFILE]), after)  # whatever it knew before is forgotten
    two.unit_s(STEP)
    two.restore(state)
    assert two.state() == one.state()
    fold(one, after)
    fold(two, after)
    assert one.state() == two.state()
    assert [one.unit_s(work) for work in (STEP, FAST, DECODE)] == [two.unit_s(work) for work in (STEP, FAST, DECODE)]


def test_what_nobody_measured_may_be_corrected_further_than_what_somebody_did() -> None:
    costs = ProfileCosts([msgspec.structs.replace(PROFILE, points=(POINTS[1],))])
    guess = costs.unit_s(DECODE)
    fold(costs, [(DECODE, 0, 1, guess / 20), (STEP, 0, 1, 0.1 / 20)] * 30)
    assert costs.unit_s(DECODE) == pytest.approx(guess / 20, rel=0.02)
    assert costs.unit_s(STEP) == pytest.approx(0.1 / 5, rel=0.02)


def test_nothing_observed_restores_to_the_profile() -> None:
    costs = fold(ProfileCosts([PROFILE]), [(STEP, 0, 1, 0.3)])
    costs.restore(None)
    assert costs.unit_s(STEP) == 0.1
    assert costs.state() == ProfileCosts([PROFILE]).state()


def test_empty_chunks_and_frozen_costs_learn_nothing() -> None:
    nothing = ProfileCosts([PROFILE]).state()
    assert fold(ProfileCosts([PROFILE]), [(STEP, 0, 0, 1.0), (STEP, 0, 1, 0.0)]).state() == nothing
    assert fold(ProfileCosts([PROFILE], correct=False), [(STEP, 0, 1, 1.0)]).unit_s(STEP) == 0.1
