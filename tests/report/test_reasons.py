"""Why each chunk was launched, counted and request by request."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from sfumato.core.policy import Reason
from sfumato.core.values import JobState
from sfumato.report.reasons import decision_table, explained, reason_table
from sfumato.report.story import Span, Story
from tests.report.runs import life, span, story


def reason(job: str, standing: str = "kept", *, slack_s: float | None = 1.5, degree: int = 1) -> Reason:
    return Reason(job=job, standing=standing, why="as asked", slack_s=slack_s, work_s=4, least_degree=1, degree=degree)


def told(one: Span, why: Reason, **changes: object) -> Span:
    return replace(one, reason=why, **changes)


@pytest.fixture
def tale() -> Story:
    spans = (
        told(span(1, (0, 1), "a", 1, 3), reason("a", degree=2)),
        told(span(2, (0,), "a", 3, 4), reason("a"), jobs=("a", "b"), gained={"a": 4, "b": 4}),
        told(span(3, (1,), "c", 3, 4), reason("c", "best effort", slack_s=None)),
    )
    lives = [life(name, 1, 5, deadline=None if name == "c" else 9, spans=spans) for name in "abc"]
    return story([*lives, life("d", 2, 2, JobState.REJECTED, deadline=3)], spans, end=5)


def test_reasons_are_counted_by_standing_with_their_share_of_the_ranks_time(tale: Story) -> None:
    assert explained(tale)
    assert reason_table(tale).rows == (
        ("kept", "as asked", "2", "2", "83.3%", "1.50", "4.00", "1.00", "1.50"),
        ("best effort", "as asked", "1", "1", "16.7%", "-", "4.00", "1.00", "1.00"),
        ("refused", "-", "-", "1", "-", "-", "-", "-", "-"),
    )


def test_a_request_is_told_from_its_arrival_to_its_end(tale: Story) -> None:
    arrives, first, second, end = decision_table(tale, ["a"]).rows
    assert arrives[:3] == ("a", "1.00", "arrives: a, 64x64, 4 steps, due in 8.00 s")
    assert first[1:] == ("1.00", "diffuse x4", "0 1", "kept", "as asked", "1.50", "4.00", "1", "2", "-")
    assert second[-1] == "b"
    assert end[:3] == ("", "5.00", "done")


def test_who_joins_a_batch_is_told_whose(tale: Story) -> None:
    rows = decision_table(tale, ["b"]).rows
    assert rows[1][4:6] == ("-", "joins a")
    assert rows[1][-1] == "a"


def test_a_refusal_is_told_with_its_reason(tale: Story) -> None:
    assert [row[2] for row in decision_table(tale, ["d"]).rows][1:] == ["rejected"]


def test_a_story_without_reasons_is_told_all_the_same() -> None:
    spans = (span(1, (0,), "a", 1, 3),)
    plain = story([life("a", 1, 3, spans=spans)], spans, end=3)
    assert not explained(plain)
    assert decision_table(plain).rows[1][4:7] == ("-", "-", "-")


def turn(at: float, standing: str, why: str) -> tuple[float, Reason]:
    return at, replace(reason("a", standing, degree=0), why=why)


def test_a_change_of_standing_is_told_where_it_happened_and_counted_by_request() -> None:
    spans = (told(span(1, (0,), "a", 1, 3), reason("a")), told(span(2, (0,), "a", 4, 5), reason("a")))
    turns = (turn(1, "kept", "kept again"), turn(3.5, "given up", "too much waits: 9"), turn(4, "kept", "kept again"))
    tale = story([replace(life("a", 0, 5, deadline=9, spans=spans), turns=turns)], spans, end=5)
    rows = decision_table(tale).rows
    assert [row[2].split()[0] for row in rows] == [
        *("arrives:", "weighed", "diffuse", "paused", "weighed", "weighed", "diffuse", "done")
    ]
    assert rows[4] == ("", "3.50", "weighed", "-", "given up", "too much waits: 9", "1.50", "4.00", "1", "-", "-")
    assert [row[:4] for row in reason_table(tale).rows[1:]] == [
        ("given up", "too much waits", "-", "1"),
        ("kept", "kept again", "-", "1"),
    ]


def test_a_story_in_which_nothing_was_launched_may_be_explained() -> None:
    given_up = replace(life("a", 0, None, deadline=9), turns=(turn(0, "given up", "too much waits: 9"),))
    assert explained(story([given_up], end=5))


def test_a_pause_whose_ranks_nobody_took_waits_for_ranks() -> None:
    spans = (span(1, (0, 1), "a", 1, 3), span(2, (0, 1), "a", 4, 5))
    rows = decision_table(story([life("a", 1, 5, spans=spans)], spans, end=5)).rows
    assert rows[2][2:6] == ("paused 1.00 s", "0 1", "-", "waits for ranks")
