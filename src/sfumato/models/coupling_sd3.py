"""The forward pass of SD3's transformer over a `Pack`, from the submodules of diffusers' SD3Transformer2DModel.

It leans on their names and on the order of their modulations (attention.py and normalization.py of the pinned version):
look here when that changes. The model itself is not touched. Image and text are two streams that attend to each other;
in the blocks with dual attention (3.5 medium) the image attends to itself as well, which is a pack of that stream.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import calculate_shift
from torch import Tensor
from torch.nn.functional import linear, silu

from sfumato.models.group import Group
from sfumato.models.sequence import Pack

IMAGE, TEXT = 0, 1


def set_timesteps(scheduler: Any, steps: int, tokens: int, device: Any) -> None:
    """As StableDiffusion3Pipeline sets them: where the scheduler asks for it, shifted by the number of image tokens."""
    config, shift = scheduler.config, {}
    if config.get("use_dynamic_shifting"):
        bounds = {"base_image_seq_len": 256, "max_image_seq_len": 4096, "base_shift": 0.5, "max_shift": 1.16}
        shift["mu"] = calculate_shift(tokens, *(config.get(name, value) for name, value in bounds.items()))
    scheduler.set_timesteps(steps, device=device, **shift)


def predict(
    model: Any,
    *,
    latents: list[Tensor],
    texts: list[Tensor],
    pooled: Tensor,
    times: Tensor,
    group: Group | None,
    across: Group | None,
) -> list[Tensor]:
    """The prediction [1, channels, h, w] for each member of the batch (see `Pack.gather` for `across`).

    `latents` [1, channels, h, w] and `texts` [1, tokens, D] of each member; `pooled` [B, D] and `times` [B].
    """
    size = model.config.patch_size
    patches = [_patches(latent, size) for latent in latents]
    lengths = [x.shape[1] for x in patches]
    pack = Pack(lengths, [x.shape[1] for x in texts], group=group, across=across)
    alone = Pack(lengths, group=group)
    image, text = _embed(model.pos_embed, pack, latents, patches), model.context_embedder(pack.shard(texts, TEXT))
    embedded = silu(model.time_text_embed(times, pooled))
    for block in model.transformer_blocks:
        image, text = _block(block, pack, alone, image, text, embedded)
    scale, shift = pack.each(model.norm_out.linear(embedded), IMAGE).chunk(2, dim=-1)
    predicted = pack.gather(model.proj_out(model.norm_out.norm(image) * (1 + scale) + shift), IMAGE)
    shapes = [latent.shape for latent in latents] * (len(predicted) // len(latents))
    return [_unpatch(x, shape, size) for x, shape in zip(predicted, shapes, strict=True)]


def _embed(embed: Any, pack: Pack, latents: list[Tensor], patches: list[Tensor]) -> Tensor:
    """Own image tokens, each with its place in the middle of the grid that the model was trained on."""
    tokens = linear(pack.shard(patches, IMAGE), embed.proj.weight.flatten(1), embed.proj.bias)
    places = pack.shard([embed.cropped_pos_embed(*latent.shape[2:]) for latent in latents], IMAGE)
    return (tokens + places).to(tokens.dtype)


def _block(block: Any, pack: Pack, alone: Pack, image: Tensor, text: Tensor, embedded: Tensor) -> tuple[Tensor, Tensor]:
    """A JointTransformerBlock; the last one gives no text."""
    to_image = pack.each(block.norm1.linear(embedded), IMAGE).chunk(9 if block.use_dual_attention else 6, dim=-1)
    to_text = pack.each(block.norm1_context.linear(embedded), TEXT).chunk(2 if block.context_pre_only else 6, dim=-1)
    shift, scale = (to_text[1], to_text[0]) if block.context_pre_only else to_text[:2]
    normed = block.norm1.norm(image)
    from_image = normed * (1 + to_image[1]) + to_image[0]
    seen, read = _attend(block.attn, pack, from_image, block.norm1_context.norm(text) * (1 + scale) + shift)
    image = image + to_image[2] * seen
    if block.use_dual_attention:
        image = image + to_image[8] * _attend_alone(block.attn2, alone, normed * (1 + to_image[7]) + to_image[6])
    image = image + to_image[5] * block.ff(block.norm2(image) * (1 + to_image[4]) + to_image[3])
    if block.context_pre_only:
        return image, text
    text = text + to_text[2] * block.attn.to_add_out(read)
    return image, text + to_text[5] * block.ff_context(block.norm2_context(text) * (1 + to_text[4]) + to_text[3])


def _attend(attn: Any, pack: Pack, image: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
    """What image and text read from each other; that of the image is projected."""
    own = _heads(attn, image, attn.to_q, attn.to_k, attn.to_v, attn.norm_q, attn.norm_k)
    added = _heads(attn, text, attn.add_q_proj, attn.add_k_proj, attn.add_v_proj, attn.norm_added_q, attn.norm_added_k)
    seen = pack.attend(*(torch.cat(pair, dim=1) for pair in zip(own, added, strict=True))).flatten(2)
    return attn.to_out[0](seen[:, : image.shape[1]]), seen[:, image.shape[1] :]


def _attend_alone(attn: Any, alone: Pack, image: Tensor) -> Tensor:
    heads = _heads(attn, image, attn.to_q, attn.to_k, attn.to_v, attn.norm_q, attn.norm_k)
    return attn.to_out[0](alone.attend(*heads).flatten(2))  # type: ignore[no-any-return]


def _heads(
    attn: Any, tokens: Tensor, to_q: Any, to_k: Any, to_v: Any, norm_q: Any, norm_k: Any
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values [1, s, heads, D]; SD3 has no norms, 3.5 has."""
    q, k, v = (project(tokens).unflatten(-1, (attn.heads, -1)) for project in (to_q, to_k, to_v))
    return q if norm_q is None else norm_q(q), k if norm_k is None else norm_k(k), v


def _patches(latent: Tensor, size: int) -> Tensor:
    """The latent [1, c, h, w] as tokens [1, tokens, values of a patch], these in the order of the kernel."""
    return latent.unfold(2, size, size).unfold(3, size, size).permute(0, 2, 3, 1, 4, 5).flatten(1, 2).flatten(2)


def _unpatch(tokens: Tensor, shape: torch.Size, size: int) -> Tensor:
    """Tokens [1, tokens, values of a patch], channels last, as [1, channels, h, w] of the size of `shape`."""
    cut = tokens.reshape(1, shape[2] // size, shape[3] // size, size, size, -1)
    return cut.permute(0, 5, 1, 3, 2, 4).flatten(4).flatten(2, 3)
