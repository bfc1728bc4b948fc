"""The forward pass of Wan's transformer over a `Pack`, from the submodules of diffusers' WanTransformer3DModel.

It leans on their names and on the order of their modulations (transformers/transformer_wan.py of the pinned version):
look here when that changes. The model itself is not touched. Tokens of the video are the only stream: the blocks read
the text by cross attention, and every rank has the text of the members that it has tokens of.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import linear

from sfumato.models.group import Group
from sfumato.models.reuse import Layer, Pick, Reuse
from sfumato.models.sequence import Pack

Rope = tuple[Tensor, Tensor]


def predict(
    model: Any,
    *,
    latents: list[Tensor],
    texts: list[Tensor],
    times: Tensor,
    group: Group | None,
    across: Group | None,
    reuse: Reuse | None = None,
) -> list[Tensor]:
    """The prediction [1, channels, frames, h, w] for each member of the batch (see `Pack.gather` for `across`).

    `latents` [1, channels, frames, h, w] and `texts` [1, tokens, D] of each member; `times` [B] holds for all tokens of
    a member, which is what text-to-video gives the model that takes a time a token (2.2's 5B).
    """
    patches = [_patches(latent, model.config.patch_size) for latent in latents]
    pack = Pack([x.shape[1] for x in patches], group=group, across=across)
    embed = model.patch_embedding
    tokens = linear(pack.shard(patches), embed.weight.flatten(1), embed.bias)
    cosines, sines = zip(*(model.rope(latent) for latent in latents), strict=True)
    # who computes a choice of tokens next may then have some of other members
    read = texts if reuse else [texts[member] for member in pack.present()]
    time, modulation, text, _ = model.condition_embedder(times, torch.cat(read, dim=1))
    keys = [x.shape[1] for x in read]
    modulation = modulation.unflatten(1, (6, -1)).float()
    if reuse is not None:
        rope = [list(cosines), list(sines)]
        layout = partial(_layout, model, rope, modulation, text.split(keys, dim=1))
        (tokens,) = reuse.through(pack, (tokens,), layout)
    else:
        own = pack.shard(cosines)[..., 0::2], pack.shard(sines)[..., 1::2]
        for block in model.blocks:
            tokens = _block(block, pack, tokens, modulation, text, keys, own)
    shift, scale = pack.each(model.scale_shift_table + time[:, None]).unbind(2)
    tokens = (model.norm_out(tokens.float()) * (1 + scale) + shift).type_as(tokens)
    predicted = pack.gather(model.proj_out(tokens))
    shapes = [latent.shape for latent in latents] * (len(predicted) // len(latents))
    return [_unpatch(x, shape, model.config.patch_size) for x, shape in zip(predicted, shapes, strict=True)]


def _layout(
    model: Any, rope: list[list[Tensor]], modulation: Tensor, texts: Sequence[Tensor], pack: Pack, pick: Pick
) -> list[Layer]:
    """All blocks as functions of the tokens that `pick` leaves; `rope` and `texts` are those of all members."""
    cosines, sines = (pack.shard(pick(0, side)) for side in rope)
    own = cosines[..., 0::2], sines[..., 1::2]
    read = [texts[member] for member in pack.present()]
    text, keys = torch.cat(read, dim=1), [x.shape[1] for x in read]

    def layer(block: Any) -> Layer:
        return lambda tokens: (_block(block, pack, tokens[0], modulation, text, keys, own),)

    return [layer(block) for block in model.blocks]


def _block(
    block: Any, pack: Pack, tokens: Tensor, modulation: Tensor, text: Tensor, keys: list[int], rope: Rope
) -> Tensor:
    """A WanTransformerBlock."""
    shift, scale, gate, shift_out, scale_out, gate_out = pack.each(block.scale_shift_table + modulation).unbind(2)
    normed = (block.norm1(tokens.float()) * (1 + scale) + shift).type_as(tokens)
    tokens = (tokens.float() + _attend(block.attn1, pack, normed, rope) * gate).type_as(tokens)
    normed = block.norm2(tokens.float()).type_as(tokens)
    tokens = tokens + _read(block.attn2, pack, normed, text, keys)
    normed = (block.norm3(tokens.float()) * (1 + scale_out) + shift_out).type_as(tokens)
    fed: Tensor = tokens.float() + block.ffn(normed).float() * gate_out
    return fed.type_as(tokens)


def _attend(attn: Any, pack: Pack, tokens: Tensor, rope: Rope) -> Tensor:
    q, k = attn.norm_q(attn.to_q(tokens)), attn.norm_k(attn.to_k(tokens))
    q, k, v = (x.unflatten(2, (attn.heads, -1)) for x in (q, k, attn.to_v(tokens)))
    seen = pack.attend(_rotate(q, rope), _rotate(k, rope), v)
    return attn.to_out[0](seen.flatten(2, 3))  # type: ignore[no-any-return]


def _read(attn: Any, pack: Pack, tokens: Tensor, text: Tensor, keys: list[int]) -> Tensor:
    q, k = attn.norm_q(attn.to_q(tokens)), attn.norm_k(attn.to_k(text))
    q, k, v = (x.unflatten(2, (attn.heads, -1)) for x in (q, k, attn.to_v(text)))
    return attn.to_out[0](pack.attend_to(q, k, v, keys).flatten(2, 3))  # type: ignore[no-any-return]


def _rotate(x: Tensor, rope: Rope) -> Tensor:
    """Rotary positions on pairs of neighbouring channels."""
    cos, sin = rope
    one, two = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((one * cos - two * sin, one * sin + two * cos), dim=-1).flatten(-2).type_as(x)


def _patches(latent: Tensor, size: tuple[int, int, int]) -> Tensor:
    """The latent [1, c, f, h, w] as tokens [1, tokens, values of a patch], these in the order of the kernel."""
    cut = latent.unfold(2, size[0], size[0]).unfold(3, size[1], size[1]).unfold(4, size[2], size[2])
    return cut.permute(0, 2, 3, 4, 1, 5, 6, 7).flatten(1, 3).flatten(2)


def _unpatch(tokens: Tensor, shape: torch.Size, size: tuple[int, int, int]) -> Tensor:
    """Tokens [1, tokens, values of a patch], channels last, as a latent of the frames, height and width of `shape`."""
    grid = [length // patch for length, patch in zip(shape[2:], size, strict=True)]
    cut = tokens.reshape(1, *grid, *size, tokens.shape[2] // prod(size)).permute(0, 7, 1, 4, 2, 5, 3, 6)
    return cut.flatten(6, 7).flatten(4, 5).flatten(2, 3)
