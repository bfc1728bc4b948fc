"""The two pipelines as configurations: final shapes, untrained weights.

Both spend one token on 16x16 pixels (an 8x autoencoder and 2x2 patches), so 64 to 160 px a side are 16 to 100 tokens
a latent frame. Four heads, so that a group of 2 or 4 ranks can split them. No dropout anywhere: text encoders train
along with the transformer.
"""

from __future__ import annotations

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLWan,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    UniPCMultistepScheduler,
    WanPipeline,
    WanTransformer3DModel,
)
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel, UMT5Config, UMT5EncoderModel

from recipes.tiny.fields import IMAGE_CHANNELS, VIDEO_CHANNELS
from recipes.tiny.tokens import BOS, EOS, MAX_TOKENS, PAD, VOCABULARY_SIZE, make_tokenizer

# Fields are smooth, so they show through much noise and what the words decide is decided at noise levels above 0.9.
SHIFT = 4.0
TEXT_WIDTH = 128
# Wan reads the words by cross attention alone, so which colour and place go with which shape must be settled before;
# Flux goes on with that in its joint blocks. With two layers the clips of two shapes stayed unsettled (decision 18).
VIDEO_TEXT_LAYERS = 5
HEADS = 4
HEAD_WIDTH = 40
T5_SHAPE = {
    "vocab_size": VOCABULARY_SIZE,
    "d_model": TEXT_WIDTH,
    "d_kv": 32,
    "d_ff": 256,
    "num_layers": 2,
    "num_heads": 4,
    "relative_attention_num_buckets": 32,
    "relative_attention_max_distance": 32,
    "dropout_rate": 0.0,
    "feed_forward_proj": "gated-gelu",
    "pad_token_id": PAD,
    "eos_token_id": EOS,
    "is_encoder_decoder": False,
    "use_cache": False,
}


def build_image_pipeline(seed: int = 0) -> FluxPipeline:
    torch.manual_seed(seed)
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=4 * IMAGE_CHANNELS,
        num_layers=2,
        num_single_layers=5,
        attention_head_dim=HEAD_WIDTH,
        num_attention_heads=HEADS,
        joint_attention_dim=TEXT_WIDTH,
        pooled_projection_dim=TEXT_WIDTH,
        axes_dims_rope=(8, 16, 16),
    )
    vae = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(32, 48, 64, 96),
        layers_per_block=1,
        latent_channels=IMAGE_CHANNELS,
        norm_num_groups=1,
        sample_size=160,
        mid_block_add_attention=False,
        scaling_factor=1.0,
        shift_factor=0.0,
    )
    pipe = FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=SHIFT),
        vae=vae,
        text_encoder=CLIPTextModel(_clip_config()),
        tokenizer=make_tokenizer(with_start=True),
        text_encoder_2=T5EncoderModel(T5Config(**T5_SHAPE)),
        tokenizer_2=make_tokenizer(with_start=False),
        transformer=transformer,
    )
    _start_as_identity(transformer)
    start_with_places(transformer)
    start_with_neighbours(pipe.text_encoder_2)
    _start_as_passage(vae)
    return pipe


def build_video_pipeline(seed: int = 0) -> WanPipeline:
    torch.manual_seed(seed)
    transformer = WanTransformer3DModel(
        patch_size=(1, 2, 2),
        num_attention_heads=HEADS,
        attention_head_dim=HEAD_WIDTH,
        in_channels=VIDEO_CHANNELS,
        out_channels=VIDEO_CHANNELS,
        text_dim=TEXT_WIDTH,
        freq_dim=128,
        ffn_dim=480,
        num_layers=8,
        cross_attn_norm=True,
        qk_norm="rms_norm_across_heads",
        rope_max_seq_len=64,
    )
    vae = AutoencoderKLWan(
        # 64, 32 and, where each position draws 2x2 pixels of 3 colours, again 32: half of that drew blurred outlines
        base_dim=8,
        z_dim=VIDEO_CHANNELS,
        dim_mult=[4, 4, 8],
        num_res_blocks=1,
        temperal_downsample=[True, True],
        latents_mean=[0.0] * VIDEO_CHANNELS,
        latents_std=[1.0] * VIDEO_CHANNELS,
        in_channels=12,
        out_channels=12,
        patch_size=2,
        scale_factor_temporal=4,
        scale_factor_spatial=8,
    )
    pipe = WanPipeline(
        tokenizer=make_tokenizer(with_start=False),
        text_encoder=UMT5EncoderModel(UMT5Config(**{**T5_SHAPE, "num_layers": VIDEO_TEXT_LAYERS})),
        vae=vae,
        scheduler=UniPCMultistepScheduler(prediction_type="sample", use_flow_sigmas=True, flow_shift=SHIFT),
        transformer=transformer,
        transformer_2=None,
    )
    _start_as_identity(transformer)
    start_with_neighbours(pipe.text_encoder)
    _start_as_passage(vae)
    return pipe


