"""What a policy is: a function from a View to a Plan, and the Plan itself.

Rules: `plan` is pure (law L11: equal views give equal plans); whatever it wants to remember goes into `memo`, a frozen
value that returns as `view.memo`. A policy never sees prompts, tensors, clocks or workers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from sfumato.core.commands import Drop, Halt, Load
from sfumato.core.values import Chunk, PartId, Rank, Shape, Value

if TYPE_CHECKING:
    from sfumato.core.view import View


class Admission(Value, frozen=True, kw_only=True):
    """Accept a request with fewer steps or a smaller shape than asked (only where it allows that)."""

    job: str
    shape: Shape
    steps: int


class Refusal(Value, frozen=True, kw_only=True):
    """Refuse a request that has not started; it ends as rejected with `reason`."""

    job: str
    reason: str


class Reason(Value, frozen=True, kw_only=True):
    """Why a job was launched as it was, for people. `standing`: kept, given up, late, best effort; `why` in words.

    One of `degree` 0 is of no launch: it tells that a job's standing is another now.
    `slack_s` is how long it could still wait and then just make its deadline (None: it has none), `work_s` the least
    GPU-seconds that it still takes for that, `least_degree` the degree that this begins with, `others` who shares.
    """

    job: str
    standing: str
    why: str
    slack_s: float | None
    work_s: float
    least_degree: int
    degree: int
    others: tuple[str, ...] = ()


class Swap(Value, frozen=True, kw_only=True):
    """Why weights are loaded on a rank, and which make room for them, for people."""

    rank: Rank
    loads: tuple[PartId, ...]
    drops: tuple[PartId, ...] = ()
    why: str


class Plan(Value, frozen=True, kw_only=True):
    """What the policy wants now. Launches take effect in their order; everything else before them.

    `reasons` and `swaps` are journalled and decide nothing; a policy gives them where it was asked to.
    """

    launches: tuple[Chunk, ...] = ()
    halts: tuple[Halt, ...] = ()
    admissions: tuple[Admission, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    loads: tuple[Load, ...] = ()
    drops: tuple[Drop, ...] = ()
    wake_at: float | None = None
    memo: Any = None
    reasons: tuple[Reason, ...] = ()
    swaps: tuple[Swap, ...] = ()


class Policy(Protocol):
    """A scheduling policy. `work_conserving` claims law L7: no rank idles while a job could use it.

    One that has a true `drops` makes room for a chunk by dropping weights.
    """

    name: str
    work_conserving: bool

    def plan(self, view: View) -> Plan:
        """Decide what to launch, halt, admit, refuse, load and drop now."""
        ...
