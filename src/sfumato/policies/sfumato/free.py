"""The free ranks of a plan in the making: whose they may be, and which of them a group is best made of.

A group lies within one part of the pool and one machine of it (`parts`); a job's own ranks come first (no move).
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Collection, Sequence
from itertools import chain, islice

from sfumato.core.values import Group, Job, Rank
from sfumato.core.view import View
from sfumato.policies.sfumato.memory import Memory
from sfumato.policies.sfumato.outlook import Outlook
from sfumato.policies.sfumato.paces import Kind
from sfumato.policies.sfumato.parts import Map, Parts


class Free:
    """The free ranks by part and machine, as they are given away; `left` is how many there are."""

    def __init__(self, view: View, parts: Parts, places: Map, kinds: Sequence[Kind], memory: Memory) -> None:
        self._view, self._parts, self._kinds, self._memory = view, parts, kinds, memory
        self._where = places.where
        self._ranks: list[list[list[Rank]]] = [[[] for _ in part.nodes] for part in parts]
        for rank in view.free:
            part, node = self._where[rank]
            self._ranks[part][node].append(rank)
        self.left = len(view.free)

    def leave_out(self, ranks: Collection[Rank]) -> None:
        """Give nobody these ranks."""
        for rank in ranks:
            part, node = self._where[rank]
            if rank in self._ranks[part][node]:
                self.take(part, (rank,))

    def take(self, part: int, group: Group) -> None:
        """Give these away."""
        self.left -= len(group)
        for rank in group:
            self._ranks[part][self._where[rank][1]].remove(rank)

    def give_back(self, part: int, group: Group) -> None:
        """These are free again."""
        self.left += len(group)
        for rank in group:
            insort(self._ranks[part][self._where[rank][1]], rank)

    def has_room(self, kind: int, part: int, degree: int) -> bool:
        """Whether enough ranks are free for a group, whoever may use them."""
        free = self._ranks[part]
        if len(free) == 1:
            return len(free[0]) >= degree
        if self._across(kind, part, degree):
            return sum(map(len, free)) >= degree
        return any(len(node) >= degree for node in free)

    def group(self, o: Outlook, part: int, degree: int) -> Group | None:
        """Free ranks for a chunk of `degree`; None: too few are free, or have the weights and the memory."""
        return self._pick(o, part, degree, degree) if self.has_room(o.kind, part, degree) else None

    def wider(self, o: Outlook, part: int, degree: int, near: Group) -> Group | None:
        """The group `near` with free ranks beside it added, so that there are `degree`."""
        added = self._pick(o, part, degree - len(near), degree, near)
        return None if added is None else tuple(sorted((*near, *added)))

    def _across(self, kind: int, part: int, degree: int) -> bool:
        """Whether a group may lie across machines."""
        return degree > self._parts[part].widest or self._kinds[kind].across[part]

    def _pick(self, o: Outlook, part: int, count: int, degree: int, near: Group = ()) -> Group | None:
        """`count` free ranks for a chunk of `degree`, beside those `near`; None: too few have the weights and the
        memory.

        Where there are several machines: of the one that has most of the job's own, else the fewest free. A machine
        that is free as a whole is kept for who needs one: narrow groups move off it where another has room (256 ranks
        in machines of eight: .98 to 1.0).
        """
        free = self._ranks[part]
        home = o.job.home or ()
        if len(free) == 1:
            return self._first(o.job, free[0], degree, count)
        if self._across(o.kind, part, degree):
            nodes = sorted((ranks for ranks in free if ranks), key=lambda ranks: (-len(ranks), ranks))
            able = (rank for ranks in nodes for rank in ranks if self._is_able(o.job, rank, degree))
            found = tuple(sorted(islice(able, count)))
            return found if len(found) == count else None
        rooms = [self._where[near[0]][1]] if near else [node for node, ranks in enumerate(free) if len(ranks) >= count]
        whole = [degree < len(ranks) == len(node) for ranks, node in zip(free, self._parts[part].nodes, strict=True)]
        rooms.sort(key=lambda node: (whole[node], -sum(rank in free[node] for rank in home), len(free[node])))
        for node in rooms:
            group = self._first(o.job, free[node], degree, count)
            if group is not None:
                return group
        return None

    def _first(self, job: Job, free: Sequence[Rank], degree: int, count: int) -> Group | None:
        """The lowest free ranks that have the weights and the memory, the job's own before all; None: too few."""
        if len(free) < count:
            return None
        home = [rank for rank in job.home or () if rank in free]
        others = (rank for rank in free if rank not in home) if home else free
        able = (rank for rank in chain(home, others) if self._is_able(job, rank, degree))
        found = tuple(sorted(islice(able, count)))
        return found if len(found) == count else None

    def _is_able(self, job: Job, rank: Rank, degree: int) -> bool:
        """Whether a free rank has the weights and the memory."""
        return self._view.can_run(job, rank) and (self._memory.ample or self._memory.fits(job, degree, rank))
