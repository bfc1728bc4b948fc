"""The common turn of the batching policies: at each free rank, one batch out of the jobs that belong there."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import msgspec

from sfumato.core.policy import Plan
from sfumato.core.values import Chunk, Job, Rank
from sfumato.core.view import View
from sfumato.policies.batches import chunk_of, dispatched, group_at


class Turns:
    """Gives every free rank the batch that `batch` chooses for it."""

    name = "turns"
    work_conserving = False  # a rank does not take over what belongs to another

    class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """`quantum_s`: how long a batch goes on before others may join it, at least one step."""

        quantum_s: float = 0.1

    def __init__(self, options: Options | None = None) -> None:
        self._options = options or self.Options()

    @abstractmethod
    def batch(self, view: View, rank: Rank, jobs: Sequence[Job]) -> list[Job]:
        """Who shares the next chunk, out of the jobs of a rank that are in none; never empty."""

    def plan(self, view: View) -> Plan:
        free = list(view.free)
        if not free:
            return Plan()
        launches: list[Chunk] = []
        for rank, jobs in dispatched(view).items():
            chunk = self._turn(view, rank, jobs, free) if rank in free else None
            if chunk is not None:
                launches.append(chunk)
                free = [other for other in free if other not in chunk.group]
        return Plan(launches=tuple(launches))

    def _turn(self, view: View, rank: Rank, jobs: Sequence[Job], free: Sequence[Rank]) -> Chunk | None:
        ready = [job for job in jobs if job.chunk is None]
        while ready:
            members = self.batch(view, rank, ready)
            group = group_at(view, members[0], rank, free)
            if group is not None:
                return chunk_of(view, members, group, self._options.quantum_s)
            ready.remove(members[0])  # there is no place for it now, and it must not block the others
        return None
