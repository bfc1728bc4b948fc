"""Attention within segments of one long run of tokens: a segment's queries see its own keys and no others.

On a CPU each segment is a call of torch's attention: the fastest of what gives the same numbers there (measured:
docs/decisions/0012). On a GPU in 16 bit it is one call of torch's variable-length kernel (written to its
documentation; it has not run here). Attention to some of the keys also tells by how much it counts beside the rest.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, pad, scaled_dot_product_attention


class Segments:
    """Which run of queries sees which run of keys."""

    def __init__(self, queries: Sequence[int], keys: Sequence[int] | None = None) -> None:
        """`queries` and `keys` (by default the same) are tokens of each segment, in the order of the runs."""
        self.queries = list(queries)
        self.keys = list(queries if keys is None else keys)
        self._bounds: tuple[Tensor, Tensor] | None = None

    @property
    def recalls(self) -> bool:
        """Whether queries see more than the keys that are handed in: `seen` adds what was kept."""
        return False

    def seen(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """The keys and values that queries see, from those that are handed in."""
        return k, v

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """`q` [queries, heads, D], `k` and `v` [keys, heads, D]; returns [queries, heads, D]."""
        k, v = self.seen(k, v)
        if not len(q):
            return q
        if len(self.queries) > 1 and q.is_cuda and q.dtype in (torch.float16, torch.bfloat16):
            return self._at_once(q, k, v)
        return self._one_by_one(q, k, v)

    def _one_by_one(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        runs = zip(q.split(self.queries), k.split(self.keys), v.split(self.keys), strict=True)
        seen = [_attention(*run) for run in runs if len(run[0])]
        return seen[0] if len(seen) == 1 else torch.cat(seen)

    def _at_once(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        from torch.nn.attention.varlen import varlen_attn

        if self._bounds is None:
            self._bounds = _bounds(self.queries, q.device), _bounds(self.keys, q.device)
        q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
        return varlen_attn(q, k, v, *self._bounds, max(self.queries), max(self.keys))  # type: ignore[return-value]


class Partial(NamedTuple):
    """What queries see of some of their keys: `seen` [queries, heads, D], and `weight` [queries, heads], the logarithm
    of the sum of exponents over those keys. In float32 or wider.
    """

    seen: Tensor
    weight: Tensor


def partial_attention(q: Tensor, k: Tensor, v: Tensor) -> Partial:
    """`q` [queries, heads, D], `k` and `v` [keys, heads, D], at least one of each.

    By the kernels inside torch's own attention, which alone tell the weight (in torch 2.13; they take no masks here).
    Those of GPUs want widths that are multiples of 8 and may round the length of the weight up; they have not run here.
    """
    length, wide = len(q), q.shape[2]
    scale = wide**-0.5
    q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
    if not q.is_cuda:
        seen, weight = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, scale=scale)
    else:
        q, k, v = (pad(x, (0, -wide % 8)) for x in (q, k, v))
        if q.dtype in (torch.float16, torch.bfloat16):
            seen, weight = torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, scale=scale)[:2]
        else:
            seen, weight = torch.ops.aten._scaled_dot_product_efficient_attention(q, k, v, None, True, scale=scale)[:2]
    seen, weight = seen[0].transpose(0, 1)[..., :wide], weight[0, :, :length].transpose(0, 1)
    return Partial(seen.to(weight.dtype), weight)


def merged(one: Partial | None, other: Partial) -> Partial:
    """What the queries see of the keys of both."""
    if one is None:
        return other
    more = other.weight - one.weight
    return Partial(torch.lerp(one.seen, other.seen, more.sigmoid()[..., None]), one.weight - logsigmoid(-more))


def _attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Of one segment; heads lead for torch's attention."""
    q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
    return scaled_dot_product_attention(q, k, v)[0].transpose(0, 1)


def _bounds(lengths: list[int], device: torch.device) -> Tensor:
    """Where each run begins and the last ends, as the kernel takes it."""
    return torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32, device=device)
