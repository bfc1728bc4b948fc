"""GenServe's mechanisms, each in a world where it shows, and what its ablations take away."""

from __future__ import annotations

from itertools import pairwise, product

from hypothesis import given
from hypothesis import strategies as st

from sfumato.policies.genserve.candidates import Candidate, chosen
from tests.costs import SMALL
from tests.policies.small import SharedCosts, image, run, video


@given(
    st.lists(st.lists(st.tuples(st.sampled_from([1, 2, 4]), st.integers(0, 9)), max_size=3), min_size=1, max_size=4),
    st.lists(st.integers(0, 9), min_size=1, max_size=7),
)
def test_the_two_stages_find_the_best_split_between_videos_and_images(
    worths: list[list[tuple[int, int]]], rest: list[int]
) -> None:
    groups = [[Candidate(degree=0, worth=0.5), *(Candidate(degree=k, worth=w) for k, w in group)] for group in worths]
    ranks = len(rest) - 1

    def worth(degrees: tuple[int, ...]) -> float:
        videos = (max(c.worth for c in group if c.degree == k) for group, k in zip(groups, degrees, strict=True))
        return sum(videos) + rest[ranks - sum(degrees)]

    possible = [
        worth(tuple(c.degree for c in choice)) for choice in product(*groups) if sum(c.degree for c in choice) <= ranks
    ]
    assert worth(tuple(chosen(groups, rest))) == max(possible)


def test_a_video_pauses_for_an_urgent_image_and_goes_on_afterwards() -> None:
    found = run("genserve", 1, video("v", 20.0), image("i", 3.5, at=2.5))
    assert found.order() == ["v", "i", "v"]
    assert found.met == {"v", "i"}


def test_without_preemption_the_image_waits_for_the_video_to_end() -> None:
    found = run("genserve", 1, video("v", 20.0), image("i", 3.5, at=2.5), preempt=False)
    assert found.order() == ["v", "i"]
    assert found.met == {"v"}


def test_an_image_with_time_to_spare_pauses_nobody_without_slack() -> None:
    found = run("genserve", 1, video("v", 9.0), image("i", 20.0, at=2.5))
    assert found.order() == ["v", "i"]
    assert found.met == {"v", "i"}


def test_the_video_with_the_most_slack_is_the_one_that_pauses() -> None:
    found = run("genserve", 2, video("tight", 9.2), video("safe", 60.0), image("i", 3.9, at=2.5), elastic=False)
    assert found.met == {"tight", "safe", "i"}
    times = [at for at, _ in found.of("tight")]
    assert max(later - sooner for sooner, later in pairwise(times)) < 1.1
    times = [at for at, _ in found.of("safe")]
    assert max(later - sooner for sooner, later in pairwise(times)) > 2.0


def test_a_rank_holds_one_paused_video_so_that_the_next_one_goes_on() -> None:
    first, second = image("i", 3.5, at=2.5), image("j", 3.5, at=6.5)
    script = video("a", 60.0), first, video("b", 15.0, at=3.0), second
    one = run("genserve", 1, *script)
    assert one.order() == ["a", "i", "b", "a", "j"]
    assert one.met == {"a", "i", "b"}
    two = run("genserve", 1, *script, paused_per_gpu=2)
    assert two.order() == ["a", "i", "b", "j", "b", "a"]
    assert two.met == {"a", "i", "b", "j"}


def test_a_video_alone_spreads_and_narrows_when_images_come() -> None:
    images = [image(f"i{n}", 3.5, at=1.0) for n in range(2)]
    found = run("genserve", 4, video("v", 12.0, steps=20), *images)
    degrees = found.degrees("v")
    assert degrees[0] == 4
    assert min(degrees) < 4
    assert found.met == {"v", "i0", "i1"}


def test_without_elastic_degrees_a_video_keeps_the_one_that_meets_its_slo_alone() -> None:
    assert run("genserve", 4, video("v", 12.0, steps=8), elastic=False).degrees("v") == [1]
    assert run("genserve", 4, video("v", 12.0, steps=16), elastic=False).degrees("v") == [2]
    assert run("genserve", 4, video("v", 12.0, steps=24), elastic=False).degrees("v") == [4]


def test_images_of_one_size_share_a_chunk_and_without_batching_they_queue() -> None:
    small = [image(f"r{n}", 2.5, shape=SMALL, steps=60) for n in range(4)]
    shared = run("genserve", 1, *small, costs=SharedCosts())
    assert max(len(launch.chunk.jobs) for _, launch in shared.starts) > 1
    alone = run("genserve", 1, *small, costs=SharedCosts(), batching=False)
    assert {len(launch.chunk.jobs) for _, launch in alone.starts} == {1}
    assert len(alone.met) < len(shared.met)


def test_an_image_that_one_rank_cannot_deliver_is_spread_like_a_video() -> None:
    large = image("large", 4.0, steps=20)
    assert run("genserve", 4, large).met == {"large"}
    narrow = run("genserve", 4, large, wide_images=False)
    assert narrow.met == set()
    assert narrow.degrees("large")[0] == 1


def test_the_programme_lets_an_image_wait_for_a_video_that_cannot_and_going_by_turns_does_not() -> None:
    script = video("v", 4.3), image("i", 20.0, at=1.0)
    assert run("genserve", 4, *script).met == {"v", "i"}
    assert run("genserve", 4, *script, dp=False).met == {"i"}


def test_a_late_video_comes_last_and_ends() -> None:
    found = run("genserve", 1, video("late", 1.0), video("v", 9.0))
    assert found.met == {"v"}
    assert found.outcomes["late"].state == "late"
