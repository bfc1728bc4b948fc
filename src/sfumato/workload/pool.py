"""The simulated ranks of a workload: of which kinds, on which nodes, with what in memory, and what befalls them.

`workload.spec` shows how a file says it. A live server has its own ranks and takes nothing from here.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from sfumato.core.cost import NotNegative, Positive
from sfumato.core.values import RankInfo, Stage, Value

Count = Annotated[int, Meta(ge=1)]
Name = Annotated[str, Meta(min_length=1)]


class Ranks(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Ranks of one kind."""

    ranks: Count = 1
    device: Name = "cpu"
    nodes: Count = 1
    memory_gib: Positive | None = None
    holds: tuple[Stage, ...] = tuple(Stage)


class Trouble(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[[pool.troubles]]`: from `at_s` until `until_s` (None: for good) a rank is `dead`, or so many times slower."""

    rank: Annotated[int, Meta(ge=0)]
    at_s: NotNegative
    until_s: Positive | None = None
    dead: bool = False
    slowdown: Annotated[float, Meta(ge=1.0)] = 1.0


class PoolSpec(Ranks, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`[pool]`: the simulated ranks, those of other kinds in `also`, and the troubles of any of them."""

    also: tuple[Ranks, ...] = ()
    troubles: tuple[Trouble, ...] = ()

    def infos(self) -> tuple[RankInfo, ...]:
        """The ranks as the core knows them, numbered from 0."""
        found: list[RankInfo] = []
        nodes = 0
        for kind in (self, *self.also):
            memory = {} if kind.memory_gib is None else {"memory_bytes": int(kind.memory_gib * 2**30)}
            for place in range(kind.ranks):
                node = f"node{nodes + place * kind.nodes // kind.ranks}"
                found.append(RankInfo(rank=len(found), device=kind.device, node=node, **memory))
            nodes += kind.nodes
        return tuple(found)

    def holds_of(self) -> tuple[tuple[Stage, ...], ...]:
        """What each rank holds at the start, in the order of `infos`."""
        return tuple(kind.holds for kind in (self, *self.also) for _ in range(kind.ranks))
