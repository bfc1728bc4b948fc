"""Patches of images: what an operation sees from beyond its patch is what it sees in the whole image."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import pad

from sfumato.models import coupling_unet
from sfumato.models.patches import Grid, Run

CPU = torch.device("cpu")
# Sums in another order; the output of the random UNet is of magnitude 1.
TOLERANCE = 2e-6


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def images(sizes: list[tuple[int, int]], channels: int = 3) -> list[Tensor]:
    return [noise(1, channels, height, width, seed=i) for i, (height, width) in enumerate(sizes)]


SIZES = st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), min_size=1, max_size=3)


@settings(max_examples=40, deadline=None)
@given(counts=SIZES, height=st.integers(1, 4), width=st.integers(1, 4))
def test_any_patch_with_its_frame_is_a_window_of_its_image_with_a_border_of_zeros(
    counts: list[tuple[int, int]], height: int, width: int
) -> None:
    grid = Grid(tuple((rows * height, columns * width) for rows, columns in counts), CPU)
    whole = images([(rows * height, columns * width) for rows, columns in counts])
    framed = grid.framed(grid.cut(whole))
    windows = [
        pad(image, (1, 1, 1, 1))[0, :, top : top + grid.height + 2, left : left + grid.width + 2]
        for image in whole
        for top in range(0, image.shape[2], grid.height)
        for left in range(0, image.shape[3], grid.width)
    ]
    assert torch.equal(framed, torch.stack(windows))


def test_images_are_joined_as_they_were_cut() -> None:
    whole = images([(8, 12), (16, 4), (8, 12)])
    grid = Grid(((8, 12), (16, 4), (8, 12)), CPU)
    assert (grid.height, grid.width) == (8, 4)
    assert grid.cut(whole).shape == (8, 3, 8, 4)
    assert all(torch.equal(a, b) for a, b in zip(grid.join(grid.cut(whole)), whole, strict=True))


def test_statistics_are_those_of_the_image_of_a_patch() -> None:
    grid = Grid(((8, 8), (4, 8)), CPU)
    means = grid.mean(torch.tensor([[1.0], [3.0], [10.0]]))
    assert means.tolist() == [[2.0], [2.0], [10.0]]


def test_neighbours_of_one_count_are_attended_to_in_one_call() -> None:
    assert Grid(((4, 4), (4, 4), (8, 4), (4, 8), (4, 4)), CPU).runs == [
        Run(slice(0, 2), slice(0, 2), 2),
        Run(slice(2, 4), slice(2, 6), 2),
        Run(slice(4, 5), slice(6, 7), 1),
    ]


@pytest.fixture(scope="module")
def unet() -> Any:
    from .checkpoints import unet

    torch.manual_seed(0)
    return unet(distilled=True)


def inputs(count: int) -> dict[str, Any]:
    """Of `count` images, unlike."""
    return {
        "timestep": torch.tensor([100, 500, 900, 300][:count]),
        "encoder_hidden_states": noise(count, 7, 24, seed=1),
        "added_cond_kwargs": {"text_embeds": noise(count, 8, seed=2), "time_ids": noise(count, 6, seed=3).abs() * 99},
        "timestep_cond": noise(count, 16, seed=4),
    }


def one(given: dict[str, Any], i: int) -> dict[str, Any]:
    """What belongs to image `i`."""
    return {k: one(v, i) if isinstance(v, dict) else v[i : i + 1] for k, v in given.items()}


@pytest.mark.parametrize(
    "sizes",
    [
        [(32, 32), (16, 48), (48, 64)],  # patches of 16
        [(24, 8), (8, 24), (24, 24), (24, 24)],  # of 8, two images of one size
        [(12, 20), (4, 4)],  # of 4, single pixels where the UNet is deepest
        [(16, 32), (16, 8)],  # of 16x8
    ],
)
@torch.inference_mode()
def test_unlike_sizes_prompts_and_timesteps_in_one_pass_give_each_image_its_own_prediction(
    sizes: list[tuple[int, int]], unet: Any
) -> None:
    whole, given = images(sizes, channels=4), inputs(len(sizes))
    alone = [unet(image, **one(given, i), return_dict=False)[0] for i, image in enumerate(whole)]
    together = coupling_unet.predict(unet, whole, **given)
    for a, b in zip(alone, together, strict=True):
        assert a.shape == b.shape
        assert (a - b).abs().max() <= TOLERANCE * max(1.0, float(a.abs().max()))


@torch.inference_mode()
def test_the_unet_is_left_as_it_was_also_when_a_pass_fails(unet: Any) -> None:
    whole, given = images([(16, 16), (8, 8)], channels=4), inputs(2)
    before = unet(whole[0], **one(given, 0), return_dict=False)[0]
    coupling_unet.predict(unet, whole, **given)
    with pytest.raises(RuntimeError):
        coupling_unet.predict(unet, whole, **given | {"encoder_hidden_states": noise(2, 7, 23)})
    assert torch.equal(unet(whole[0], **one(given, 0), return_dict=False)[0], before)


@torch.inference_mode()
def test_half_precision_stays_half_precision(unet: Any) -> None:
    import copy

    half = copy.deepcopy(unet).to(torch.bfloat16)
    whole = [image.bfloat16() for image in images([(16, 16), (8, 24)], channels=4)]
    given = inputs(2)
    lower = {
        "timestep": given["timestep"],
        "encoder_hidden_states": given["encoder_hidden_states"].bfloat16(),
        "added_cond_kwargs": {name: value.bfloat16() for name, value in given["added_cond_kwargs"].items()},
        "timestep_cond": given["timestep_cond"].bfloat16(),
    }
    alone = [half(image, **one(lower, i), return_dict=False)[0] for i, image in enumerate(whole)]
    for a, b in zip(alone, coupling_unet.predict(half, whole, **lower), strict=True):
        assert b.dtype == torch.bfloat16
        assert (a - b).abs().max() <= 0.03 * a.abs().max()


@torch.inference_mode()
def test_patches_that_cannot_be_halved_are_refused(unet: Any) -> None:
    with pytest.raises(ValueError, match="patches of 2x8 are no multiple of 4"):
        coupling_unet.predict(unet, images([(16, 16), (10, 8)], channels=4), **inputs(2))


def test_a_convolution_that_sees_further_is_refused(unet: Any) -> None:
    wide = torch.nn.Sequential(torch.nn.Conv2d(4, 4, 5, padding=2))
    wide.config = unet.config
    with pytest.raises(ValueError, match="cannot be cut into patches"):
        coupling_unet.predict(wide, images([(16, 16), (8, 8)], channels=4), **inputs(2))
