"""The options of `sfumato`; the defaults serve the most requests in time."""

from __future__ import annotations

import msgspec

from sfumato.policies.sfumato.admit import Mode


class Choices(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How requests are weighed against each other, what is admitted, whether decisions are explained.

    `quantum`, `limit`: shares of the tightest slack: the length of a chunk, the longest step of kept work that can wait
    and runs narrower than its deadline asks for.
    `weights`: what a request of an SLO class is worth beside others (1), where not all can be in time.
    `shares`: the part of the pool that a class is given under overload, as long as some of its requests can be in time.
    `left_over`: the part of the pool that late and best-effort work is given, whatever else waits.
    `aging`: late and best-effort work passes what has this many seconds less to go for each second that it is overdue
    (best effort: that it has been there).
    `admission`: `accept` everything; `feasible` refuses at arrival what cannot be met, and says when it could be;
    `degrade` lowers it first, where the request allows that.
    `explain`: the plan carries the reason of each launch, and of each change of who is kept.
    """

    quantum: float = 0.05
    limit: float = 0.25
    weights: dict[str, float] = {}
    shares: dict[str, float] = {}
    left_over: float = 0.01
    aging: float = 0.1
    admission: Mode = "accept"
    explain: bool = False

    def __post_init__(self) -> None:
        for slo, weight in self.weights.items():
            if weight <= 0:
                raise ValueError(f"weights: {slo} has {weight}; give a number above 0")
        parts = (*self.shares.values(), self.left_over)
        if min(parts) < 0 or sum(parts) > 1:
            raise ValueError("shares: none may be below 0, and with left_over they add up to 1 at most")
        if self.quantum <= 0 or self.limit < 0 or self.aging < 0:
            raise ValueError("quantum must be above 0, limit and aging not below")
