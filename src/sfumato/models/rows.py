"""A decoder on a group: each rank computes some rows of the picture, and all of them together the same picture.

The decoder itself is the stock one. While it runs on its rows, what reaches beyond a pixel gets the rest from the other
ranks: convolutions the rows next to the own ones, group norms the sums over all rows, attention all keys and values.
That is exact up to the order of sums. Everything else a decoder does (activations, norms of a pixel's channels,
doubling the size, causal time) stays within its rows. Rows are the last dimension but one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from sfumato.models.group import Group


def spread(function: Callable[[Tensor], Tensor], x: Tensor, group: Group | None) -> Tensor:
    """function(x), bit for bit the same on all ranks, each of which computed its share of the rows.

    `function` enlarges the rows by a whole number. It calls nothing that reaches beyond a pixel but convolutions with
    stride 1, group norms and attention over all pixels (of all frames, or by a mask of some); what it keeps of its rows
    stays here. With fewer rows than ranks, and without a group, everybody computes all of them.
    """
    if group is None or group.size == 1 or group.size > x.shape[-2]:
        return function(x)
    shares = x.tensor_split(group.size, dim=-2)
    own = shares[group.rank].contiguous()
    with _Shared(group):
        result = function(own)
    counts = [share.shape[-2] * (result.shape[-2] // own.shape[-2]) for share in shares]
    return _all(group, result, counts)


def _all(group: Group, own: Tensor, counts: list[int]) -> Tensor:
    """The parts of all ranks joined along the last dimension but one, of which each rank has as many as `counts`."""
    padded = functional.pad(own, (0, 0, 0, max(counts) - own.shape[-2])).contiguous()
    parts = group.all_gather(padded)
    return torch.cat([part[..., :count, :] for part, count in zip(parts, counts, strict=True)], dim=-2)


class _Shared(TorchFunctionMode):
    """Catches the operations that need other ranks' rows."""

    def __init__(self, group: Group) -> None:
        super().__init__()
        self._group = group
        self._ways: dict[Any, Callable[..., Tensor]] = {
            functional.conv2d: self._convolve,
            functional.conv3d: self._convolve,
            functional.pad: self._pad,
            functional.group_norm: self._normalise,
            functional.scaled_dot_product_attention: self._attend,
        }

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        way = self._ways.get(func)
        if way is None:
            return func(*args, **(kwargs or {}))
        return way(func, *args, **(kwargs or {})) if way == self._convolve else way(*args, **(kwargs or {}))

    def _convolve(
        self, func: Any, x: Tensor, weight: Tensor, bias: Any = None, stride: Any = 1, padding: Any = 0, *rest: Any
    ) -> Tensor:
        padding = list(padding) if isinstance(padding, tuple | list) else [padding] * (weight.ndim - 2)
        if padding[-2]:
            x, padding[-2] = self._beyond(x, padding[-2], replicate=False), 0
        return func(x, weight, bias, stride, padding, *rest)  # type: ignore[no-any-return]

    def _pad(self, x: Tensor, pad: Any, mode: str = "constant", value: float | None = None) -> Tensor:
        """Rows are added above and below before a convolution that adds none of its own."""
        pad = list(pad)
        if len(pad) > 3 and (pad[2] or pad[3]):
            assert pad[2] == pad[3], "as many rows above as below"
            assert mode == "replicate" or not value, "rows beyond the edge are zeros or the last ones"
            x, pad[2:4] = self._beyond(x, pad[2], replicate=mode == "replicate"), [0, 0]
        return functional.pad(x, pad, mode, value)

    def _beyond(self, x: Tensor, rows: int, *, replicate: bool) -> Tensor:
        """`x` with so many rows more above and below: the neighbours', at the edge of the picture zeros or the last."""
        rank, size = self._group.rank, self._group.size
        parts = x.new_zeros(size, *x.shape[:-2], rows, x.shape[-1])
        if rank:
            parts[rank - 1] = x[..., :rows, :]
        if rank + 1 < size:
            parts[rank + 1] = x[..., -rows:, :]
        got = self._group.all_to_all(parts)
        edge = x if replicate else torch.zeros_like(x[..., :1, :])
        above = got[rank - 1] if rank else edge[..., :1, :].expand_as(got[0])
        below = got[rank + 1] if rank + 1 < size else edge[..., -1:, :].expand_as(got[0])
        return torch.cat([above, x, below], dim=-2)

    def _normalise(
        self, x: Tensor, groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
    ) -> Tensor:
        wide = x.float().reshape(x.shape[0], groups, -1)
        variance, mean = torch.var_mean(wide, dim=2, correction=0)
        share = torch.full_like(mean, wide.shape[2])
        counts, means, variances = self._group.all_gather(torch.stack([share, mean, variance])).double().unbind(1)
        share = counts / counts.sum(0)
        mean = (share * means).sum(0)
        variance = (share * (variances + (means - mean) ** 2)).sum(0)
        normed = (wide - mean.float()[..., None]) * (variance + eps).rsqrt().float()[..., None]
        scale = (1, -1) + (1,) * (x.ndim - 2)
        normed = normed.view(x.shape)
        normed = normed if weight is None else normed * weight.view(scale)
        return (normed if bias is None else normed + bias.view(scale)).to(x.dtype)

    def _attend(self, q: Tensor, k: Tensor, v: Tensor, attn_mask: Any = None, *rest: Any, **options: Any) -> Tensor:
        """A mask speaks of frames: it says the same of all pixels of one."""
        own = k.shape[-2]
        counts = self._group.all_gather(torch.tensor([own], device=k.device)).flatten().tolist()
        k, v = _all(self._group, k, counts), _all(self._group, v, counts)
        if attn_mask is not None:  # for a pixel of another rank stands an own one of the same frame
            same = [torch.arange(count, device=k.device) * own // count for count in counts]
            attn_mask = attn_mask[..., torch.cat(same)]
        return functional.scaled_dot_product_attention(q, k, v, attn_mask, *rest, **options)
