"""What HunyuanVideo takes from inside diffusers: the forward pass over a `Pack`, and decode in pieces.

It leans on the submodules of HunyuanVideoTransformer3DModel and on the order of their modulations
(transformers/transformer_hunyuan_video.py of the pinned version), and on AutoencoderKLHunyuanVideo's decode by
temporal tiles: look here when those change. The models themselves are not touched. Video and text are two streams; the
blocks of the first kind have weights for each, those of the second kind work on both joined. Nothing attends to the
padding of a text, so here it is cut off: a pack is shorter than what the model's own forward computes.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.embeddings import apply_rotary_emb
from torch import Tensor

from sfumato.models import rows
from sfumato.models.group import Group
from sfumato.models.sequence import Pack

VIDEO, TEXT = 0, 1
Rope = tuple[Tensor, Tensor]


def predict(
    model: Any,
    *,
    latents: list[Tensor],
    texts: list[Tensor],
    pooled: Tensor,
    times: Tensor,
    guidance: Tensor | None,
    group: Group | None,
    across: Group | None,
) -> list[Tensor]:
    """The prediction [1, c, f, h, w] for each member of the batch (see `Pack.gather` for `across`).

    `latents` [1, c, f, h, w] and `texts` [1, tokens, D], without padding, of each member; `pooled` [B, D], `times` and
    `guidance` [B] as the model's own forward takes them.
    """
    emb, _ = model.time_text_embed(times, pooled, guidance)
    patches = [model.x_embedder(latent) for latent in latents]
    refined = [model.context_embedder(text, times[i : i + 1]) for i, text in enumerate(texts)]
    pack = Pack([x.shape[1] for x in patches], [x.shape[1] for x in refined], group=group, across=across)
    video, text = pack.shard(patches, VIDEO), pack.shard(refined, TEXT)
    sides = zip(*(model.rope(latent) for latent in latents), strict=True)
    cosines, sines = (pack.shard([values[None] for values in side], VIDEO)[0] for side in sides)
    for block in model.transformer_blocks:
        video, text = _apart(block, pack, video, text, emb, (cosines, sines))
    joined = torch.cat([video, text], dim=1)
    for block in model.single_transformer_blocks:
        joined = _joined(block, pack, joined, video.shape[1], emb, (cosines, sines))
    video = joined[:, : video.shape[1]]
    out = model.norm_out
    scale, shift = pack.each(out.linear(out.silu(emb).to(video.dtype)), VIDEO).chunk(2, dim=-1)
    predicted = pack.gather(model.proj_out(out.norm(video) * (1 + scale) + shift), VIDEO)
    shapes = [latent.shape for latent in latents] * (len(predicted) // len(latents))
    return [_unpatch(x, shape, model.config) for x, shape in zip(predicted, shapes, strict=True)]


def _apart(block: Any, pack: Pack, video: Tensor, text: Tensor, emb: Tensor, rope: Rope) -> tuple[Tensor, Tensor]:
    """A block with weights for each stream (HunyuanVideoTransformerBlock)."""
    attn, own = block.attn, video.shape[1]
    to_video = pack.each(block.norm1.linear(block.norm1.silu(emb)), VIDEO).chunk(6, dim=-1)
    to_text = pack.each(block.norm1_context.linear(block.norm1_context.silu(emb)), TEXT).chunk(6, dim=-1)
    from_video = block.norm1.norm(video) * (1 + to_video[1]) + to_video[0]
    from_text = block.norm1_context.norm(text) * (1 + to_text[1]) + to_text[0]
    q, k, v = _project(attn, from_video, rope)
    text_q, text_k, text_v = (
        side(from_text).unflatten(2, (attn.heads, -1)) for side in (attn.add_q_proj, attn.add_k_proj, attn.add_v_proj)
    )
    q, k = torch.cat([q, attn.norm_added_q(text_q)], dim=1), torch.cat([k, attn.norm_added_k(text_k)], dim=1)
    seen = pack.attend(q, k, torch.cat([v, text_v], dim=1)).flatten(2, 3)
    video = video + attn.to_out[0](seen[:, :own]) * to_video[2]
    text = text + attn.to_add_out(seen[:, own:]) * to_text[2]
    video = video + to_video[5] * block.ff(block.norm2(video) * (1 + to_video[4]) + to_video[3])
    text = text + to_text[5] * block.ff_context(block.norm2_context(text) * (1 + to_text[4]) + to_text[3])
    return video, text


def _joined(block: Any, pack: Pack, joined: Tensor, video: int, emb: Tensor, rope: Rope) -> Tensor:
    """A block on both streams alike (HunyuanVideoSingleTransformerBlock); the first `video` tokens have places."""
    shift, scale, gate = pack.each(block.norm.linear(block.norm.silu(emb))).chunk(3, dim=-1)
    tokens = block.norm.norm(joined) * (1 + scale) + shift
    seen = pack.attend(*_project(block.attn, tokens, rope, video)).flatten(2, 3)
    wide = block.act_mlp(block.proj_mlp(tokens))
    return joined + gate * block.proj_out(torch.cat([seen, wide], dim=2))  # type: ignore[no-any-return]


def _project(attn: Any, tokens: Tensor, rope: Rope, placed: int | None = None) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values [1, s, heads, D] of tokens, of which the first `placed` (by default all) have places."""
    q, k, v = (side(tokens).unflatten(2, (attn.heads, -1)) for side in (attn.to_q, attn.to_k, attn.to_v))
    q, k = attn.norm_q(q), attn.norm_k(k)
    if placed is None:
        return apply_rotary_emb(q, rope, sequence_dim=1), apply_rotary_emb(k, rope, sequence_dim=1), v
    q, k = (torch.cat([apply_rotary_emb(x[:, :placed], rope, sequence_dim=1), x[:, placed:]], dim=1) for x in (q, k))
    return q, k, v


