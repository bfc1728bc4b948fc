"""Checkpoints of full-size architectures with random weights, to be profiled on a GPU: times do not ask what is drawn.

    python -m recipes.full_size flux1-dev checkpoints/flux1-dev
    sfumato profile --model flux1-dev=checkpoints/flux1-dev --out profiles/measured
    python -m bench.batching --device cuda:0 --model checkpoints/flux1-dev

The sizes are those of the published configs, 16 bit, and the files take what the published ones do (33 GB for
flux1-dev). Tokenizers are of bytes: prompts are padded to their length, so text encoders take their usual time.
`--layers` cuts every network to so many layers of a kind, to try the way; such a checkpoint is worth no profile.
Not run on a GPU yet.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors

CLIP_L = {"hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12, "num_hidden_layers": 12}
CLIP_G = {"hidden_size": 1280, "intermediate_size": 5120, "num_attention_heads": 20, "num_hidden_layers": 32}
T5_XXL = {"d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64}
VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
}
UNET = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
Parts = dict[str, Any]


def flux1_dev(layers: int) -> Parts:
    """FLUX.1-dev: 19 double and 38 single blocks, guidance as an input."""
    sizes = {"num_layers": _cut(19, layers), "num_single_layers": _cut(38, layers), "guidance_embeds": True}
    return {
        "transformer": diffusers.FluxTransformer2DModel(**sizes),
        "text_encoder": clip(CLIP_L, layers),
        "text_encoder_2": t5(layers),
        "vae": image_vae(16, 0.3611, 0.1159),
        "scheduler": sampler("FlowMatchEulerDiscreteScheduler", shift=3.0, use_dynamic_shifting=True),
        **tokenizers(77, 512),
    }


def sd35_medium(layers: int) -> Parts:
    """Stable Diffusion 3.5 medium: 24 blocks, 13 of them with a second attention."""
    count = _cut(24, layers)
    transformer = diffusers.SD3Transformer2DModel(
        num_layers=count,
        num_attention_heads=24,
        caption_projection_dim=1536,
        pos_embed_max_size=384,
        qk_norm="rms_norm",
        dual_attention_layers=tuple(range(min(13, count))),
        out_channels=16,
    )
    return {
        "transformer": transformer,
        "text_encoder": clip(CLIP_L, layers, projection=768),
        "text_encoder_2": clip(CLIP_G, layers, projection=1280),
        "text_encoder_3": t5(layers),
        "vae": image_vae(16, 1.5305, 0.0609),
        "scheduler": sampler("FlowMatchEulerDiscreteScheduler", shift=3.0),
        **tokenizers(77, 77, 256),
    }


def sdxl(layers: int) -> Parts:
    """Stable Diffusion XL base; `layers` leaves its UNet whole."""
    betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
    return {
        "unet": diffusers.UNet2DConditionModel(**UNET),
        "text_encoder": clip(CLIP_L, layers),
        "text_encoder_2": clip(CLIP_G, layers, projection=1280),
        "vae": image_vae(4, 0.13025, None, quant=True),
        "scheduler": sampler("EulerDiscreteScheduler", **betas),
        **tokenizers(77, 77),
    }


def wan21_1_3b(layers: int) -> Parts:
    """Wan 2.1 T2V 1.3B."""
    sizes = {"num_attention_heads": 12, "attention_head_dim": 128, "ffn_dim": 8960, "num_layers": _cut(30, layers)}
    flow = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}
    return {
        "transformer": diffusers.WanTransformer3DModel(**sizes),
        "text_encoder": t5(layers, vocabulary=256384, kind="UMT5"),
        "vae": diffusers.AutoencoderKLWan(),
        "scheduler": sampler("UniPCMultistepScheduler", **flow),
        **tokenizers(512),
    }


MODELS: dict[str, tuple[str, Callable[[int], Parts]]] = {
    "flux1-dev": ("FluxPipeline", flux1_dev),
    "sd35-medium": ("StableDiffusion3Pipeline", sd35_medium),
    "sdxl": ("StableDiffusionXLPipeline", sdxl),
    "wan2.1-1.3b": ("WanPipeline", wan21_1_3b),
}


def clip(size: dict[str, int], layers: int, projection: int = 0) -> Any:
    """CLIP's text side, with `projection` of the pooled text if it is above 0."""
    size = {**size, "num_hidden_layers": _cut(size["num_hidden_layers"], layers)}
    ids = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    kind = transformers.CLIPTextModelWithProjection if projection else transformers.CLIPTextModel
    return kind(transformers.CLIPTextConfig(projection_dim=projection or 768, **size, **ids))


def t5(layers: int, vocabulary: int = 32128, kind: str = "T5") -> Any:
    """The encoder of T5 1.1 XXL, or of UMT5."""
    size = {**T5_XXL, "num_layers": _cut(24, layers), "vocab_size": vocabulary, "feed_forward_proj": "gated-gelu"}
    config = getattr(transformers, f"{kind}Config")(is_encoder_decoder=False, **size)
    return getattr(transformers, f"{kind}EncoderModel")(config)


def image_vae(channels: int, scale: float, shift: float | None, *, quant: bool = False) -> Any:
    quants = {"use_quant_conv": quant, "use_post_quant_conv": quant}
    return diffusers.AutoencoderKL(latent_channels=channels, scaling_factor=scale, shift_factor=shift, **quants, **VAE)


def sampler(kind: str, **options: Any) -> Any:
    """A scheduler; its tables are numbers also where networks are made without memory."""
    with torch.device("cpu"):
        return getattr(diffusers, kind)(**options)


def tokenizers(*lengths: int) -> Parts:
    """tokenizer, tokenizer_2, ... of so many tokens, one a byte."""
    names = ("tokenizer", "tokenizer_2", "tokenizer_3")
    return {name: _bytes(length) for name, length in zip(names, lengths, strict=False)}


def filled(module: torch.nn.Module) -> torch.nn.Module:
    """A module that was made without memory, in 16 bit, with small random weights."""
    module = module.to(torch.bfloat16).to_empty(device="cpu")
    if hasattr(module, "tie_weights"):
        module.tie_weights()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.uniform_(-0.02, 0.02)
        for buffer in module.buffers():
            buffer.zero_()
    return module.eval()


def write(name: str, folder: Path, layers: int) -> None:
    """A checkpoint as save_pretrained writes it."""
    pipeline, parts_of = MODELS[name]
    with torch.device("meta"):
        parts = parts_of(layers)
    whole = {key: filled(part) if isinstance(part, torch.nn.Module) else part for key, part in parts.items()}
    getattr(diffusers, pipeline)(**whole).save_pretrained(folder)


def _cut(count: int, layers: int) -> int:
    return min(count, layers) if layers else count


def _bytes(length: int) -> Any:
    special = ["<pad>", "<s>", "</s>", "<unk>"]
    vocab = {token: i for i, token in enumerate(special + sorted(pre_tokenizers.ByteLevel.alphabet()))}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=[], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 2)])
    named = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=length, **named)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m recipes.full_size", description=__doc__)
    parser.add_argument("model", choices=sorted(MODELS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--layers", type=int, default=0, help="at most so many of a kind, to try the way")
    given = parser.parse_args()
    write(given.model, given.folder, given.layers)


if __name__ == "__main__":
    main()
