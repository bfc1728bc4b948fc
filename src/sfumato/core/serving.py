"""The one place where state changes: `handle(batch)` folds events, asks the policy once, and returns commands.

Rules: all events of a batch are folded in their written order before the policy plans; the plan is checked against the
laws before any of it takes effect; an illegal plan is refused whole, the journal says which law it broke, and the
fallback policy plans that instant (`strict` raises instead: tests). No clock, no I/O, no randomness: the same batches
give the same commands, which is what replay and the simulator rest on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from sfumato.core.backlog import Backlog
from sfumato.core.commands import AnyCommand
from sfumato.core.cost import Costs
from sfumato.core.enact import enact
from sfumato.core.events import AnyEvent, sort_key
from sfumato.core.fold import fold
from sfumato.core.journal import Checkpoint, Journal, Record
from sfumato.core.plan import check
from sfumato.core.policy import Plan, Policy
from sfumato.core.pool import Pool
from sfumato.core.room import Room
from sfumato.core.state import State
from sfumato.core.values import ModelSpec
from sfumato.core.view import View
from sfumato.errors import LawError


class Serving:
    """A state and the policy that plans for it, of a server or of a simulated one."""

    def __init__(
        self,
        *,
        models: Mapping[str, ModelSpec],
        costs: Costs,
        policy: Policy,
        fallback: Policy,
        journal: Journal,
        setup: Any = None,
        strict: bool = False,
    ) -> None:
        self.policy = policy
        self._state = State(models, costs, Room(drops=getattr(policy, "drops", False)))
        self._fallback = fallback
        self._journal = journal
        self._setup = setup
        self._strict = strict

    @property
    def now(self) -> float:
        """The time of the last event."""
        return self._state.now

    @property
    def backlog(self) -> Backlog:
        """The live jobs, to be read."""
        return self._state.backlog

    @property
    def pool(self) -> Pool:
        """The ranks, to be read."""
        return self._state.pool

    def view(self) -> View:
        """What the policy sees now."""
        return self._state.view()

    def handle(self, batch: Sequence[AnyEvent]) -> tuple[AnyCommand, ...]:
        """Fold a batch, plan once, and return what to do, in order. Raises LawError for an event that cannot be."""
        state = self._state
        if self._journal.wants_checkpoint:
            self._journal.open_segment(self.checkpoint())
        events = tuple(sorted(batch, key=sort_key)) if len(batch) > 1 else tuple(batch)
        if events[0].at < state.now:
            raise LawError("L8", f"an event of {events[0].at} came at {state.now}")
        state.now = events[-1].at
        commands: list[AnyCommand] = []
        for event in events:
            fold(state, event, commands)
        view = state.view()
        plan, broken = self._plan(view)
        enact(state, plan, view, commands)
        record = Record(events=events, commands=tuple(commands), broken=broken, reasons=plan.reasons, swaps=plan.swaps)
        self._journal.append(record)
        return record.commands

    def _plan(self, view: View) -> tuple[Plan, str]:
        """A legal plan, and the law that the policy's own plan broke, if it did."""
        plan = self.policy.plan(view)
        try:
            check(plan, view)
        except LawError as error:
            if self._strict:
                raise
            return self._second_plan(view), str(error)
        self._state.memo = plan.memo
        return plan, ""

    def _second_plan(self, view: View) -> Plan:
        """The fallback's plan; nothing if that is illegal too: a server that waits is better than one that ended."""
        plan = self._fallback.plan(view)
        try:
            check(plan, view)
        except LawError:
            return Plan()
        return plan

    def checkpoint(self) -> Checkpoint:
        """Everything that decides what this Serving does next."""
        return self._state.checkpoint(self._setup)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take up the state of a checkpoint, whoever wrote it."""
        memo_type, memo = getattr(self.policy, "Memo", None), checkpoint.memo
        typed = memo if memo is None or memo_type is None else msgspec.convert(memo, memo_type)
        self._state.restore(checkpoint, typed)
