"""Random checkpoints of CogVideoX and HunyuanVideo, as in checkpoints.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLCogVideoX,
    AutoencoderKLHunyuanVideo,
    CogVideoXDDIMScheduler,
    CogVideoXDPMScheduler,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
    FlowMatchEulerDiscreteScheduler,
    HunyuanVideoPipeline,
    HunyuanVideoTransformer3DModel,
)
from diffusers.pipelines.hunyuan_video.pipeline_hunyuan_video import DEFAULT_PROMPT_TEMPLATE
from transformers import LlamaConfig, LlamaModel, PreTrainedTokenizerFast

from .checkpoints import CARD, TOKENS, byte_tokenizer, clip, t5

COGVIDEOX_SAMPLERS: dict[str, Any] = {
    "ddim": lambda: CogVideoXDDIMScheduler(prediction_type="v_prediction", timestep_spacing="trailing"),
    "dpm": lambda: CogVideoXDPMScheduler(prediction_type="v_prediction", timestep_spacing="trailing"),
}


def cogvideox(folder: Path, *, sampler: str = "ddim", rotary: bool = False, newer: bool = False) -> Path:
    """A CogVideoX: `rotary` places are those of the 5B model, `newer` is 1.5, here with dynamic guidance."""
    torch.manual_seed(0)
    transformer = CogVideoXTransformer3DModel(
        num_attention_heads=4,
        attention_head_dim=16,
        in_channels=4,
        out_channels=4,
        time_embed_dim=8,
        text_embed_dim=16,
        num_layers=2,
        sample_width=8 if newer else 2,
        sample_height=8 if newer else 4,
        sample_frames=9,
        patch_size_t=2 if newer else None,
        max_text_seq_length=TOKENS,
        use_rotary_positional_embeddings=rotary or newer,
    )
    vae = AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4,
        up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(4, 4, 4, 4),
        latent_channels=4,
        layers_per_block=1,
        norm_num_groups=2,
    )
    CogVideoXPipeline(
        tokenizer=byte_tokenizer(),
        text_encoder=t5(),
        vae=vae.eval(),
        transformer=transformer.eval(),
        scheduler=COGVIDEOX_SAMPLERS[sampler](),
    ).save_pretrained(folder)
    frames = ', "frames": {"min": 9, "max": 33, "step": 8}, "default_frames": 9, "fps": 8'
    dynamic = ', "dynamic_guidance": true' if newer else ""
    (folder / "sfumato.json").write_text(CARD % ("cogvideox", frames + dynamic))
    return folder


def hunyuan_video(folder: Path, *, distilled: bool = True) -> Path:
    """A HunyuanVideo: `distilled` takes guidance as an input; else guidance above 1 is a second pass."""
    torch.manual_seed(0)
    transformer = HunyuanVideoTransformer3DModel(
        in_channels=4,
        out_channels=4,
        num_attention_heads=4,
        attention_head_dim=10,
        num_layers=1,
        num_single_layers=1,
        num_refiner_layers=1,
        guidance_embeds=distilled,
        text_embed_dim=16,
        pooled_projection_dim=16,
        rope_axes_dim=(2, 4, 4),
    )
    vae = AutoencoderKLHunyuanVideo(
        latent_channels=4,
        down_block_types=("HunyuanVideoDownBlock3D",) * 4,
        up_block_types=("HunyuanVideoUpBlock3D",) * 4,
        block_out_channels=(4, 4, 4, 4),
        layers_per_block=1,
        norm_num_groups=2,
    )
    HunyuanVideoPipeline(
        text_encoder=llama(),
        tokenizer=llama_tokenizer(),
        transformer=transformer.eval(),
        vae=vae.eval(),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
        text_encoder_2=clip(positions=77),
        tokenizer_2=byte_tokenizer(),
    ).save_pretrained(folder)
    frames = ', "frames": {"min": 1, "max": 33, "step": 4}, "default_frames": 9, "fps": 8'
    (folder / "sfumato.json").write_text(CARD % ("hunyuan_video", frames))
    return folder


def llama() -> LlamaModel:
    """Of three layers, because the last two are not used."""
    size = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 2, "num_hidden_layers": 3}
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0, "vocab_size": 400}
    return LlamaModel(LlamaConfig(**size, **ids)).eval()


def llama_tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte, but the template in front of a prompt is just the tokens that the pipeline cuts off again."""
    before, tokens = DEFAULT_PROMPT_TEMPLATE["template"].split("{}")[0], DEFAULT_PROMPT_TEMPLATE["crop_start"]
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens([before[tokens - 1 :]])
    return tokenizer
