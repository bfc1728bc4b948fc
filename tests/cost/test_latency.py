from __future__ import annotations

from pathlib import Path

import pytest

from sfumato.core.cost import Predicts, Work
from sfumato.core.values import Shape, Stage
from sfumato.cost import Point, Profile, ProfileCosts, read_profile
from sfumato.cost.latency import fit

SD3 = Path(__file__).parents[2] / "profiles" / "modelled" / "l20-sd3-medium.json"


def square(side: int) -> Shape:
    return Shape(height=side, width=side)


def point(side: int, batch: int, seconds: float) -> Point:
    return Point(stage=Stage.DIFFUSE, height=side, width=side, batch=batch, seconds=seconds)


def line(*shapes: Shape) -> float:
    """A GPU that takes 10 ms, 1 ms a member and 100 ms a megapixel."""
    return 0.01 + 0.001 * len(shapes) + 0.1 * sum(shape.height * shape.width for shape in shapes) / 1e6


def rows() -> list[Point]:
    return [point(side, batch, line(*[square(side)] * batch)) for side in (256, 512, 1024) for batch in (1, 2, 4)]


def test_batches_that_lie_on_a_line_are_found_again_also_mixed_ones() -> None:
    predictor = fit(rows())
    assert predictor is not None
    assert predictor.error == pytest.approx(0.0, abs=1e-9)
    mixed = (square(256), square(1024), square(512))
    assert predictor(mixed) == pytest.approx(line(*mixed))


def test_a_further_member_never_makes_a_batch_faster() -> None:
    faster = [point(256, 1, 0.04), point(256, 2, 0.03), point(256, 4, 0.02), point(512, 1, 0.04), point(512, 2, 0.03)]
    predictor = fit(faster)
    assert predictor is not None
    assert predictor([square(512)] * 3) >= predictor([square(512)] * 2)


def test_too_few_batches_are_not_fitted_and_the_table_answers() -> None:
    assert fit(rows()[::3]) is None
    profile = Profile(model="m", device="cpu", kind="measured", source="test", points=tuple(rows()[:3]))
    costs = ProfileCosts([profile])
    pair = Work(model="m", stage=Stage.DIFFUSE, shapes=(square(256), square(512)))
    assert costs.batch_s(pair) == costs.unit_s(pair)


def test_held_out_rows_of_the_modelled_profile_of_sd3_are_within_a_tenth() -> None:
    costs = ProfileCosts([read_profile(SD3)])
    assert isinstance(costs, Predicts)
    predictor = costs.latency(Work(model="sd3-medium", stage=Stage.DIFFUSE, shapes=(), device="l20"))
    assert predictor is not None
    assert predictor.rows == 15
    assert predictor.error < 0.1


def test_the_prediction_follows_the_online_correction() -> None:
    costs = ProfileCosts([Profile(model="m", device="cpu", kind="measured", source="test", points=tuple(rows()))])
    pair = Work(model="m", stage=Stage.DIFFUSE, shapes=(square(256), square(512)))
    before = costs.batch_s(pair)
    for _ in range(20):
        costs.observe(pair, 0, 1, 2 * costs.unit_s(pair))
    assert costs.batch_s(pair) > 1.5 * before
