"""The pool as groups may be made of it: parts of equal ranks, and in each part the ranks of every machine.

Ranks of one kind of device that are equally fast are a part, and a group lies within one. Within a part it lies within
one machine, unless none is large enough or the way across costs nothing.
"""

from __future__ import annotations

from sfumato.core.values import Group, Rank, RankInfo, Value
from sfumato.core.view import View
from sfumato.policies.sfumato.residuals import Residuals


class Part(Value, frozen=True, kw_only=True):
    """Ranks of one device kind, `slow` times slower than the cost model says; `nodes` are the same ranks by machine."""

    ranks: Group
    device: str
    slow: float
    nodes: tuple[Group, ...]

    @property
    def widest(self) -> int:
        """The largest group within a machine."""
        return max(len(node) for node in self.nodes)


Parts = tuple[Part, ...]


class Map:
    """The parts of a pool; they stay the same object as long as nothing changes, which tells that at a glance."""

    def __init__(self) -> None:
        self.where: dict[Rank, tuple[int, int]] = {}  # rank -> its part, and which machine of that
        self._seen: tuple[tuple[RankInfo, ...], dict[Rank, float], float] = ((), {}, 1.0)
        self._parts: Parts = ()

    def read(self, view: View, residuals: Residuals) -> Parts:
        """The pool by device and speed, the largest part first."""
        slow = residuals.slowness()
        seen = tuple(view.ranks.values()), slow, residuals.usual if slow else 1.0
        if seen != self._seen:
            self._seen, self._parts = seen, _parts(*seen)
            self.where = {
                rank: (place, node)
                for place, part in enumerate(self._parts)
                for node, ranks in enumerate(part.nodes)
                for rank in ranks
            }
        return self._parts


def _parts(infos: tuple[RankInfo, ...], slow: dict[Rank, float], usual: float) -> Parts:
    found: dict[tuple[str, float], list[RankInfo]] = {}
    for info in infos:
        found.setdefault((info.device, usual * slow.get(info.rank, 1.0)), []).append(info)
    parts = [
        Part(ranks=tuple(sorted(info.rank for info in alike)), device=device, slow=times, nodes=_nodes(alike))
        for (device, times), alike in found.items()
    ]
    return tuple(sorted(parts, key=lambda part: (-len(part.ranks), part.slow, part.device)))


def _nodes(infos: list[RankInfo]) -> tuple[Group, ...]:
    found: dict[str, list[Rank]] = {}
    for info in infos:
        found.setdefault(info.node, []).append(info.rank)
    return tuple(tuple(sorted(ranks)) for _, ranks in sorted(found.items()))
