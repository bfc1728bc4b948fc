"""How long chunks are: by the tightest slack, and by what launches take."""

from __future__ import annotations

from collections.abc import Sequence

from sfumato.core.cost import Work
from sfumato.core.values import Group
from sfumato.policies.sfumato.spans import Spans
from tests.costs import SMALL, PlainCosts
from tests.policies.small import image, run


def test_a_chunk_is_a_share_of_the_tightest_slack_where_launches_are_cheap() -> None:
    assert Spans.of(2.0, 0.05, 0.25, 0.001) == Spans(0.1, 0.5, 2.0)


def test_dear_launches_make_chunks_longer_but_not_past_half_of_the_tightest_slack() -> None:
    assert Spans.of(0.2, 0.05, 0.25, 0.001).quantum_s == 0.04
    assert Spans.of(0.2, 0.05, 0.25, 0.01).quantum_s == 0.1
    assert Spans.of(0.2, 0.8, 0.25, 0.01).quantum_s == 0.2 * 0.8


def test_what_the_cost_model_says_of_launches_makes_chunks_longer() -> None:
    class Dear(PlainCosts):
        def start_s(self, work: Work, group: Group, sources: Sequence[Group | None]) -> float:
            return 0.01

    steps = [
        [
            launch.chunk.units
            for _, launch in run("sfumato", 1, image("a", 4.0, shape=SMALL, steps=40), costs=each).starts
        ]
        for each in (PlainCosts(), Dear())
    ]
    assert max(steps[0]) < 15
    assert max(steps[1]) > 20
