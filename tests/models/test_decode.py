"""Decode in units: latent frames of a video, the whole of an image."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import pytest
import torch

from sfumato.core.values import Shape, Stage
from sfumato.models import coupling

from .kinds import task

SHORT, LONG = Shape(height=32, width=16, frames=9), Shape(height=16, width=32, frames=17)


def test_two_videos_decoded_frame_by_frame_in_turn_equal_the_whole_decode_bit_for_bit(model: Any) -> None:
    vae = model("wan-euler").pipe.vae
    latents = [torch.randn(1, 4, frames, 4, 2, generator=torch.Generator().manual_seed(frames)) for frames in (3, 5)]
    with torch.inference_mode():
        whole = [vae.decode(latent, return_dict=False)[0] for latent in latents]
        entered = [vae.post_quant_conv(latent) for latent in latents]
        caches = [coupling.wan_decode_cache(vae) for _ in latents]
        chunks: list[list[torch.Tensor]] = [[], []]
        for frame in range(5):
            for one in (0, 1):
                if frame < latents[one].shape[2]:
                    chunks[one].append(coupling.wan_decode_frame(vae, entered[one], frame, caches[one]))
    for one in (0, 1):
        assert torch.equal(torch.cat(chunks[one], 2), whole[one])


def test_a_video_decodes_in_the_units_that_its_spec_says_and_shows_its_frames_as_they_come(
    model: Any, checkpoint: Any
) -> None:
    used, spec = model("wan-euler"), checkpoint("wan-euler").spec
    short, long = used.encode([task(1, 1, 1.0, SHORT), task(2, 1, 1.0, LONG)])
    seen, ends = [], []
    assert used.output(short).shape == (0, 32, 16, 3)
    for _ in range(spec.units(Stage.DECODE, SHORT, 1)):
        ends.append(used.decode(short))
        used.decode(long)
        seen.append(len(used.output(short)))
    assert seen == [1, 5, 9]
    assert ends == [False, False, True]
    assert spec.units(Stage.DECODE, LONG, 1) == 5
    assert used.output(short).dtype == np.uint8
    assert used.output(short).shape == (9, 32, 16, 3)


def test_a_unit_of_wan_holds_one_cache_and_not_that_of_the_unit_before_too(model: Any) -> None:
    """At 1280x720 it has gigabytes."""
    used, alive = model("wan-euler"), []
    (state,) = used.encode([task(1, 1, 1.0, LONG)])
    used.decode(state)
    used.decode(state)
    kept = [weakref.ref(tensor) for tensor in state.decoding[2] if isinstance(tensor, torch.Tensor)]
    last = used.pipe.vae.decoder.conv_out
    hook = last.register_forward_hook(lambda *_: alive.append(sum(one() is not None for one in kept)))
    used.decode(state)
    hook.remove()
    assert len(kept) > 10
    assert alive == [1], "what the last convolution is about to replace"


@pytest.mark.parametrize("forgotten", [False, True], ids=["going on", "begun again"])
@pytest.mark.parametrize("kind", ["wan-euler", "cogvideox", "hunyuan-video"])
def test_a_unit_that_fails_is_decoded_again_as_if_it_had_not_been_tried(kind: str, forgotten: bool, model: Any) -> None:
    used = model(kind)
    asked = task(1, 1, 1.0, LONG)
    straight, state = (used.encode([asked])[0] for _ in range(2))
    while not used.decode(straight):
        pass

    def burst(*_: Any) -> None:
        raise MemoryError

    used.decode(state)
    if forgotten and kind != "hunyuan-video":  # as after a change of degree; there what is kept is of the whole picture
        state.decoding = None
    hook = used.pipe.vae.decoder.conv_out.register_forward_pre_hook(burst)  # the last that keeps something
    with pytest.raises(MemoryError):
        used.decode(state)
    hook.remove()
    while not used.decode(state):
        pass
    assert np.array_equal(used.output(state), used.output(straight))
