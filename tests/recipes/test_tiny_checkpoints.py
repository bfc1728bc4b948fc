"""The two shipped checkpoints load by the stock pipelines and keep to their cards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from diffusers import FluxPipeline, WanPipeline

import sfumato

CHECKPOINTS = Path(sfumato.__file__).parent / "checkpoints"


@pytest.fixture(scope="module")
def flux() -> FluxPipeline:
    return FluxPipeline.from_pretrained(CHECKPOINTS / "tiny-image", dtype=torch.float32)


@pytest.fixture(scope="module")
def wan() -> WanPipeline:
    return WanPipeline.from_pretrained(CHECKPOINTS / "tiny-video", dtype=torch.float32)


def test_both_checkpoints_together_stay_under_thirty_megabytes() -> None:
    assert sum(path.stat().st_size for path in CHECKPOINTS.rglob("*") if path.is_file()) < 30e6


@pytest.mark.parametrize("name", ["tiny-image", "tiny-video"])
def test_a_card_lies_beside_the_pipeline(name: str) -> None:
    card = json.loads((CHECKPOINTS / name / "sfumato.json").read_text())
    assert card["name"] == f"sfumato/{name}"
    assert card["sizes"] == {"min": 64, "max": 160, "multiple": 16}


def test_the_image_checkpoint_draws_a_picture_of_the_asked_size(flux: FluxPipeline) -> None:
    assert flux.vae_scale_factor == 8
    out = flux("a red circle", height=64, width=96, num_inference_steps=1, max_sequence_length=20, output_type="np")
    assert out.images.shape == (1, 64, 96, 3)


def test_the_video_checkpoint_draws_a_clip_of_the_asked_length(wan: WanPipeline) -> None:
    assert (wan.vae_scale_factor_spatial, wan.vae_scale_factor_temporal) == (8, 4)
    out = wan(
        "a red circle", height=64, width=80, num_frames=9, num_inference_steps=1, max_sequence_length=20,
        output_type="np",
    )  # fmt: skip
    assert out.frames.shape == (1, 9, 64, 80, 3)


def test_the_video_decoder_can_be_stepped_one_latent_frame_at_a_time(wan: WanPipeline) -> None:
    from diffusers.models.autoencoders.autoencoder_kl_wan import unpatchify

    vae = wan.vae
    latents = torch.randn(1, vae.config.z_dim, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        whole = vae.decode(latents, return_dict=False)[0]
        hidden, cache = vae.post_quant_conv(latents), [None] * vae._cached_conv_counts["decoder"]
        parts = [
            vae.decoder(hidden[:, :, i : i + 1], feat_cache=cache, feat_idx=[0], first_chunk=i == 0) for i in range(3)
        ]
    stepped = unpatchify(torch.cat(parts, 2), vae.config.patch_size).clamp(-1.0, 1.0)
    assert torch.equal(stepped, whole)
