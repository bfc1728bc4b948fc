"""What is learnt of how late chunks begin."""

from __future__ import annotations

import pytest

from sfumato.cost import ProfileCosts
from sfumato.cost.starts import BOUND_S, STEP_S, Starts
from tests.cost.test_correction import PROFILE, STEP


def test_a_launch_is_priced_at_what_it_has_been_taking() -> None:
    costs = ProfileCosts([PROFILE])
    said = costs.start_s(STEP, (0,), (None,))
    for _ in range(100):
        predicted = costs.start_s(STEP, (0,), (None,))
        costs.observe(STEP, 0, 1, costs.unit_s(STEP), said + 0.002 - predicted)
    assert costs.start_s(STEP, (0,), (None,)) == pytest.approx(said + 0.002, abs=STEP_S)


def test_what_is_told_stands_still_while_the_mean_moves_little() -> None:
    starts = Starts()
    for place in range(1000):
        starts.observe(1e-12 if place % 2 else -1e-4)
    assert starts.late_s == 0.0


def test_one_long_wait_hardly_shows() -> None:
    starts = Starts()
    starts.observe(60.0)
    assert 0.0 < starts.late_s <= BOUND_S / 10


def test_what_was_learnt_survives_a_checkpoint() -> None:
    starts, other = Starts(), Starts()
    for _ in range(10):
        starts.observe(0.001)
    other.restore(starts.state())
    starts.observe(0.003)
    other.observe(0.003)
    assert other.state() == starts.state() != [0.0, 0.0]
    other.restore(None)
    assert other.state() == [0.0, 0.0]
