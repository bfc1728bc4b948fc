"""The least work in the time that is left: whole steps at two degrees, against every way there is."""

from __future__ import annotations

from itertools import combinations_with_replacement
from math import inf
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from sfumato.policies.pace import worth_of
from sfumato.policies.sfumato.least import cheapest
from sfumato.policies.sfumato.paces import Paces

# HunyuanVideo, 544x960, 65 frames on L20s: half of the ranks of eight take no more work, above the hull all the same
STEPS = ((1, 15.09), (2, 8.76), (4, 4.51), (8, 2.3))


def least(steps: int, time_s: float, paces: tuple[tuple[int, float], ...] = STEPS) -> tuple[float, int]:
    """(GPU-seconds, first degree) as the policy finds them."""
    worth = np.array(worth_of(paces)).T[:, None, :, None]  # degrees and seconds by part, degree, kind
    columns = cast("Paces", SimpleNamespace(degrees=worth[0], seconds=worth[1], scale=np.ones((1, 1))))
    work, degree, _ = cheapest(columns, np.array([0]), np.array([float(steps)]), np.array([time_s]))
    return float(work[0]), int(degree[0])


def every_way(steps: int, time_s: float) -> float:
    """GPU-seconds of the best of all sequences of degrees, however many are in it."""
    ways = combinations_with_replacement(STEPS, steps)
    works = [sum(k * s for k, s in way) for way in ways if sum(s for _, s in way) <= time_s + 1e-9]
    return min(works, default=inf)


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 7])
def test_two_degrees_are_nearly_as_good_as_any_number(steps: int) -> None:
    for time_s in np.linspace(2.3 * steps - 1.0, 15.09 * steps + 1.0, 40):
        work, best = least(steps, time_s)[0], every_way(steps, time_s)
        assert best - 1e-9 <= work <= 1.05 * best or work == best == inf


def test_few_steps_take_half_of_the_ranks_where_that_is_less_work_than_whole_steps_on_all() -> None:
    assert least(4, 4 * 4.51) == (pytest.approx(4 * 4 * 4.51), 4)  # on eight and then on one: 4 x 8 x 2.3 are more


def test_many_steps_take_neighbours_on_the_hull() -> None:
    _, degree = least(50, 50 * 4.51)
    assert degree == 8


def test_of_the_same_work_the_narrower() -> None:
    assert least(2, 2.0, ((1, 2.0), (2, 1.0), (4, 0.5))) == (pytest.approx(4.0), 2)


def test_nothing_is_worth_it_that_is_wider_and_no_faster() -> None:
    assert worth_of(((1, 2.0), (2, 2.0), (4, 1.0), (8, 1.1))) == ((1, 2.0), (4, 1.0))
