"""The life of a job, as a table: everything that can change a job's state is a row here, an absent row is a bug.

ARCHITECTURE.md's drawing is generated from this table (`python -m sfumato.core.lifecycle`).
"""

from __future__ import annotations

from enum import StrEnum

from sfumato.core.values import JobState
from sfumato.errors import LawError


class Move(StrEnum):
    """What can happen to a job."""

    LAUNCH = "launch"  # joins a chunk
    PAUSE = "pause"  # its chunk ended and there is more to do
    DELIVER = "deliver"  # last unit done by the deadline
    OVERRUN = "overrun"  # last unit done after the deadline
    REFUSE = "refuse"  # admission said no
    CANCEL = "cancel"  # its client gave up
    FAIL = "fail"  # its chunk raised, or no rank can load its weights


TRANSITIONS: dict[tuple[JobState, Move], JobState] = {
    (JobState.WAITING, Move.LAUNCH): JobState.RUNNING,
    (JobState.PAUSED, Move.LAUNCH): JobState.RUNNING,
    (JobState.RUNNING, Move.PAUSE): JobState.PAUSED,
    (JobState.RUNNING, Move.DELIVER): JobState.DONE,
    (JobState.RUNNING, Move.OVERRUN): JobState.LATE,
    (JobState.WAITING, Move.REFUSE): JobState.REJECTED,
    (JobState.WAITING, Move.CANCEL): JobState.CANCELLED,
    (JobState.RUNNING, Move.CANCEL): JobState.CANCELLED,
    (JobState.PAUSED, Move.CANCEL): JobState.CANCELLED,
    (JobState.WAITING, Move.FAIL): JobState.FAILED,
    (JobState.RUNNING, Move.FAIL): JobState.FAILED,
    (JobState.PAUSED, Move.FAIL): JobState.FAILED,
}

LIVE = frozenset({JobState.WAITING, JobState.RUNNING, JobState.PAUSED})
ENDS = frozenset(JobState) - LIVE


def moved(state: JobState, move: Move) -> JobState:
    """The state after `move`. Raises LawError (L2) where the table has no such row."""
    try:
        return TRANSITIONS[state, move]
    except KeyError:
        raise LawError("L2", f"a {state} job cannot {move}") from None


def drawing() -> str:
    """The table as a Mermaid state diagram."""
    rows = [f"    {state} --> {after}: {move}" for (state, move), after in TRANSITIONS.items()]
    ends = [f"    {end} --> [*]" for end in JobState if end in ENDS]
    return "\n".join(["stateDiagram-v2", f"    [*] --> {JobState.WAITING}: arrive", *rows, *ends])


if __name__ == "__main__":
    print(drawing())
