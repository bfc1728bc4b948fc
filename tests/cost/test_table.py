from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato.core.cost import Work
from sfumato.core.values import ModelSpec, Shape, Stage, StageSpec
from sfumato.cost import Point, Profile, ProfileCosts, read_profile, read_profiles, spec_of
from sfumato.errors import ProfileError

PUBLISHED = Path(__file__).parents[2] / "profiles" / "published"
SIZES = (64, 96, 128, 160)


def square(size: int, frames: int = 1) -> Shape:
    return Shape(height=size, width=size, frames=frames)


def point(size: int, seconds: float, **more: object) -> Point:
    return Point(**{"stage": Stage.DIFFUSE, "height": size, "width": size, "seconds": seconds, **more})  # type: ignore[arg-type]


def costs(*points: Point, models: dict[str, ModelSpec] | None = None, **more: object) -> ProfileCosts:
    profile = Profile(model="m", device="cpu", kind="measured", source="test", points=points, **more)  # type: ignore[arg-type]
    return ProfileCosts([profile], models)


def work(size: int | Shape, batch: int = 1, stage: Stage = Stage.DIFFUSE, **more: object) -> Work:
    shape = square(size) if isinstance(size, int) else size
    return Work(model="m", stage=stage, shapes=(shape,) * batch, **more)  # type: ignore[arg-type]


def test_every_measured_point_of_every_published_table_comes_back_exactly() -> None:
    for profile in read_profiles(PUBLISHED):
        table = ProfileCosts([profile])
        for p in profile.points:
            asked = Work(model=profile.model, stage=p.stage, shapes=(p.shape,), degree=p.degree, device=profile.device)
            assert table.unit_s(asked) == p.seconds
            assert not table.estimated(asked)


def test_a_size_between_two_measured_ones_lies_between_them_and_is_marked_estimated() -> None:
    table = costs(point(64, 0.1), point(128, 0.4))
    assert table.unit_s(work(96)) == pytest.approx(0.1 * (96 / 64) ** 2)
    assert table.estimated(work(96))
    assert not table.estimated(work(64))


@settings(deadline=None)
@given(
    seconds=st.lists(st.floats(1e-4, 10.0), min_size=1, max_size=4),
    asked=st.lists(st.integers(8, 400), min_size=2, max_size=8),
    degree=st.sampled_from([1, 2, 3, 8]),
    stage=st.sampled_from(list(Stage)),
    guided=st.booleans(),
)
def test_cost_never_falls_with_size(
    seconds: list[float], asked: list[int], degree: int, stage: Stage, guided: bool
) -> None:
    rising = sorted(seconds)
    table = costs(*(point(size, s, stage=stage) for size, s in zip(SIZES, rising, strict=False)))
    got = [table.unit_s(work(size, stage=stage, degree=degree, guided=guided)) for size in sorted(asked)]
    assert all(a <= b * (1 + 1e-9) for a, b in pairwise(got))
    assert all(s > 0 for s in got)


def test_a_size_measured_as_faster_than_a_smaller_one_does_not_make_larger_ones_cheap() -> None:
    table = costs(point(64, 0.4), point(128, 0.1))
    assert table.unit_s(work(128)) == 0.1  # as measured
    assert table.unit_s(work(127)) == pytest.approx(0.4)
    assert table.unit_s(work(129)) > 0.4


def test_far_beyond_the_measured_sizes_cost_grows_at_least_nearly_linearly_and_at_most_quadratically() -> None:
    flat, steep = costs(point(64, 0.1), point(96, 0.1)), costs(point(64, 0.01), point(96, 1.0))
    assert flat.unit_s(work(960)) == pytest.approx(0.1 * 100**0.7)
    assert steep.unit_s(work(960)) == pytest.approx(1.0 * 100**2)


def test_two_passes_cost_twice_one_unless_measured_and_the_other_way_round() -> None:
    assert costs(point(64, 0.1)).unit_s(work(64, guided=True)) == pytest.approx(0.2)
    assert costs(point(64, 0.1, guided=True)).unit_s(work(64)) == pytest.approx(0.05)
    both = costs(point(64, 0.1), point(64, 0.13, guided=True))
    assert both.unit_s(work(64, guided=True)) == 0.13


