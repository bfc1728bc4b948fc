"""Attention of a run of tokens that several ranks hold in blocks: keys and values go round, queries stay.

Ring Attention (arXiv 2310.01889), and around the heads that ranks share (Ulysses) the hybrid of USP (arXiv 2405.07719):
a group is cut into runs of `width` neighbours, each run holds one block of the tokens, and each rank of a run some of
the heads. The ring goes through the ranks of all runs that have the same heads. At no time does a rank hold more than
two blocks of keys and values. What queries see of one block is merged with the rest by the logarithm of its sum of
exponents, in float32. Members of a batch never see each other, and nothing sees padding, as in `sequence`.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import pad

from sfumato.models.attention import Partial, merged, partial_attention
from sfumato.models.group import Group


class Ring:
    """The blocks of one pack, as one rank of its group sees them."""

    def __init__(self, group: Group, width: int, places: Sequence[Tensor], block: int) -> None:
        """`places` of each member's tokens among those of all ranks, one rank after the other; `block`: a run's."""
        self.size = group.size // width
        self.index = group.rank // width
        self._group = group
        self._width = width
        self._block = block
        whose = [place // max(block, 1) for place in places]
        self._lengths = [[int((of == i).sum()) for of in whose] for i in range(self.size)]
        own = [place[of == self.index] - self.index * block for place, of in zip(places, whose, strict=True)]
        real = torch.cat(own)
        padding = torch.ones(block, dtype=torch.bool).index_fill(0, real, value=False).nonzero()[:, 0]
        self._order = torch.cat([real, padding])  # member by member, and stream by stream within
        self._back = self._order.argsort()

    @property
    def own(self) -> list[int]:
        """How many tokens of each member are in the own block."""
        return self._lengths[self.index]

    def pick(self, x: Tensor) -> Tensor:
        """The tokens [own tokens, ...] of the own block [block, ...] by member, without padding."""
        return x.index_select(0, self._order[: sum(self.own)].to(x.device))

    def put(self, x: Tensor) -> Tensor:
        """What was picked [own tokens, heads, D], back in its place [block, heads, D]; zeros where the padding is."""
        return pad(x, (0, 0, 0, 0, 0, self._block - len(x))).index_select(0, self._back.to(x.device))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Each member's tokens attend to each other; all [block, own heads, D]."""
        queries = self.pick(q).split(self.own)
        passing = torch.stack((k, v)).index_select(1, self._order.to(q.device))
        seen: list[Partial | None] = [None] * len(queries)
        for turn in range(self.size):
            if turn:
                passing = self._group.shift(passing, self._width)
            lengths = self._lengths[(self.index - turn) % self.size]
            keys, values = (x[: sum(lengths)].split(lengths) for x in passing)
            for member, (own, key, value) in enumerate(zip(queries, keys, values, strict=True)):
                if len(own) and len(key):
                    seen[member] = merged(seen[member], partial_attention(own, key, value))
        rows = [partial.seen for partial in seen if partial is not None]
        return self.put(torch.cat(rows).type_as(q) if rows else q[:0])

    def gather(self, own: Tensor) -> Tensor:
        """The blocks of all runs [2, size x block, own heads, D], from keys and values of the own [2, block, ...]."""
        blocks = [own] * self.size
        for turn in range(1, self.size):
            own = self._group.shift(own, self._width)
            blocks[(self.index - turn) % self.size] = own
        return torch.cat(blocks, dim=1)
