"""How long chunks are: by the tightest slack, and by what launches take."""

from __future__ import annotations

from sfumato.policies.sfumato.spans import Spans


def test_a_chunk_is_a_share_of_the_tightest_slack_where_launches_are_cheap() -> None:
    assert Spans.of(2.0, 0.05, 0.25, 0.001) == Spans(0.1, 0.5, 2.0)


def test_dear_launches_make_chunks_longer_but_not_past_half_of_the_tightest_slack() -> None:
    assert Spans.of(0.2, 0.05, 0.25, 0.001).quantum_s == 0.04
    assert Spans.of(0.2, 0.05, 0.25, 0.01).quantum_s == 0.1
    assert Spans.of(0.2, 0.8, 0.25, 0.01).quantum_s == 0.2 * 0.8
