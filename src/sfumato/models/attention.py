"""Attention within segments of one long run of tokens: a segment's queries see its own keys and no others.

On a CPU each segment is a call of torch's attention: the fastest of what gives the same numbers there (measured:
docs/decisions/0012). On a GPU in 16 bit it is one call of torch's variable-length kernel (written to its
documentation; it has not run here).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


class Segments:
    """Which run of queries sees which run of keys."""

    def __init__(self, queries: Sequence[int], keys: Sequence[int] | None = None) -> None:
        """`queries` and `keys` (by default the same) are tokens of each segment, in the order of the runs."""
        self.queries = list(queries)
        self.keys = list(queries if keys is None else keys)
        self._bounds: tuple[Tensor, Tensor] | None = None

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """`q` [queries, heads, D], `k` and `v` [keys, heads, D]; returns [queries, heads, D]."""
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


def _attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Of one segment; heads lead for torch's attention."""
    q, k, v = (x.transpose(0, 1)[None] for x in (q, k, v))
    return scaled_dot_product_attention(q, k, v)[0].transpose(0, 1)


def _bounds(lengths: list[int], device: torch.device) -> Tensor:
    """Where each run begins and the last ends, as the kernel takes it."""
    return torch.tensor([0, *itertools.accumulate(lengths)], dtype=torch.int32, device=device)
