"""HunyuanVideo: what its checkpoints offer, the padding of its text and the tiles of its decoder.

That it gives the pictures of the plain pipeline is shown with all families in test_contract.py.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sfumato.core.values import Shape, Stage
from sfumato.models import coupling_hunyuan_video as coupling
from sfumato.models.limits import FrameCard, SizeCard, hunyuan_video_limits

from .kinds import IN_TILES, task

SHAPE = IN_TILES[0]


def test_the_published_checkpoint_offers_what_it_was_trained_for() -> None:
    configs = {"transformer": {"guidance_embeds": True, "patch_size": 2}, "vae": {"spatial_compression_ratio": 8}}
    limits = hunyuan_video_limits({}, configs)
    assert limits["distilled"]
    assert (limits["sizes"], limits["frames"]) == (SizeCard(128, 1280, 16), FrameCard(1, 129, 4))
    assert (limits["default_size"], limits["default_frames"], limits["max_prompt_tokens"]) == ((1280, 720), 129, 256)


def test_prompts_of_unlike_lengths_differ_in_their_masks_and_share_a_plain_batch(model: Any, oracle: Any) -> None:
    used = model("hunyuan-video")
    states = used.encode([task(seed, 2, 6.0, SHAPE) for seed in (1, 2, 3)])
    assert len({int(state.conditioning["mask"].sum()) for state in states}) == 3
    used.step(states)
    for state in states:
        assert (state.latent - oracle("hunyuan-video", state.task).latents[0]).abs().max() <= 1e-5


@pytest.mark.parametrize("members", [1, 2])
def test_what_lies_in_the_padding_of_a_text_changes_nothing(members: int, model: Any) -> None:
    used, asked = model("hunyuan-video"), [task(2, 1, 6.0, SHAPE), task(3, 1, 6.0, IN_TILES[1])][:members]
    plain, spoilt = used.encode(asked), used.encode(asked)
    with torch.inference_mode():
        for state in spoilt:
            state.conditioning["embeds"][:, int(state.conditioning["mask"].sum()) :] = 1e3
    used.step(plain)
    used.step(spoilt)
    assert all(torch.equal(one.latent, other.latent) for one, other in zip(plain, spoilt, strict=True))


def test_every_number_of_frames_is_decoded_in_as_many_tiles_as_the_planner_counts(model: Any) -> None:
    vae, spec = model("hunyuan-video").pipe.vae, model("hunyuan-video").offer.spec
    for frames in range(1, 130, 4):
        shape = Shape(height=16, width=16, frames=frames)
        assert coupling.pieces(vae, (frames - 1) // 4 + 1) == spec.units(Stage.DECODE, shape, 1)


@pytest.mark.parametrize("frames", [1, 4, 5, 7, 8])
def test_two_videos_decoded_tile_by_tile_in_turn_equal_the_whole_decode_bit_for_bit(frames: int, model: Any) -> None:
    vae = model("hunyuan-video").pipe.vae
    latents = [torch.randn(1, 4, frames, 2, 2, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2)]
    tiles: list[list[torch.Tensor]] = [[], []]
    before: list[Any] = [None, None]
    with torch.inference_mode():
        for index in range(coupling.pieces(vae, frames)):
            for one in (0, 1):
                pixels, before[one] = coupling.decode_piece(vae, latents[one], index, before[one])
                tiles[one].append(pixels)
        for one in (0, 1):
            assert torch.equal(torch.cat(tiles[one], 2), vae.decode(latents[one], return_dict=False)[0])
            assert torch.cat(tiles[one], 2).shape[2] == 4 * frames - 3
