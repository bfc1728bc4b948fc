"""Decoding on a group: every rank computes some rows, and all have the picture that one alone would have made."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sfumato.core.values import Shape

from .straight import Oracle, task
from .threads import encode, on_group

TOLERANCE = 1e-5
IMAGE, VIDEO = Shape(height=64, width=48), Shape(height=48, width=32, frames=9)


def encoded(used: Any) -> Any:
    (state,) = encode(used, [task(1, 2, 1.0, VIDEO if used.offer.modality == "video" else IMAGE)])
    return state


@pytest.mark.parametrize("size", [2, 3, 4, 8])
@pytest.mark.parametrize("kind", ["flux", "wan-euler", "wan-expanded", "cogvideox", "hunyuan-video"])
def test_ranks_that_share_the_rows_make_the_picture_that_one_makes_alone(kind: str, size: int, model: Any) -> None:
    used = model(kind)
    alone = encoded(used)
    expected, last = [], False
    with torch.inference_mode():
        while not last:
            pixels, last = used.decode_unit(alone)
            expected.append(pixels)
            alone.decoded += 1

    @torch.inference_mode()
    def work(group: Any) -> list[torch.Tensor]:
        state, made, last = encoded(used), [], False
        while not last:
            pixels, last = used.decode_rows(state, group)
            made.append(pixels)
            state.decoded += 1
        return made

    members = on_group(size, work)
    for made in members:
        assert len(made) == len(expected)
        assert max(float((a - b).abs().max()) for a, b in zip(made, expected, strict=True)) <= TOLERANCE
        assert all(torch.equal(a, b) for a, b in zip(made, members[0], strict=True))
    assert max(float(pixels.std()) for pixels in expected) > 0.01


@pytest.mark.parametrize("kind", ["flux", "cogvideox", "hunyuan-video"])
def test_ranks_compute_no_more_than_their_rows(kind: str, model: Any) -> None:
    used = model(kind)
    heights: list[int] = []
    hook = used.pipe.vae.decoder.conv_in.register_forward_pre_hook(
        lambda module, args: heights.append(args[0].shape[-2])
    )
    used.decode(encoded(used))
    on_group(4, lambda group: used.decode(encoded(used), group))
    hook.remove()
    whole, *shares = heights
    assert (len(shares), sum(shares), max(shares)) == (4, whole, -(-whole // 4))


def test_a_video_goes_on_at_another_degree_in_the_middle_of_its_frames(model: Any, oracle: Oracle) -> None:
    used = model("wan-euler")
    alone = encoded(used)
    while not used.decode(alone):
        pass

    def work(group: Any) -> np.ndarray:
        state = encoded(used)
        used.decode(state, group)
        used.decode(state, group.split(2))
        used.decode(state)
        return used.output(state)

    for pixels in on_group(4, work):
        off = np.abs(pixels.astype(int) - used.output(alone).astype(int))
        assert pixels.shape == (9, 48, 32, 3)
        assert off.max() <= 1  # a rounding of uint8 that fell on the other side
        assert (off > 0).mean() < 0.001
