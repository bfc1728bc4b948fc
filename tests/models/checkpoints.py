"""Checkpoints with random weights, made from configuration alone and saved as any other: the oracle's material."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLWan,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    LCMScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    UniPCMultistepScheduler,
    WanPipeline,
    WanTransformer3DModel,
)
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

TOKENS = 24  # what the text encoders read, said by a card: padded to 512 the text would take most of the time
SIZES = '{"min": 16, "max": 64, "multiple": 16}'
CARD = f'{{"family": "%s", "max_prompt_tokens": {TOKENS}, "sizes": {SIZES}%s}}'


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte."""
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    vocab = {token: i for i, token in enumerate(special + sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    named = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=32, **named)


def t5() -> T5EncoderModel:
    config = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2, "is_encoder_decoder": False}
    return T5EncoderModel(T5Config(vocab_size=300, relative_attention_num_buckets=8, **config)).eval()


def clip(positions: int = 32) -> CLIPTextModel:
    size = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_hidden_layers": 1}
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "vocab_size": 300}
    return CLIPTextModel(CLIPTextConfig(max_position_embeddings=positions, projection_dim=16, **size, **ids)).eval()


def flux(folder: Path, *, distilled: bool = False, layers: int = 1, seed: int = 0) -> Path:
    """A FLUX.1 with `layers` of each kind: `distilled` takes guidance as an input, else above 1 it is a second pass."""
    torch.manual_seed(seed)
    transformer = FluxTransformer2DModel(
        patch_size=1,
        in_channels=8,
        num_layers=layers,
        num_single_layers=layers,
        attention_head_dim=16,
        num_attention_heads=4,
        joint_attention_dim=16,
        pooled_projection_dim=16,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=distilled,
    )
    vae = AutoencoderKL(
        block_out_channels=(4, 4),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=2,
        norm_num_groups=1,
        use_quant_conv=False,
        use_post_quant_conv=False,
        shift_factor=0.06,
        scaling_factor=1.5,
    )
    FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=distilled),
        text_encoder=clip(),
        text_encoder_2=t5(),
        tokenizer=byte_tokenizer(),
        tokenizer_2=byte_tokenizer(),
        transformer=transformer.eval(),
        vae=vae.eval(),
    ).save_pretrained(folder)
    (folder / "sfumato.json").write_text(CARD % ("flux", ""))
    return folder


SAMPLERS: dict[str, Any] = {
    "euler": lambda: FlowMatchEulerDiscreteScheduler(shift=7.0),
    "noisy-euler": lambda: FlowMatchEulerDiscreteScheduler(shift=7.0, stochastic_sampling=True),
    "unipc": lambda: UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0),
}


def wan_transformer(layers: int = 1) -> WanTransformer3DModel:
    size = {"num_attention_heads": 4, "attention_head_dim": 12, "text_dim": 16, "freq_dim": 32, "ffn_dim": 24}
    channels = {"in_channels": 4, "out_channels": 4}
    return WanTransformer3DModel(
        num_layers=layers, rope_max_seq_len=32, cross_attn_norm=True, **size, **channels
    ).eval()


def wan(
    folder: Path,
    *,
    sampler: str = "euler",
    experts: int = 1,
    expand_timesteps: bool = False,
    layers: int = 1,
    seed: int = 0,
) -> Path:
    """A Wan: two `experts` and `expand_timesteps` are the two kinds of Wan 2.2; the second has a VAE of its own."""
    torch.manual_seed(seed)
    dense: dict[str, Any] = {"is_residual": True, "patch_size": 2, "in_channels": 12, "out_channels": 12}
    vae = AutoencoderKLWan(
        base_dim=3,
        z_dim=4,
        dim_mult=[1, 1, 1, 1],
        num_res_blocks=1,
        latents_mean=[0.1, -0.2, 0.3, 0.0],
        latents_std=[1.5, 2.0, 0.7, 1.1],
        **(dense | {"scale_factor_spatial": 16} if expand_timesteps else {}),
    )
    WanPipeline(
        transformer=wan_transformer(layers),
        transformer_2=wan_transformer(layers) if experts == 2 else None,
        boundary_ratio=0.8 if experts == 2 else None,
        expand_timesteps=expand_timesteps,
        vae=vae.eval(),
        scheduler=SAMPLERS[sampler](),
        text_encoder=t5(),
        tokenizer=byte_tokenizer(),
    ).save_pretrained(folder)
    frames = ', "frames": {"min": 1, "max": 21, "step": 4}, "default_frames": 9, "fps": 8'
    sizes = '{"min": 32, "max": 96, "multiple": 32}' if expand_timesteps else SIZES
    (folder / "sfumato.json").write_text((CARD % ("wan", frames)).replace(SIZES, sizes))
    return folder