def test_an_unmeasured_batch_follows_the_measured_batches() -> None:
    table = costs(point(64, 0.1), point(64, 0.14, batch=2), point(64, 0.24, batch=4))
    assert table.unit_s(work(64, batch=3)) == pytest.approx(0.19)
    assert table.unit_s(work(64, batch=6)) == pytest.approx(0.34)
    assert table.estimated(work(64, batch=3))
    assert costs(point(64, 0.1)).unit_s(work(64, batch=3)) == pytest.approx(0.3)


def test_a_batch_of_unlike_shapes_costs_its_members_times_the_gain_of_batching() -> None:
    table = costs(point(64, 0.1), point(128, 0.4), point(64, 0.16, batch=2), point(128, 0.64, batch=2))
    mixed = Work(model="m", stage=Stage.DIFFUSE, shapes=(square(64), square(128)))
    assert table.unit_s(mixed) == pytest.approx(0.5 * 0.8)


@settings(deadline=None)
@given(batch=st.integers(1, 12), size=st.sampled_from(SIZES), last=st.floats(0.1, 1.0))
def test_a_larger_batch_never_takes_less_time_where_measurements_say_so(batch: int, size: int, last: float) -> None:
    table = costs(point(64, 0.1), point(64, 0.1, batch=2), point(64, last, batch=4))
    assert table.unit_s(work(size, batch=batch)) <= table.unit_s(work(size, batch=batch + 1)) * (1 + 1e-9)


def test_an_unmeasured_degree_follows_amdahl_from_the_next_lower_measured_one() -> None:
    table = costs(point(64, 0.1), point(64, 0.06, degree=2))  # 80% parallel
    assert table.unit_s(work(64, degree=4)) == pytest.approx(0.1 * (0.2 + 0.8 / 4))
    assert costs(point(64, 0.1)).unit_s(work(64, degree=2)) == pytest.approx(0.055)
    assert table.estimated(work(64, degree=4))


def test_encode_takes_the_same_at_any_size_where_one_was_measured() -> None:
    table = costs(point(64, 0.1, stage=Stage.ENCODE), point(64, 0.2))
    assert table.unit_s(work(160, stage=Stage.ENCODE)) == pytest.approx(0.1)


def test_a_unit_of_decode_is_a_latent_frame_where_the_model_decodes_by_those() -> None:
    table = costs(point(64, 0.2, frames=9), point(64, 0.1, frames=9, stage=Stage.DECODE), frame_stride=4)
    assert table.unit_s(work(square(64, 33), stage=Stage.DECODE)) == pytest.approx(0.1)
    assert table.unit_s(work(square(64, 33))) == pytest.approx(0.2 * 33 / 9)


def test_a_whole_decode_is_shared_out_over_the_latent_frames_of_a_model_that_decodes_by_those() -> None:
    spec = ModelSpec(name="m", frame_stride=4)
    table = costs(point(64, 0.2, frames=9), point(64, 0.9, frames=9, stage=Stage.DECODE), models={"m": spec})
    assert table.unit_s(work(square(64, 9), stage=Stage.DECODE)) == pytest.approx(0.3)


def test_stages_that_a_published_table_lacks_are_estimated_from_the_stage_ratios_and_marked() -> None:
    profile = read_profile(PUBLISHED / "l20-flux1-dev.json")
    table = ProfileCosts([profile])
    small, large = square(128), square(4096)
    ask = lambda stage, shape: Work(model="flux1-dev", stage=stage, shapes=(shape,), device="l20")  # noqa: E731
    light, heavy = (28 * table.unit_s(ask(Stage.DIFFUSE, shape)) for shape in (small, large))
    assert table.unit_s(ask(Stage.ENCODE, small)) == pytest.approx(light * 10 / 63)
    assert table.unit_s(ask(Stage.ENCODE, large)) == pytest.approx(light * 10 / 63)
    assert table.unit_s(ask(Stage.DECODE, small)) == pytest.approx(light * 27 / 63)
    assert table.unit_s(ask(Stage.DECODE, large)) == pytest.approx(heavy * 10 / 88)
    assert table.estimated(ask(Stage.ENCODE, small))
    assert table.estimated(ask(Stage.DECODE, large))
    assert not table.estimated(ask(Stage.DIFFUSE, large))


