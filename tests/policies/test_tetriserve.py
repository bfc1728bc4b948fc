"""TetriServe's mechanisms, each in a world where it shows, and what its ablations take away."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfumato.assemble import policy_named
from sfumato.errors import ConfigError
from sfumato.policies.tetriserve.allocate import allocate
from sfumato.policies.tetriserve.pack import Option, packed
from tests.costs import SMALL
from tests.policies.small import SharedCosts, image, run

SPEEDS = ((1, 1.0), (2, 0.6), (4, 0.4))


def test_an_allocation_uses_two_degrees_that_just_meet_the_deadline_the_wide_one_first() -> None:
    found = allocate(SPEEDS, 10, 7.0)
    assert found is not None
    assert found.parts == ((8, 2), (2, 1))
    assert found.gpu_s == pytest.approx(8 * 2 * 0.6 + 2 * 1.0)


def test_a_request_with_time_to_spare_stays_on_one_rank_and_a_hopeless_one_gets_nothing() -> None:
    relaxed = allocate(SPEEDS, 10, 10.0)
    assert relaxed is not None
    assert relaxed.parts == ((10, 1),)
    assert allocate(SPEEDS, 10, 3.9) is None


@given(steps=st.integers(1, 30), time_s=st.integers(1, 40).map(float))
def test_no_split_over_two_degrees_takes_fewer_gpu_seconds(steps: int, time_s: float) -> None:
    splits = [
        k * x * s + j * (steps - x) * t
        for (k, s), (j, t) in product(SPEEDS, SPEEDS)
        for x in range(steps + 1)
        if x * s + (steps - x) * t <= time_s + 1e-9
    ]
    found = allocate(SPEEDS, steps, time_s)
    assert (found is None) == (not splits)
    assert found is None or found.gpu_s == pytest.approx(min(splits))


@given(
    st.lists(st.lists(st.tuples(st.sampled_from([1, 2, 4]), st.integers(0, 9)), max_size=2), min_size=1, max_size=4),
    st.integers(0, 8),
)
def test_the_packing_is_the_best_that_fits(worths: list[list[tuple[int, int]]], ranks: int) -> None:
    groups = [
        [Option(degree=0, steps=0, worth=0.5), *(Option(degree=k, steps=1, worth=w) for k, w in group)]
        for group in worths
    ]
    fitting = [choice for choice in product(*groups) if sum(o.degree for o in choice) <= ranks]
    found = packed(groups, ranks)
    assert sum(o.degree for o in found) <= ranks
    assert sum(o.worth for o in found) == max(sum(o.worth for o in choice) for choice in fitting)


def test_a_request_goes_from_a_wide_to_a_narrow_degree_and_is_just_in_time() -> None:
    tight = run("tetriserve", 4, image("a", 4.6, steps=20), scale_up=False, granularity=3)
    assert tight.degrees("a")[:2] == [2, 1]
    assert tight.met == {"a"}


def test_left_over_ranks_widen_a_request_and_without_scale_up_they_idle() -> None:
    relaxed = image("a", 60.0, steps=20)
    assert run("tetriserve", 4, relaxed).degrees("a") == [4]
    assert run("tetriserve", 4, relaxed, scale_up=False).degrees("a") == [1]


def test_a_request_keeps_its_rank_and_without_placement_it_wanders() -> None:
    both = image("a", 60.0, steps=4), image("b", 60.0, steps=30)
    assert run("tetriserve", 2, *both, scale_up=False).moves("b") == 0
    assert run("tetriserve", 2, *both, scale_up=False, placement=False).moves("b") == 1


def test_denoising_starts_at_round_boundaries_only_and_at_once_without_rounds() -> None:
    first, second = image("a", 60.0, steps=40), image("b", 60.0, at=0.4)
    in_rounds = run("tetriserve", 2, first, second, scale_up=False)
    begun = {at for at, _ in in_rounds.of("a")[1:]}
    assert in_rounds.of("b")[0][0] in begun
    assert run("tetriserve", 2, first, second, scale_up=False, rounds=False).of("b")[0][0] < 0.45


def test_longer_rounds_launch_less_often() -> None:
    launches = [len(run("tetriserve", 1, image("a", 60.0, steps=30), granularity=g).starts) for g in (1, 5, 15)]
    assert launches == [30, 6, 2]


def test_the_packing_gives_up_none_where_both_survive_and_serves_one_where_only_one_can() -> None:
    assert run("tetriserve", 4, image("a", 2.8), image("b", 2.8)).met == {"a", "b"}
    assert len(run("tetriserve", 4, image("a", 1.2), image("b", 1.2)).met) == 1


def test_late_work_gets_one_rank_and_does_not_keep_others_from_their_deadline() -> None:
    late, urgent = image("late", 0.1, steps=40), image("b", 2.2, at=0.2)
    found = run("tetriserve", 2, late, urgent, scale_up=False)
    assert found.degrees("late") == [1]
    assert found.met == {"b"}
    assert found.outcomes["late"].state == "late"


def test_small_requests_share_a_chunk_and_without_batching_they_queue() -> None:
    small = [image(f"r{n}", 3.0, shape=SMALL, steps=60) for n in range(4)]
    shared = run("tetriserve", 1, *small, costs=SharedCosts())
    assert max(len(launch.chunk.jobs) for _, launch in shared.starts) == 4
    assert len(shared.met) == 4
    alone = run("tetriserve", 1, *small, costs=SharedCosts(), batching=False)
    assert {len(launch.chunk.jobs) for _, launch in alone.starts} == {1}
    assert len(alone.met) < 4


def test_nobody_joins_a_chunk_in_which_a_member_would_miss_its_deadline() -> None:
    tight = image("tight", 1.2, shape=SMALL, steps=60)
    others = [image(f"r{n}", 30.0, shape=SMALL, steps=60) for n in range(3)]
    found = run("tetriserve", 1, tight, *others, costs=SharedCosts())
    assert "tight" in found.met
    assert {len(launch.chunk.jobs) for _, launch in found.of("tight")} == {1}


def test_a_large_request_never_shares() -> None:
    large = [image(f"r{n}", 60.0) for n in range(3)]
    found = run("tetriserve", 2, *large, costs=SharedCosts())
    assert {len(launch.chunk.jobs) for _, launch in found.starts} == {1}


def test_a_granularity_outside_the_papers_is_named() -> None:
    with pytest.raises(ConfigError, match="granularity"):
        policy_named("tetriserve", {"granularity": 16})
