"""What CogVideoX takes from inside diffusers: rotary positions, the forward pass over a `Pack`, decode in pieces.

It leans on the submodules of CogVideoXTransformer3DModel and on the order of their modulations
(transformers/cogvideox_transformer_3d.py of the pinned version), and on the loop of AutoencoderKLCogVideoX._decode:
look here when those change. The models themselves are not touched. Text and video are two streams of the same weights;
text is as long as the model was trained with, whatever the prompt, and its padding is attended to.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.models.embeddings import apply_rotary_emb, get_3d_rotary_pos_embed
from diffusers.pipelines.cogvideo.pipeline_cogvideox import get_resize_crop_region_for_grid
from torch import Tensor

from sfumato.models.group import Group
from sfumato.models.sequence import Pack

TEXT, VIDEO = 0, 1
Rope = tuple[Tensor, Tensor]


def rotary(config: Any, latent: Tensor) -> Rope | None:
    """Cosines and sines [tokens, D] of the places in `latent` [1, f, c, h, w]; None for a model without them (2B)."""
    if not config.use_rotary_positional_embeddings:
        return None
    _, frames, _, *pixels = latent.shape
    grid = pixels[0] // config.patch_size, pixels[1] // config.patch_size
    trained = config.sample_height // config.patch_size, config.sample_width // config.patch_size
    size = {"embed_dim": config.attention_head_dim, "grid_size": grid, "device": latent.device}
    if config.patch_size_t is None:
        crops = get_resize_crop_region_for_grid(grid, trained[1], trained[0])
        return get_3d_rotary_pos_embed(crops_coords=crops, temporal_size=frames, **size)  # type: ignore[no-any-return]
    # 1.5 cuts its grid out of one of the trained size, which a portrait would not fit in: its places are the same
    most = max(trained[0], grid[0]), max(trained[1], grid[1])
    kind = {"crops_coords": None, "grid_type": "slice", "max_size": most}
    return get_3d_rotary_pos_embed(temporal_size=frames // config.patch_size_t, **kind, **size)  # type: ignore[no-any-return]


def predict(
    model: Any,
    *,
    latents: list[Tensor],
    texts: list[Tensor],
    times: Tensor,
    group: Group | None,
    across: Group | None,
) -> list[Tensor]:
    """The prediction [1, f, c, h, w] for each member of the batch (see `Pack.gather` for `across`).

    `latents` [1, f, c, h, w] and `texts` [1, tokens, D] of each member; `times` [B].
    """
    emb = model.time_embedding(model.time_proj(times).to(latents[0].dtype))
    tokens = [model.patch_embed(text, latent) for text, latent in zip(texts, latents, strict=True)]
    lengths = [text.shape[1] for text in texts]
    pack = Pack(lengths, [x.shape[1] - n for x, n in zip(tokens, lengths, strict=True)], group=group, across=across)
    text = pack.shard([x[:, :n] for x, n in zip(tokens, lengths, strict=True)], TEXT)
    video = pack.shard([x[:, n:] for x, n in zip(tokens, lengths, strict=True)], VIDEO)
    rope = _rope(model.config, pack, latents)
    for block in model.transformer_blocks:
        text, video = _block(block, pack, text, video, emb, rope)
    shift, scale = pack.each(model.norm_out.linear(model.norm_out.silu(emb)), VIDEO).chunk(2, dim=-1)
    video = model.norm_out.norm(model.norm_final(video)) * (1 + scale) + shift
    predicted = pack.gather(model.proj_out(video), VIDEO)
    shapes = [latent.shape for latent in latents] * (len(predicted) // len(latents))
    return [_unpatch(x, shape, model.config) for x, shape in zip(predicted, shapes, strict=True)]


def _rope(config: Any, pack: Pack, latents: list[Tensor]) -> Rope | None:
    """Cosines and sines [s, D] of the own tokens of the video."""
    every = [rope for latent in latents if (rope := rotary(config, latent)) is not None]
    if not every:
        return None
    cosines, sines = (pack.shard([values[None] for values in side], VIDEO)[0] for side in zip(*every, strict=True))
    return cosines, sines


def _block(
    block: Any, pack: Pack, text: Tensor, video: Tensor, emb: Tensor, rope: Rope | None
) -> tuple[Tensor, Tensor]:
    """A CogVideoXBlock."""
    normed, text_gate, video_gate = _modulate(block.norm1, pack, text, video, emb)
    seen = _attend(block.attn1, pack, normed, text.shape[1], rope)
    text = text + text_gate * seen[:, : text.shape[1]]
    video = video + video_gate * seen[:, text.shape[1] :]
    normed, text_gate, video_gate = _modulate(block.norm2, pack, text, video, emb)
    out = block.ff(normed)
    return text + text_gate * out[:, : text.shape[1]], video + video_gate * out[:, text.shape[1] :]


def _modulate(norm: Any, pack: Pack, text: Tensor, video: Tensor, emb: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Both streams normed and modulated, joined, and their gates (CogVideoXLayerNormZero)."""
    for_video, for_text = norm.linear(norm.silu(emb)).chunk(2, dim=1)
    shift, scale, video_gate = pack.each(for_video, VIDEO).chunk(3, dim=-1)
    text_shift, text_scale, text_gate = pack.each(for_text, TEXT).chunk(3, dim=-1)
    text, video = norm.norm(text) * (1 + text_scale) + text_shift, norm.norm(video) * (1 + scale) + shift
    return torch.cat([text, video], dim=1), text_gate, video_gate