def clip_projected() -> CLIPTextModelWithProjection:
    size = {"hidden_size": 8, "intermediate_size": 24, "num_attention_heads": 2, "num_hidden_layers": 2}
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "vocab_size": 300}
    config = CLIPTextConfig(max_position_embeddings=32, projection_dim=8, **size, **ids)
    return CLIPTextModelWithProjection(config).eval()


def image_vae() -> AutoencoderKL:
    """Four channels at half the size."""
    return AutoencoderKL(
        block_out_channels=(4, 4),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        latent_channels=4,
        norm_num_groups=1,
        shift_factor=0.06,
        scaling_factor=1.5,
    ).eval()


def sd3(folder: Path, *, dual: bool = False, seed: int = 0) -> Path:
    """A Stable Diffusion 3, or with `dual` attention a 3.5 medium, whose sampler also shifts by the size."""
    torch.manual_seed(seed)
    transformer = SD3Transformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=2,
        attention_head_dim=8,
        num_attention_heads=4,
        joint_attention_dim=16,
        caption_projection_dim=32,
        pooled_projection_dim=16,
        pos_embed_max_size=20,
        dual_attention_layers=(0,) if dual else (),
        qk_norm="rms_norm" if dual else None,
    )
    StableDiffusion3Pipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=dual),
        text_encoder=clip_projected(),
        text_encoder_2=clip_projected(),
        text_encoder_3=t5(),
        tokenizer=byte_tokenizer(),
        tokenizer_2=byte_tokenizer(),
        tokenizer_3=byte_tokenizer(),
        transformer=transformer.eval(),
        vae=image_vae(),
    ).save_pretrained(folder)
    (folder / "sfumato.json").write_text(CARD % ("sd3", ""))
    return folder


BETAS: dict[str, Any] = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
UNET_SAMPLERS: dict[str, Any] = {
    "euler": lambda: EulerDiscreteScheduler(**BETAS),
    "ancestral": lambda: EulerAncestralDiscreteScheduler(**BETAS, timestep_spacing="trailing"),
    "dpm": lambda: DPMSolverMultistepScheduler(**BETAS, use_karras_sigmas=True),
    "ddim": lambda: DDIMScheduler(**BETAS, clip_sample=False),
    "unipc": lambda: UniPCMultistepScheduler(**BETAS),
    "lcm": lambda: LCMScheduler(**BETAS),
}


def unet(*, distilled: bool = False) -> UNet2DConditionModel:
    """One that halves twice, as SDXL's does."""
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=(8, 8, 16),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        transformer_layers_per_block=(1, 1, 2),
        attention_head_dim=(2, 2, 4),
        norm_num_groups=4,
        cross_attention_dim=24,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 8,
        time_cond_proj_dim=16 if distilled else None,
    ).eval()


def sdxl(folder: Path, *, sampler: str = "euler", seed: int = 0) -> Path:
    """An SDXL; with the "lcm" sampler one that takes guidance as an input."""
    torch.manual_seed(seed)
    StableDiffusionXLPipeline(
        scheduler=UNET_SAMPLERS[sampler](),
        text_encoder=clip(),
        text_encoder_2=clip_projected(),
        tokenizer=byte_tokenizer(),
        tokenizer_2=byte_tokenizer(),
        unet=unet(distilled=sampler == "lcm"),
        vae=image_vae(),
    ).save_pretrained(folder)
    (folder / "sfumato.json").write_text(CARD % ("sdxl", ""))
    return folder
