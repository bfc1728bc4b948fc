"""The forward pass of FLUX.1's transformer over a `Pack`, from the submodules of diffusers' FluxTransformer2DModel.

It leans on their names and on the order of their modulations (transformers/transformer_flux.py of the pinned version):
look here when that changes. The model itself is not touched. Text and image are two streams; the blocks of the first
kind have weights for each, those of the second kind work on both joined.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from diffusers.models.embeddings import apply_rotary_emb
from torch import Tensor
from torch.nn.functional import silu

from sfumato.models.group import Group
from sfumato.models.reuse import Layer, Pick, Reuse, Streams
from sfumato.models.sequence import Pack

TEXT, IMAGE = 0, 1
Rope = tuple[Tensor, Tensor]


def predict(
    model: Any,
    *,
    images: list[Tensor],
    texts: list[Tensor],
    image_ids: list[Tensor],
    text_ids: list[Tensor],
    pooled: Tensor,
    times: Tensor,
    guidance: Tensor | None,
    group: Group | None,
    across: Group | None,
    reuse: Reuse | None = None,
) -> list[Tensor]:
    """The prediction [1, tokens, channels] for each member of the batch (see `Pack.gather` for `across`).

    `images` and `texts` are [1, tokens, channels] of each member and the ids [tokens, 3]; `pooled` [B, D], `times` and
    `guidance` [B] as the model's own forward takes them.
    """
    pack = Pack([x.shape[1] for x in texts], [x.shape[1] for x in images], group=group, across=across)
    image, text = model.x_embedder(pack.shard(images, IMAGE)), model.context_embedder(pack.shard(texts, TEXT))
    scales = [times] if guidance is None else [times, guidance]
    embedded = silu(model.time_text_embed(*(scale.to(image.dtype) * 1000 for scale in scales), pooled))
    ids = [[x[None] for x in text_ids], [x[None] for x in image_ids]]
    if reuse is not None:
        _, image = reuse.through(pack, (text, image), partial(_layout, model, ids, embedded))
    else:
        rope = _rope(model, pack, ids)
        for block in model.transformer_blocks:
            text, image = _apart(block, pack, text, image, embedded, rope)
        joined = torch.cat([text, image], dim=1)
        for block in model.single_transformer_blocks:
            joined = _joined(block, pack, joined, embedded, rope)
        image = joined[:, text.shape[1] :]
    scale, shift = pack.each(model.norm_out.linear(embedded.to(image.dtype)), IMAGE).chunk(2, dim=-1)
    return pack.gather(model.proj_out(model.norm_out.norm(image) * (1 + scale) + shift), IMAGE)


def _rope(model: Any, pack: Pack, ids: list[list[Tensor]]) -> Rope:
    """Of the own tokens, from the ids [1, tokens, 3] of each stream's members."""
    own = [pack.shard(each, stream) for stream, each in enumerate(ids)]
    return model.pos_embed(torch.cat(own, dim=1)[0])  # type: ignore[no-any-return]


def _layout(model: Any, ids: list[list[Tensor]], embedded: Tensor, pack: Pack, pick: Pick) -> list[Layer]:
    """All blocks as functions of text and image, over the tokens that `pick` leaves of them."""
    rope = _rope(model, pack, [pick(stream, each) for stream, each in enumerate(ids)])

    def apart(block: Any) -> Layer:
        return lambda own: _apart(block, pack, own[TEXT], own[IMAGE], embedded, rope)

    def joined(block: Any) -> Layer:
        def layer(own: Streams) -> Streams:
            after = _joined(block, pack, torch.cat(own, dim=1), embedded, rope)
            return after.tensor_split([own[TEXT].shape[1]], dim=1)

        return layer

    return [*map(apart, model.transformer_blocks), *map(joined, model.single_transformer_blocks)]


def _apart(block: Any, pack: Pack, text: Tensor, image: Tensor, embedded: Tensor, rope: Rope) -> tuple[Tensor, Tensor]:
    """A block with weights for each stream (FluxTransformerBlock)."""
    attn = block.attn
    to_text = pack.each(block.norm1_context.linear(embedded), TEXT).chunk(6, dim=-1)
    to_image = pack.each(block.norm1.linear(embedded), IMAGE).chunk(6, dim=-1)
    from_text = block.norm1_context.norm(text) * (1 + to_text[1]) + to_text[0]
    from_image = block.norm1.norm(image) * (1 + to_image[1]) + to_image[0]
    q = torch.cat([attn.norm_added_q(_heads(attn, attn.add_q_proj(from_text))), _query(attn, from_image)], dim=1)
    k = torch.cat([attn.norm_added_k(_heads(attn, attn.add_k_proj(from_text))), _key(attn, from_image)], dim=1)
    v = torch.cat([_heads(attn, attn.add_v_proj(from_text)), _heads(attn, attn.to_v(from_image))], dim=1)
    seen = _attend(pack, q, k, v, rope)
    image = image + to_image[2] * attn.to_out[0](seen[:, text.shape[1] :])
    text = text + to_text[2] * attn.to_add_out(seen[:, : text.shape[1]])
    image = image + to_image[5] * block.ff(block.norm2(image) * (1 + to_image[4]) + to_image[3])
    text = text + to_text[5] * block.ff_context(block.norm2_context(text) * (1 + to_text[4]) + to_text[3])
    return _clip(text), image


def _joined(block: Any, pack: Pack, joined: Tensor, embedded: Tensor, rope: Rope) -> Tensor:
    """A block on text and image alike (FluxSingleTransformerBlock)."""
    attn = block.attn
    shift, scale, gate = pack.each(block.norm.linear(embedded)).chunk(3, dim=-1)
    tokens = block.norm.norm(joined) * (1 + scale) + shift
    seen = _attend(pack, _query(attn, tokens), _key(attn, tokens), _heads(attn, attn.to_v(tokens)), rope)
    wide = block.act_mlp(block.proj_mlp(tokens))
    return _clip(joined + gate * block.proj_out(torch.cat([seen, wide], dim=2)))


def _heads(attn: Any, tokens: Tensor) -> Tensor:
    heads: Tensor = tokens.unflatten(-1, (-1, attn.head_dim))
    return heads


def _query(attn: Any, tokens: Tensor) -> Tensor:
    return attn.norm_q(_heads(attn, attn.to_q(tokens)))  # type: ignore[no-any-return]


def _key(attn: Any, tokens: Tensor) -> Tensor:
    return attn.norm_k(_heads(attn, attn.to_k(tokens)))  # type: ignore[no-any-return]


def _attend(pack: Pack, q: Tensor, k: Tensor, v: Tensor, rope: Rope) -> Tensor:
    """Attention of [1, s, heads, D], as [1, s, heads * D]."""
    q, k = (apply_rotary_emb(x, rope, sequence_dim=1) for x in (q, k))
    return pack.attend(q, k, v).flatten(2, 3)


def _clip(tokens: Tensor) -> Tensor:
    """What the model's own blocks do against overflow."""
    return tokens.clip(-65504, 65504) if tokens.dtype == torch.float16 else tokens
