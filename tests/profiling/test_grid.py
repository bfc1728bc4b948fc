import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sfumato.core.values import ModelSpec, Shape, Stage, StageSpec
from sfumato.errors import ConfigError
from sfumato.models.offer import Offer, Range
from sfumato.profiling.grid import GRIDS, grid, spread
from tests.profiling.world import IMAGE, VIDEO, elastic


def test_quick_measures_the_ends_and_the_default_of_every_stage() -> None:
    settings = grid(VIDEO)
    stepped = {setting.shape for setting in settings if setting.stage is Stage.DIFFUSE}
    default = VIDEO.default_shape
    assert default in stepped
    assert {shape.height for shape in stepped} == {64, 96, 160}
    assert {shape.frames for shape in stepped} == {9, 17, 33}
    assert {setting.stage for setting in settings} == set(Stage)
    assert len(settings) <= 20


@pytest.mark.parametrize("density", list(GRIDS))
@pytest.mark.parametrize("offer", [IMAGE, VIDEO])
def test_no_setting_is_twice_and_all_are_offered(offer: Offer, density: str) -> None:
    settings = grid(offer, density, ranks=2)
    assert len(set(settings)) == len(settings)
    for setting in settings:
        offer.check(shape=setting.shape, steps=1)
        assert setting.batch <= offer.spec.stage(setting.stage).max_batch
        assert setting.degree in offer.spec.stage(setting.stage).degrees


def test_steps_take_the_passes_of_the_default_guidance_and_full_takes_both() -> None:
    def passes(density: str) -> set[bool]:
        return {setting.guided for setting in grid(IMAGE, density) if setting.stage is Stage.DIFFUSE}

    assert passes("quick") == {True}
    assert passes("full") == {True, False}


def test_degrees_need_ranks() -> None:
    wide = Offer(
        **{name: getattr(IMAGE, name) for name in Offer.__struct_fields__ if name != "spec"},
        spec=ModelSpec(name="w", diffuse=StageSpec(degrees=(1, 2, 4), max_batch=4)),
    )
    degrees = {setting.degree for setting in grid(wide, ranks=2) if setting.stage is Stage.DIFFUSE}
    assert degrees == {1, 2}


def test_several_ranks_and_unlike_shapes_are_measured_at_the_ends_and_in_the_middle_where_there_is_time() -> None:
    offer = elastic(IMAGE, 1, 2)
    smallest, middle, largest = (Shape(height=side, width=side) for side in (64, 128, 160))
    quick, full = grid(offer, "quick", ranks=2), grid(offer, "full", ranks=2)
    assert [setting.shape for setting in quick if (setting.degree, setting.cfg) == (2, 1)] == [smallest, largest]
    assert [setting.shape for setting in quick if setting.cfg == 2] == [smallest, largest], "guided, on both halves"
    assert [setting.shapes for setting in quick if setting.others] == [(smallest, middle, largest)]
    assert [setting.shape for setting in full if (setting.degree, setting.cfg) == (2, 1)] == [smallest, middle, largest]
    assert [setting.shapes for setting in full if setting.others] == [(smallest, largest), (smallest, middle, largest)]
    assert not any(setting.others for setting in grid(IMAGE, "full"))


def test_sizes_above_the_largest_picture_are_left_out() -> None:
    fields = {name: getattr(IMAGE, name) for name in Offer.__struct_fields__}
    small = Offer(**(fields | {"max_pixels": 128 * 128}))
    assert Shape(height=160, width=160) not in {setting.shape for setting in grid(small)}


def test_an_unknown_grid_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match="use one of: quick, full"):
        grid(IMAGE, "slow")


@settings(deadline=None)
@given(
    low=st.integers(1, 100), steps=st.integers(0, 40), step=st.integers(1, 16), count=st.integers(1, 6), data=st.data()
)
def test_a_spread_has_both_ends_and_the_default_and_only_what_is_offered(
    low: int, steps: int, step: int, count: int, data: st.DataObject
) -> None:
    numbers = Range(min=low, max=low + steps * step, step=step)
    default = data.draw(st.integers(0, steps)) * step + low
    chosen = spread(numbers, count, default)
    assert {numbers.min, numbers.last, default} <= set(chosen)
    assert all(number in numbers for number in chosen)
    assert len(chosen) <= max(3, count + 1)
