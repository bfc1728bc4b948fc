"""The ranks: which are free, what runs on the others, which weights are resident, how much memory is taken.

Rules: a rank is in at most one running chunk (L4); memory of a rank = resident parts + bytes held for the jobs whose
home it is + the peak of its running chunk. The pool does not know why anything runs.

A rank has failed a part as often as its loads have failed since it last arrived there, or since the rank joined.
"""

from __future__ import annotations

from bisect import bisect_left, insort

from sfumato.core.journal import Checkpoint
from sfumato.core.values import Group, PartId, Rank, RankInfo, Running

TRIES = 3  # loads of a part in a row that fail on a rank, until nobody waits for that rank


class Pool:
    """All ranks that are up."""

    def __init__(self) -> None:
        self.ranks: dict[Rank, RankInfo] = {}
        self.free: list[Rank] = []  # sorted
        self.draining: set[Rank] = set()
        self.running: dict[int, Running] = {}
        self.on: dict[Rank, int] = {}  # busy rank -> seq of its chunk
        self.resident: dict[Rank, dict[PartId, int]] = {}  # part -> bytes, in order of loading
        self.loading: dict[Rank, dict[PartId, int]] = {}
        self.failed: dict[Rank, dict[PartId, int]] = {}  # loads that failed in a row
        self.held: dict[str, tuple[Group, int]] = {}  # job -> (home, bytes on each of its ranks)
        self.held_bytes: dict[Rank, int] = {}
        self.weight_bytes: dict[Rank, int] = {}  # of the parts that are resident or on their way

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take up what a checkpoint tells."""
        for info in checkpoint.ranks:
            self.join(info, checkpoint.resident[info.rank])
            for part, size in checkpoint.loading[info.rank].items():
                self.load(info.rank, part, size)
            self.failed[info.rank].update(checkpoint.failed.get(info.rank, {}))
        for running in checkpoint.running:
            self.start(running)
        for job, (group, size) in checkpoint.held.items():
            self.hold(job, group, size)
        if checkpoint.draining:
            self.drain(checkpoint.draining)

    def join(self, info: RankInfo, parts: dict[PartId, int]) -> None:
        self.ranks[info.rank] = info
        self.resident[info.rank] = dict(parts)
        self.loading[info.rank] = {}
        self.failed[info.rank] = {}
        self.held_bytes[info.rank] = 0
        self.weight_bytes[info.rank] = sum(parts.values())
        self.draining.discard(info.rank)
        self._release(info.rank)

    def leave(self, rank: Rank) -> list[Running]:
        """Forget a rank; returns the chunks that ended with it."""
        ended = [self.end(self.on[rank])] if rank in self.on else []
        for job in [job for job, (home, _) in self.held.items() if rank in home]:
            self.forget(job)
        self._occupy(rank)
        for table in (self.ranks, self.resident, self.loading, self.failed, self.held_bytes, self.weight_bytes):
            table.pop(rank, None)
        self.draining.discard(rank)
        return ended

    def drain(self, ranks: Group) -> None:
        """Take ranks out of planning; what runs on them goes on to the end of its chunk."""
        for rank in ranks or tuple(self.ranks):
            self.draining.add(rank)
            self._occupy(rank)

    def start(self, running: Running) -> None:
        self.running[running.seq] = running
        for rank in running.chunk.group:
            self._occupy(rank)
            self.on[rank] = running.seq

    def end(self, seq: int) -> Running:
        """A chunk ended: its ranks are free again."""
        running = self.running.pop(seq)
        for rank in running.chunk.group:
            del self.on[rank]
            self._release(rank)
        return running

    def hold(self, job: str, group: Group, size: int) -> None:
        """A job's latent lives on `group` now, taking `size` bytes on each of its ranks."""
        known = self.held.get(job)
        if known == (group, size):
            return
        if known:
            self.forget(job)
        self.held[job] = (group, size)
        for rank in group:
            self.held_bytes[rank] += size

    def forget(self, job: str) -> None:
        home, size = self.held.pop(job, ((), 0))
        for rank in home:
            self.held_bytes[rank] -= size

    def load(self, rank: Rank, part: PartId, size: int) -> None:
        """A part is on its way; its bytes count from now on."""
        self.loading[rank][part] = size
        self.weight_bytes[rank] += size

    def loaded(self, rank: Rank, part: PartId) -> None:
        """A part has arrived; one that nobody was waiting for (the rank died since, and has it again) counts for
        nothing."""
        self.resident[rank].setdefault(part, self.loading[rank].pop(part, 0))
        self.failed[rank].pop(part, None)

    def load_failed(self, rank: Rank, part: PartId) -> None:
        self.weight_bytes[rank] -= self.loading[rank].pop(part, 0)
        self.failed[rank][part] = self.failed[rank].get(part, 0) + 1

    def tries_in_vain(self, rank: Rank, part: PartId) -> bool:
        """Whether a rank has failed a part `TRIES` times in a row."""
        return self.failed[rank].get(part, 0) >= TRIES

    def try_once_more(self, part: PartId) -> None:
        """Where a part was tried in vain, one more failure says so again."""
        for rank in self.ranks:
            if self.tries_in_vain(rank, part):
                self.failed[rank][part] = TRIES - 1

    def drop(self, rank: Rank, part: PartId) -> None:
        self.weight_bytes[rank] -= self.resident[rank].pop(part)

    def used_bytes(self, rank: Rank) -> int:
        """Bytes of weights (also those on their way) and held jobs on a rank."""
        return self.weight_bytes[rank] + self.held_bytes[rank]

    def _release(self, rank: Rank) -> None:
        if rank in self.ranks and rank not in self.draining and rank not in self.on:
            insort(self.free, rank)

    def _occupy(self, rank: Rank) -> None:
        place = bisect_left(self.free, rank)
        if place < len(self.free) and self.free[place] == rank:
            del self.free[place]