def _clip_config() -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=VOCABULARY_SIZE,
        hidden_size=TEXT_WIDTH,
        intermediate_size=2 * TEXT_WIDTH,
        projection_dim=TEXT_WIDTH,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=MAX_TOKENS,
        bos_token_id=BOS,
        eos_token_id=EOS,
        pad_token_id=PAD,
    )


def _start_as_passage(vae: nn.Module) -> None:
    """Delta-orthogonal convolutions and silent residual branches: colours reach the output from the first step on.

    With the default weights the L1 error stood at 0.45 after 200 steps, as signals fade at each of about 20 layers.
    """
    for name, module in vae.named_modules():
        if not isinstance(module, nn.Conv2d | nn.Conv3d):
            continue
        if name.endswith("conv2") or name.endswith("attentions.0.proj"):
            nn.init.zeros_(module.weight)
        else:
            with torch.no_grad():
                module.weight.mul_(0.25)
            # The middle tap in space; in time the last, for these convolutions see only the past.
            tap = [size // 2 for size in module.kernel_size]
            if len(tap) == 3:
                tap[0] = module.kernel_size[0] - 1
            now = (slice(None), slice(None), *tap)
            with torch.no_grad():
                module.weight[now] += nn.init.orthogonal_(torch.empty(module.weight.shape[:2]))
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    quant = vae.quant_conv
    half = quant.out_channels // 2
    with torch.no_grad():
        quant.weight[half:] *= 0.1
        quant.bias[half:] = -5.0


def _start_as_identity(transformer: nn.Module) -> None:
    """Xavier weights, and zero modulation and output: blocks begin as identities, which trains faster (DiT)."""
    for name, module in transformer.named_modules():
        if not isinstance(module, nn.Linear):
            continue
        silent = name.endswith(("norm.linear", "norm1.linear", "norm1_context.linear", "norm_out.linear"))
        if silent or name in ("proj_out", "condition_embedder.time_proj"):
            nn.init.zeros_(module.weight)
        else:
            nn.init.xavier_uniform_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def start_with_places(transformer: FluxTransformer2DModel, seed: int = 0) -> None:
    """Two heads of the first block begin as rulers: their output grows with the row, and with the column.

    Rotary attention sees distances only, and the one fixed point is the text at the origin. Left to itself the model
    learned colours in 1,500 steps and had not begun to use the words for places after 3,000 (12% right, chance is 11%).
    A ruler head attends to the text with a logit of about 5 sin(0.1 row) against a constant for the image tokens.
    """
    attention = transformer.transformer_blocks[0].attn
    width, noise = attention.head_dim, torch.Generator().manual_seed(seed)
    for head, first in ((0, 12), (1, 28)):  # the pair of row and of column dimensions that turn by 0.1 a token
        rows = slice(head * width, (head + 1) * width)
        query, words_key, image_key = (torch.zeros(width) for _ in range(3))
        query[0], query[first + 1], words_key[first], image_key[0] = 0.34, -0.94, 1.0, 1.0
        value = torch.randn(width, generator=noise)
        spread = torch.randn(attention.to_out[0].weight.shape[0], width, generator=noise) * 1.5
        constants = {"to_q": query, "to_k": image_key, "to_v": 0 * value, "add_k_proj": words_key, "add_v_proj": value}
        with torch.no_grad():
            for name, constant in constants.items():
                layer = getattr(attention, name)
                layer.weight[rows] = 0.0
                layer.bias[rows] = constant
            attention.to_out[0].weight[:, rows] = spread
            attention.to_out[0].bias -= 0.6 * spread @ value


def start_with_neighbours(encoder: T5EncoderModel | UMT5EncoderModel) -> None:
    """Three heads begin by looking at the next word, the one after it, and the one before.

    Which colour belongs to "background" is a question of neighbours. Without this the clips had the two colours in the
    right roles in 42% of the cases after 7,300 steps: the stronger colour, not the word order, became the background.
    T5 has these biases in the first layer, UMT5 in each.
    """
    layers = [block.layer[0].SelfAttention for block in encoder.encoder.block]
    for attention in (layer for layer in layers if layer.has_relative_attention_bias):
        half = attention.relative_attention_num_buckets // 2  # later words are in the upper half of the buckets
        width = attention.key_value_proj_dim
        with torch.no_grad():
            for head, bucket in enumerate((half + 1, half + 2, 1)):
                attention.relative_attention_bias.weight[:, head] = 0.0
                attention.relative_attention_bias.weight[bucket, head] = 8.0
                attention.q.weight[head * width : (head + 1) * width] *= 0.1