def test_estimated_decode_grows_with_size_and_estimated_encode_stays_below_a_second() -> None:
    for profile in read_profiles(PUBLISHED):
        table = ProfileCosts([profile])
        shapes = sorted({p.shape for p in profile.points}, key=lambda s: s.height * s.width * s.frames)
        for stage in (Stage.ENCODE, Stage.DECODE):
            works = [Work(model=profile.model, stage=stage, shapes=(shape,), device=profile.device) for shape in shapes]
            seconds = [table.unit_s(work) for work in works]
            assert all(a <= b * (1 + 1e-9) for a, b in pairwise(seconds))
            assert stage is Stage.DECODE or seconds[-1] <= 1.0


def test_the_published_decode_times_of_open_sora_are_used_as_they_are() -> None:
    table = ProfileCosts(read_profiles(PUBLISHED / "opensora-h800.json"))
    decode = Work(
        model="opensora", stage=Stage.DECODE, shapes=(Shape(height=720, width=1280, frames=51),), device="h800"
    )
    assert table.unit_s(decode) == 8.7
    assert not table.estimated(decode)


def test_a_model_without_a_profile_gets_an_estimate_that_grows_with_size_steps_of_it_cost_and_batch() -> None:
    stage = StageSpec(parts=("w",))
    spec = ModelSpec(name="m", encode=stage, diffuse=stage, decode=stage, part_bytes={"w": 10_000_000})
    table = ProfileCosts(models={"m": spec})
    assert table.estimated(work(64))
    assert table.unit_s(work(64)) < table.unit_s(work(128)) < table.unit_s(work(128, batch=2))
    assert table.unit_s(work(64, device="h100")) < table.unit_s(work(64))
    for each in Stage:
        assert table.unit_s(work(64, stage=each)) > 0


def test_the_profile_of_another_device_is_scaled_by_the_guessed_speeds_and_marked() -> None:
    table = costs(point(64, 1.0))
    assert table.unit_s(work(64, device="h100")) < 0.01
    assert table.estimated(work(64, device="h100"))


def test_an_unknown_model_is_refused_with_the_models_that_are_known() -> None:
    with pytest.raises(ProfileError, match="x has no profile; profiles are there for: m;") as caught:
        costs(point(64, 1.0)).unit_s(Work(model="x", stage=Stage.DIFFUSE, shapes=(square(64),)))
    assert caught.value.field == "model"


def test_a_start_costs_the_control_gap_and_the_move_of_each_latent_that_is_elsewhere() -> None:
    table = costs(point(64, 1.0), launch_gap_s=0.004)
    stay = table.start_s(work(64, batch=3), (0, 1), (None, (0, 1), (0, 1, 2)))
    one = table.start_s(work(64, batch=3), (0, 1), (None, (0,), (0, 1)))
    two = table.start_s(work(64, batch=3), (0, 1), (None, (0,), (2, 3)))
    assert stay == 0.004
    assert two - one == pytest.approx(one - stay)
    assert one > stay
    assert ProfileCosts(models={"m": ModelSpec(name="m")}).start_s(work(64), (0,), (None,)) == 0.001


def test_loads_take_the_measured_time_of_a_part_else_a_time_by_bytes() -> None:
    table = costs(point(64, 1.0), load_s={"abc": 3.0})
    assert table.load_s("abc", 10, "cpu") == 3.0
    assert table.load_s("abc", 10, "h100") < table.load_s("abc", 10**9, "h100")


def test_the_spec_of_a_profile_holds_its_degrees_and_batches() -> None:
    spec = spec_of(read_profile(PUBLISHED / "l20-flux1-dev.json"))
    assert spec.diffuse.degrees == (1, 2, 4, 8)
    assert spec.decode.degrees == (1,)
    assert spec.diffuse.max_batch == 1
