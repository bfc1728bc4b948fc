"""The groups of ranks as the controller knows them: what each is called, which are warm, which are to be left.

A name is for one life of a group and never comes back, so a worker that was started anew, or one that was cut off, can
never meet the ranks of an older group. The groups used last stay warm; one that is left is closed by all its ranks,
and since each takes its messages in the order in which they were sent, none closes it under a chunk.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from uuid import uuid4

from sfumato.core.values import Group, Rank
from sfumato.runtime.wire import Leave, Meet, Message

WARM = 16  # of eight ranks: the seven of neighbours by twos, fours and eight, and others


class Names:
    """The names of the groups that are there, those used last at the end. `send` tells a rank."""

    def __init__(self, send: Callable[[Rank, Message], None], warm: int = WARM) -> None:
        self._send = send
        self._warm = warm
        self._server = uuid4().hex[:12]  # what other servers of the machine do not know
        self._numbers = count(1)
        self._names: dict[Group, str] = {}

    def of(self, ranks: Group) -> str:
        """The name of the group of these ranks, empty for one alone; a new one if the group is not there."""
        if len(ranks) == 1:
            return ""
        name = self._names.pop(ranks, None) or f"{self._server}-{next(self._numbers)}"
        self._names[ranks] = name
        for oldest in list(self._names)[: max(0, len(self._names) - self._warm)]:
            self._leave(oldest)
        return name

    def warm_up(self, ranks: int, widest: int) -> None:
        """Have the groups made that planners like most, of no more than `widest` ranks."""
        for group in neighbours(ranks):
            if len(group) <= widest:
                name = self.of(group)
                for rank in group:
                    self._send(rank, Meet(group=name, ranks=group))

    def broken(self, ranks: Group) -> None:
        """The group is no more: these ranks form a new one when they need it."""
        self._names.pop(ranks, None)

    def lose(self, rank: Rank) -> None:
        """The groups of a lost rank end with it."""
        for ranks in [ranks for ranks in self._names if rank in ranks]:
            self._leave(ranks)

    def _leave(self, ranks: Group) -> None:
        del self._names[ranks]
        for rank in ranks:
            self._send(rank, Leave(ranks=ranks))


def neighbours(ranks: int) -> list[Group]:
    """2, 4, 8, ... ranks in a row, each rank in one group of a size: (0, 1), (2, 3), (0, 1, 2, 3) of four."""
    sizes = [1 << power for power in range(1, ranks.bit_length())]
    return [tuple(range(first, first + size)) for size in sizes for first in range(0, ranks - size + 1, size)]
