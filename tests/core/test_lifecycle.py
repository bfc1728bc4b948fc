"""The lifecycle table: what is in it happens, what is not in it is an error, and the page shows the same table."""

from __future__ import annotations

from pathlib import Path

import pytest

from sfumato.core.lifecycle import ENDS, LIVE, TRANSITIONS, Move, drawing, moved
from sfumato.core.values import JobState
from sfumato.errors import LawError


def test_every_live_state_can_be_reached_and_left() -> None:
    assert {state for state, _ in TRANSITIONS} == LIVE
    assert set(JobState) == set(TRANSITIONS.values()) | {JobState.WAITING}


@pytest.mark.parametrize("end", sorted(ENDS))
@pytest.mark.parametrize("move", sorted(Move))
def test_nothing_happens_to_a_job_that_has_ended(end: JobState, move: Move) -> None:
    with pytest.raises(LawError, match="L2"):
        moved(end, move)


def test_the_drawing_in_the_architecture_page_is_the_tables() -> None:
    page = (Path(__file__).parents[2] / "ARCHITECTURE.md").read_text()
    assert drawing() in page, "run `python -m sfumato.core.lifecycle` and paste it into ARCHITECTURE.md"