def _attend(attn: Any, pack: Pack, tokens: Tensor, text: int, rope: Rope | None) -> Tensor:
    """Joint attention of [1, s, D], of which the first `text` have no place."""
    q, k, v = (side(tokens).unflatten(2, (attn.heads, -1)) for side in (attn.to_q, attn.to_k, attn.to_v))
    q, k = attn.norm_q(q), attn.norm_k(k)
    if rope is not None:
        q, k = (torch.cat([x[:, :text], apply_rotary_emb(x[:, text:], rope, sequence_dim=1)], dim=1) for x in (q, k))
    return attn.to_out[0](pack.attend(q, k, v).flatten(2, 3))  # type: ignore[no-any-return]


def _unpatch(tokens: Tensor, shape: torch.Size, config: Any) -> Tensor:
    """Tokens [1, tokens, values of a patch] as a latent of `shape` [1, f, c, h, w]."""
    deep, side = config.patch_size_t, config.patch_size
    frames, height, width = shape[1] // (deep or 1), shape[3] // side, shape[4] // side
    if deep is None:
        cut = tokens.reshape(1, frames, height, width, -1, side, side).permute(0, 1, 4, 2, 5, 3, 6)
        return cut.flatten(5, 6).flatten(3, 4)
    cut = tokens.reshape(1, frames, height, width, -1, deep, side, side).permute(0, 1, 5, 4, 2, 6, 3, 7)
    return cut.flatten(6, 7).flatten(4, 5).flatten(1, 2)


def pieces(vae: Any, frames: int) -> int:
    """In how many pieces the decoder takes that many latent frames."""
    return max(frames // int(vae.num_latent_frames_batch_size), 1)


def decode_piece(vae: Any, latents: Tensor, index: int, cache: Any) -> tuple[Tensor, Any]:
    """Pixels [1, 3, frames, H, W] of piece `index` of `latents` [1, c, f, h, w], and the cache for the next.

    A piece is two latent frames, the first of an odd number three: the group norms go over the frames of a piece, so
    no other cut gives the same pixels. `cache` is that of the piece before, None for the first.
    """
    size, odd = vae.num_latent_frames_batch_size, latents.shape[2] % vae.num_latent_frames_batch_size
    piece = latents[:, :, size * index + (odd if index else 0) : size * (index + 1) + odd]
    if vae.post_quant_conv is not None:
        piece = vae.post_quant_conv(piece)
    return vae.decoder(piece, conv_cache=cache)  # type: ignore[no-any-return]
