"""What `bench.robust` plays, and what it concludes."""

from __future__ import annotations

import pytest

from bench.robust import FEWER, HURT, PLACES, PLAIN, WRONG, _base, cases, figures_of

DIES, SLOWS = HURT


def test_each_trouble_changes_one_thing_and_begins_half_way() -> None:
    workload = _base("tetriserve-uniform", quick=False)
    found = cases(workload)
    assert found[PLAIN] == workload
    assert found["10% noise, costs 20% too low"].believed == 0.8
    (dies,), (slows,) = found[DIES].pool.troubles, found[SLOWS].pool.troubles
    assert dies.dead
    assert slows.slowdown == 3.0
    assert dies.at_s == slows.at_s == pytest.approx(300 / 24 * 60 / 2)
    assert len(found[FEWER].pool.infos()) == 7


def test_every_place_is_there_and_a_pool_of_one_rank_is_not_hurt() -> None:
    hurt = {file for file in PLACES if DIES in cases(_base(file, quick=True))}
    assert hurt == set(PLACES) - {"mixfusion"}


def test_the_worst_workload_decides_and_a_lost_rank_may_cost_what_it_was_worth() -> None:
    usual = dict.fromkeys(WRONG, 0.78)
    found = {
        "gfdit": {PLAIN: 0.80, **usual, "10% noise": 0.74, FEWER: 0.70, DIES: 0.76, SLOWS: 0.72},
        "mixfusion": {PLAIN: 0.80, **usual},
    }
    figures = {figure.name: figure for figure in figures_of(found)}
    noise = figures["10% noise: fall (gfdit)"]
    assert (noise.value, noise.held) == (pytest.approx(6.0), False)
    dies, slows = figures[f"{DIES}: beyond its loss (gfdit)"], figures[f"{SLOWS}: beyond its loss (gfdit)"]
    assert (dies.value, dies.held) == (pytest.approx(-1.0), True)
    assert (slows.value, slows.held) == (pytest.approx(3.0), False)
