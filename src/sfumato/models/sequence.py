"""One engine for packing and sequence parallelism: tokens of several requests in one run, spread over a group.

A `Pack` describes the batch: for each stream of tokens (text, image, ...) how many each member of the batch has. Each
stream is joined over the members and cut into equal slices, one a rank (Ulysses: everything but attention works on the
own slice; for attention the ranks swap tokens for heads, so each sees all tokens with some of the heads, and back).
Where the heads do not divide, as many neighbours as can share them swap so, and keys and values go round (`ring`).
Members of the batch never see each other, and nothing sees the padding that makes slices equal. Padding counts as
tokens of the last member where a number for it is needed; what is computed there is finite and thrown away.

A family's packed forward is then: `shard` its tokens, run the blocks of the model on the slices with `attend` for
their attention and `each` for what differs from member to member (modulation), and `gather` the prediction.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain, pairwise
from math import gcd

import torch
from torch import Tensor
from torch.nn.functional import pad

from sfumato.models.attention import Segments
from sfumato.models.group import Group
from sfumato.models.ring import Ring


class Pack:
    """A batch of unlike members on a group, as one rank of it sees it.

    In what follows s is the number of own tokens of a stream: those of all its members over the size of the group,
    rounded up. Attention over some of the streams only (image to image, say) takes a pack of its own, of these streams
    and the same group: slices of a stream do not depend on the other streams.
    """

    def __init__(
        self,
        *streams: Iterable[int],
        group: Group | None = None,
        across: Group | None = None,
        segments: Segments | None = None,
    ) -> None:
        """`streams`: of each stream, the tokens that each member of the batch has, in the same order of members.

        `group` None or of one rank: alone, and no collective is called. `across` is a group made of several such
        groups, one run of ranks after the other, which compute packs of the same lengths (the passes of guidance on
        the halves of a group); see `gather`. `segments` attend instead of those that the lengths say.
        """
        self.streams = tuple(tuple(lengths) for lengths in streams)
        self.group = group if group is not None and group.size > 1 else None
        self.across = across
        self.size, self.rank = (self.group.size, self.group.rank) if self.group else (1, 0)
        self._own = [-(-sum(lengths) // self.size) for lengths in self.streams]
        self._segments = segments or Segments([sum(lengths) for lengths in zip(*self.streams, strict=True)])
        self._reading: dict[tuple[int, ...], Segments] = {}
        self._whose: dict[tuple[int, ...], Tensor] = {}
        self._order: tuple[Tensor, Tensor] | None = None
        self._joined = False
        self._rings: dict[int, Ring] = {}

    @property
    def members(self) -> int:
        """The size of the batch."""
        return len(self.streams[0])

    def own(self, stream: int = 0) -> list[int]:
        """How many of the own s tokens of a stream each member has; padding counts for the last member."""
        begin = self.rank * self._own[stream]
        ends = [sum(self.streams[stream][: i + 1]) for i in range(self.members)]
        ends[-1] = self.size * self._own[stream]
        cuts = [min(max(end - begin, 0), self._own[stream]) for end in [0, *ends]]
        return [after - before for before, after in pairwise(cuts)]

    def present(self, stream: int = 0) -> list[int]:
        """The members, by their index, that have any of the own tokens of a stream."""
        return [member for member, tokens in enumerate(self.own(stream)) if tokens]

    # Into slices and back.

    def shard(self, parts: Sequence[Tensor], stream: int = 0) -> Tensor:
        """The own slice [1, s, ...] of `parts`, a [1, tokens, ...] of each member; padded with zeros."""
        joined = parts[0] if len(parts) == 1 else torch.cat(list(parts), dim=1)
        if self.size == 1:
            return joined
        s = self._own[stream]
        piece = joined[:, self.rank * s : (self.rank + 1) * s]
        missing = s - piece.shape[1]
        return pad(piece, (0, 0) * (piece.ndim - 2) + (0, missing)) if missing else piece

    def each(self, values: Tensor, *streams: int) -> Tensor:
        """`values` [members, ...] for each own token of `streams` (by default of all), one stream after the other.

        [1, s, ...]; where the batch has one member [1, 1, ...], to be broadcast.
        """
        if self.members == 1:
            return values[:, None]
        index = self._whose.get(streams)
        if index is None:
            own = [self.own(stream) for stream in streams or range(len(self.streams))]
            whose = torch.arange(self.members).repeat(len(own)).repeat_interleave(torch.tensor([*chain(*own)]))
            index = self._whose[streams] = whose.to(values.device)
        return values.index_select(0, index)[None]

    def gather(self, own: Tensor, stream: int = 0) -> list[Tensor]:
        """The whole [1, tokens, ...] of each member from the slices [1, s, ...] of all ranks, the same on all of them.

        With `across`: those of the first group's pack, then those of the second's.
        """
        group = self.across or self.group
        rows = own if group is None else group.all_gather(own[0].contiguous())
        lengths = self.streams[stream]
        runs = rows.reshape(-1, self.size * own.shape[1], *own.shape[2:])[:, : sum(lengths)]
        return [part for run in runs for part in run[None].split(lengths, dim=1)]

    # Attention.

    def width(self, heads: int) -> int:
        """How many neighbours share so many heads: as many as can. It divides the group and the heads."""
        return gcd(self.size, heads)

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Each member's tokens of all streams attend to each other.

        `q`, `k`, `v` [1, own tokens of the first stream, then of the second, ..., heads, D]; the same is returned.
        As many neighbours as can share the heads do; where that is not the whole group, a ring joins the runs of them.
        """
        if self.group is None:
            return self._attend(q[0], k[0], v[0])[None]
        width = self.width(q.shape[2])
        if width == 1:
            return self._attend_in_ring(width, q[0], k[0], v[0])[None]
        run = self.group if width == self.size else self.group.split(self.size // width)
        by_heads = [x[0].unflatten(1, (width, -1)).transpose(0, 1) for x in (q, k, v)]
        tokens = run.all_to_all(torch.stack(by_heads, dim=2))  # [width, s, 3, heads / width, D]
        of_run = tokens.flatten(0, 1).unbind(1)
        seen = self._attend(*of_run) if width == self.size else self._attend_in_ring(width, *of_run)
        heads = run.all_to_all(seen.unflatten(0, (width, -1)).contiguous())
        return heads.transpose(0, 1).flatten(1, 2)[None]

    def attend_to(self, q: Tensor, k: Tensor, v: Tensor, keys: Sequence[int], stream: int = 0) -> Tensor:
        """Own tokens of a stream, `q` [1, s, heads, D], attend to what its members have elsewhere, say their text.

        `k`, `v` [1, sum of `keys`, heads, D] hold the whole of it for the members `present`, `keys` tokens each. No
        collective is called.
        """
        segments = self._reading.get((stream, *keys))
        if segments is None:
            own = [tokens for tokens in self.own(stream) if tokens]
            segments = self._reading[stream, *keys] = Segments(own, keys)
        return segments.attend(q[0], k[0], v[0])[None]

    def _attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Tokens of all ranks, one rank after the other [tokens, heads, D]: by member, attended, and back in place."""
        if not self._joined:
            self._order, self._joined = self._find_order(q.device), True
        tokens = sum(self._segments.queries)
        if self._order is None:
            seen = self._segments.attend(q[:tokens], k[:tokens], v[:tokens])
            return pad(seen, (0, 0, 0, 0, 0, len(q) - tokens)) if len(q) > tokens else seen
        order, back = self._order
        return self._segments.attend(*(x.index_select(0, order) for x in (q, k, v))).index_select(0, back)

    def _attend_in_ring(self, width: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Tokens of the ranks of a run, one rank after the other [tokens, heads / width, D]; the same is returned.

        What was kept of a request is that of all its tokens, wherever they are computed now: there the keys and values
        of all blocks are gathered first.
        """
        if self.group is None:
            raise ValueError("one rank is no ring")
        ring = self._rings.get(width)
        if ring is None:
            ring = self._rings[width] = Ring(self.group, width, self._places(), width * sum(self._own))
        if not self._segments.recalls:
            return ring.attend(q, k, v)
        order = torch.cat(self._places()).to(q.device)
        keys, values = self._segments.seen(*ring.gather(torch.stack((k, v))).index_select(1, order))
        return ring.put(Segments(ring.own, self._segments.keys).attend(ring.pick(q), keys, values))

    def _find_order(self, device: torch.device) -> tuple[Tensor, Tensor] | None:
        """Where the tokens lie, member by member and in each stream by stream, and where each went.

        None if they lie so already, with the padding behind them.
        """
        order = torch.cat(self._places())
        index = torch.arange(len(order))
        if torch.equal(order, index):
            return None
        back = torch.zeros(self.size * sum(self._own), dtype=torch.long).index_copy(0, order, index)
        return order.to(device), back.to(device)

    def _places(self) -> list[Tensor]:
        """Where the tokens of each member, stream by stream, lie among those of all ranks, one rank after the other."""
        places, before, row = [], 0, sum(self._own)
        for lengths, own in zip(self.streams, self._own, strict=True):
            index = torch.arange(sum(lengths))
            place = index // max(own, 1) * row + before + index % max(own, 1)
            places.append(place.split(lengths))
            before += own
        return [torch.cat(runs) for runs in zip(*places, strict=True)]
