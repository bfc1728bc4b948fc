"""CogVideoX: what its checkpoints offer, its schedules, its places and the pieces of its decoder.

That it gives the pictures of the plain pipeline is shown with all families in test_contract.py.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from sfumato.core.values import Shape, Stage
from sfumato.errors import CheckpointError
from sfumato.models import Offer, describe
from sfumato.models import coupling_cogvideox as coupling
from sfumato.models.limits import FrameCard, cogvideox_limits

from .kinds import task

INDEX = {"scheduler": ["diffusers", "CogVideoXDPMScheduler"]}
VAE = {"block_out_channels": [128, 256, 256, 512], "temporal_compression_ratio": 4}
SMALL = {"sample_width": 90, "sample_height": 60, "sample_frames": 49, "patch_size": 2, "max_text_seq_length": 226}
NEWER = {**SMALL, "sample_width": 300, "sample_height": 300, "sample_frames": 81, "patch_size_t": 2}


def edit(path: Path, **values: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("transformer", "size", "frames", "fps"),
    [(SMALL, (720, 480), FrameCard(9, 49, 8), 8), (NEWER, (1360, 768), FrameCard(9, 161, 8), 16)],
)
def test_the_published_checkpoints_offer_what_they_were_trained_for(
    transformer: dict[str, Any], size: tuple[int, int], frames: FrameCard, fps: int
) -> None:
    limits = cogvideox_limits(INDEX, {"transformer": transformer, "vae": VAE})
    assert (limits["default_size"], limits["frames"], limits["fps"]) == (size, frames, fps)
    assert limits["default_frames"] == transformer["sample_frames"]
    assert (limits["sizes"].max, limits["sizes"].multiple) == (max(size), 16)
    assert limits["max_prompt_tokens"] == 226


def test_a_scheduler_that_its_pipeline_does_not_take_is_refused(
    checkpoint: Callable[[str], Offer], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(checkpoint("cogvideox").path, tmp_path / "copy"))
    edit(folder / "model_index.json", scheduler=["diffusers", "EulerDiscreteScheduler"])
    with pytest.raises(CheckpointError, match="samples by EulerDiscreteScheduler; change its scheduler to CogVideoX"):
        describe(str(folder))


def test_dynamic_guidance_is_the_cards_to_say_and_of_this_family_only(
    checkpoint: Callable[[str], Offer], tmp_path: Path
) -> None:
    assert [checkpoint(kind).dynamic_guidance for kind in ("cogvideox", "cogvideox-newer")] == [False, True]
    folder = Path(shutil.copytree(checkpoint("wan-euler").path, tmp_path / "copy"))
    edit(folder / "sfumato.json", dynamic_guidance=True)
    with pytest.raises(CheckpointError, match="wan has no dynamic_guidance; leave it out"):
        describe(str(folder))


@pytest.mark.parametrize("steps", [1, 50, 61, 103])
def test_there_are_as_many_timesteps_as_steps_though_rounding_makes_one_more(steps: int, model: Any) -> None:
    (state,) = model("cogvideox").encode([task(1, steps, 1.0, Shape(height=16, width=16, frames=9))])
    assert state.sampler.steps == steps
    assert state.sampler.time(steps - 1) >= 0


def test_a_portrait_has_the_places_of_the_plain_pipeline_in_a_larger_grid() -> None:
    """The pipeline of 1.5 fails where a side is longer than in training; the places that it would need are clear."""
    latent = torch.empty(1, 2, 4, 12, 4)
    size = {"use_rotary_positional_embeddings": True, "attention_head_dim": 16, "patch_size": 2, "patch_size_t": 2}
    small, large = (SimpleNamespace(**size, sample_height=side, sample_width=side) for side in (8, 16))
    cut, whole = coupling.rotary(small, latent), coupling.rotary(large, latent)
    assert cut is not None
    assert whole is not None
    assert all(torch.equal(one, other) for one, other in zip(cut, whole, strict=True))
    assert cut[0].shape == (6 * 2, 16)


@pytest.mark.parametrize("kind", ["cogvideox", "cogvideox-newer"])
def test_every_number_of_frames_is_decoded_in_as_many_pieces_as_the_planner_counts(kind: str, model: Any) -> None:
    used, spec = model(kind), model(kind).offer.spec
    assert used.offer.frames.min == 9
    for frames in range(9, 162, 8):
        shape = Shape(height=16, width=16, frames=frames)
        assert coupling.pieces(used.pipe.vae, (frames - 1) // 4 + 1) == spec.units(Stage.DECODE, shape, 1)


def test_two_videos_decoded_piece_by_piece_in_turn_equal_the_whole_decode_bit_for_bit(model: Any) -> None:
    vae = model("cogvideox").pipe.vae
    latents = [torch.randn(1, 4, frames, 4, 2, generator=torch.Generator().manual_seed(frames)) for frames in (3, 5)]
    pieces: list[list[torch.Tensor]] = [[], []]
    caches: list[Any] = [None, None]
    with torch.inference_mode():
        for index in range(2):
            for one in (0, 1):
                if index < coupling.pieces(vae, latents[one].shape[2]):
                    pixels, caches[one] = coupling.decode_piece(vae, latents[one], index, caches[one])
                    pieces[one].append(pixels)
        assert [len(each) for each in pieces] == [1, 2]
        for one in (0, 1):
            assert torch.equal(torch.cat(pieces[one], 2), vae.decode(latents[one], return_dict=False)[0])