def _unpatch(tokens: Tensor, shape: torch.Size, config: Any) -> Tensor:
    """Tokens [1, tokens, values of a patch] as a latent of `shape` [1, c, f, h, w]."""
    deep, side = config.patch_size_t, config.patch_size
    grid = shape[2] // deep, shape[3] // side, shape[4] // side
    cut = tokens.reshape(1, *grid, -1, deep, side, side).permute(0, 4, 1, 5, 2, 6, 3, 7)
    return cut.flatten(6, 7).flatten(4, 5).flatten(2, 3)


def pieces(vae: Any, frames: int) -> int:
    """In how many tiles that many latent frames are decoded: each shows three more, the first also that before them."""
    stride = vae.tile_sample_stride_num_frames // vae.temporal_compression_ratio
    return max(-(-(frames - 1) // int(stride)), 1)


def decode_piece(
    vae: Any, latents: Tensor, index: int, before: Tensor | None, group: Group | None = None
) -> tuple[Tensor, Tensor]:
    """Pixels [1, 3, frames, H, W] of tile `index` of `latents` [1, c, f, h, w], and what the next is blended with.

    A tile reaches over the beginning of the next, and that blends from one to the other; `before` is None for the
    first. On a group the ranks share its rows. Tile by tile this is AutoencoderKLHunyuanVideo's decode, which also
    decodes a last tile that shows nothing.
    """
    ratio = vae.temporal_compression_ratio
    length, stride = vae.tile_sample_min_num_frames // ratio, vae.tile_sample_stride_num_frames // ratio
    latent = latents[:, :, index * stride : index * stride + length + 1]
    tile = rows.spread(lambda own: vae.decoder(vae.post_quant_conv(own)), latent, group)
    blended = vae.tile_sample_min_num_frames - vae.tile_sample_stride_num_frames
    if before is not None:
        tile = vae.blend_t(before, tile[:, :, 1:], blended)
    shown = vae.tile_sample_stride_num_frames + (index == 0)
    return tile[:, :, :shown], tile[:, :, -blended:].clone()
