"""All that a Serving knows at one instant: jobs, ranks, costs, what the policy remembers. It decides nothing.

It is changed by `fold` (what happened) and `enact` (what was decided) alone, and both are called by `Serving.handle`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from sfumato.core.backlog import Backlog
from sfumato.core.commands import Reply
from sfumato.core.cost import Costs
from sfumato.core.journal import Checkpoint
from sfumato.core.lifecycle import Move
from sfumato.core.pool import Pool
from sfumato.core.room import Room
from sfumato.core.values import Job, ModelSpec, Outcome
from sfumato.core.view import View


class State:
    """The state of a server or of a simulated one. `seq` is the number of the last launch."""

    def __init__(self, models: Mapping[str, ModelSpec], costs: Costs, room: Room) -> None:
        self.models = models
        self.costs = costs
        self.backlog = Backlog()
        self.pool = Pool()
        self.room = room
        self.now = 0.0
        self.seq = 0
        self.memo: Any = None

    def view(self) -> View:
        """What a policy may see of it."""
        return View(self.now, self.backlog, self.pool, self.models, self.costs, self.memo)

    def part_bytes(self, part: str) -> int:
        for model in self.models.values():
            if part in model.part_bytes:
                return model.part_bytes[part]
        return 0

    def end(self, job: Job, move: Move, reason: str = "", field: str = "") -> Reply:
        """End a job now, and tell its client."""
        return self.told(self.backlog.end(job, move, self.now, reason, field))

    def told(self, outcome: Outcome) -> Reply:
        """The word to the client of a request that has ended; nothing is held for it any more."""
        self.pool.forget(outcome.request)
        return Reply(outcome=outcome)

    def checkpoint(self, setup: Any) -> Checkpoint:
        """Everything that decides what happens next."""
        pool = self.pool
        return Checkpoint(
            now=self.now,
            seq=self.seq,
            setup=setup,
            memo=msgspec.to_builtins(self.memo),
            costs=self.costs.state(),
            jobs=tuple(self.backlog.live.values()),
            running=tuple(pool.running.values()),
            ranks=tuple(pool.ranks.values()),
            draining=tuple(sorted(pool.draining)),
            resident={rank: dict(parts) for rank, parts in pool.resident.items()},
            loading={rank: dict(parts) for rank, parts in pool.loading.items()},
            held=dict(pool.held),
            arrived=self.backlog.arrived,
            ended=dict(self.backlog.ended),
            failed={rank: dict(parts) for rank, parts in pool.failed.items() if parts},
        )

    def restore(self, checkpoint: Checkpoint, memo: Any) -> None:
        """Take up what a checkpoint tells; `memo` is its memo in the policy's own type."""
        self.now, self.seq, self.memo = checkpoint.now, checkpoint.seq, memo
        self.costs.restore(checkpoint.costs)
        self.backlog = Backlog()
        self.backlog.restore(checkpoint.jobs, checkpoint.arrived, checkpoint.ended)
        self.pool = Pool()
        self.pool.restore(checkpoint)
