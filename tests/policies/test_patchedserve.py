"""`patchedserve`: who is admitted to a batch, and when."""

from __future__ import annotations

from msgspec.structs import replace

from sfumato.core.cost import Work
from sfumato.core.values import Stage
from tests.costs import PlainCosts
from tests.policies.test_baselines import asked, play, steps_of, world

PACKED = world(packs=True)  # a step takes the sum of its members' times: 64 px 1/64 s, 128 px 1/16 s


class SharingCosts(PlainCosts):
    """A further member of a batch adds half of its time alone."""

    def unit_s(self, work: Work) -> float:
        alone = sorted(super(SharingCosts, self).unit_s(replace(work, shapes=(shape,))) for shape in work.shapes)
        return alone[-1] + sum(alone[:-1]) / 2


def test_unlike_sizes_share_a_batch_while_all_make_it() -> None:
    line = [asked("a", 0.0, 64, steps=10, slo_s=5.0), asked("b", 0.0, 128, steps=10, slo_s=5.0)]
    launches, _ = play("patchedserve", line, models=PACKED)
    assert any(set(one.chunk.jobs) == {"a", "b"} for one in steps_of(launches, "a"))


def test_nobody_is_admitted_who_would_make_the_most_urgent_member_miss() -> None:
    """`urgent` needs 0.16 s alone and has 0.2; with `other` its last step alone would take another 0.06."""
    line = [asked("urgent", 0.0, 64, steps=10, slo_s=0.2), asked("other", 0.01, 128, steps=10, slo_s=5.0)]
    launches, ended = play("patchedserve", line, models=PACKED, quantum_s=0.01)
    assert ended == ["urgent", "other"]
    assert all(one.chunk.jobs == ("urgent",) for one in steps_of(launches, "urgent"))
    mixed, _ = play("mixed", line, models=PACKED, quantum_s=0.01)
    assert any(len(one.chunk.jobs) == 2 for one in steps_of(mixed, "urgent"))


def test_of_those_that_wait_the_one_with_the_least_slack_is_admitted_first() -> None:
    full = world(packs=True, batch=1)
    line = [
        asked("running", 0.0, 64, steps=10, slo_s=5.0),
        asked("relaxed", 0.01, 64, steps=10, slo_s=0.6),
        asked("tight", 0.02, 64, steps=10, slo_s=0.4),
    ]
    assert play("patchedserve", line, models=full)[1] == ["running", "tight", "relaxed"]
    assert play("mixed", line, models=full)[1] == ["running", "relaxed", "tight"]


def test_among_relaxed_requests_the_one_that_adds_most_throughput_is_tried() -> None:
    """`alike` shares steps with `running`, `unlike`, which has less slack, can only take turns (no packing)."""
    line = [
        asked("running", 0.0, 64, steps=60, slo_s=50.0),
        asked("unlike", 0.01, 128, steps=10, slo_s=20.0),
        asked("alike", 0.01, 64, steps=10, slo_s=50.0),
    ]
    for relaxed, alike_first in ((1.0, True), (100.0, False)):
        launches, _ = play(
            "patchedserve", line, models=world(batch=2), costs=SharingCosts, quantum_s=0.01, relaxed=relaxed
        )
        assert (steps_of(launches, "alike")[0].seq < steps_of(launches, "unlike")[0].seq) is alike_first


def test_a_member_that_misses_anyway_protects_nobody() -> None:
    line = [asked("lost", 0.0, 128, steps=20, slo_s=0.5), asked("saved", 0.1, 64, steps=5, slo_s=1.0)]
    launches, ended = play("patchedserve", line, models=PACKED, quantum_s=0.01)
    assert ended == ["saved", "lost"]
    assert any(len(one.chunk.jobs) == 2 for one in steps_of(launches, "saved"))


def test_who_cannot_make_it_waits_until_the_rank_has_nothing_better_or_is_refused() -> None:
    line = [asked("lost", 0.0, 128, steps=20, slo_s=0.1), asked("fine", 0.0, 64, steps=10, slo_s=1.0)]
    launches, ended = play("patchedserve", line, models=PACKED)
    assert ended == ["fine", "lost"]
    launches, ended = play("patchedserve", line, models=PACKED, discard=True)
    assert ended == ["lost", "fine"]
    assert not steps_of(launches, "lost")


def test_best_effort_requests_are_served_too() -> None:
    launches, ended = play("patchedserve", [asked("free", 0.0, 64)], models=PACKED)
    assert ended == ["free"]
    assert [one.chunk.stage for one in launches] == list(Stage)
