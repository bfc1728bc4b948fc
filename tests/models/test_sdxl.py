"""What SDXL has beyond the contract of all families: patches, prompts of zeros, and a VAE with statistics."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from msgspec.structs import replace

from sfumato.models.limits import sdxl_limits

from .kinds import mix, pair
from .threads import on_group

# Relative to the largest value of a latent. Sums are taken in another order than alone: measured at most 1.2e-6, the
# same for a plain batch and for patches.
TOLERANCE = 4e-6
KIND = "sdxl-euler"


def error(state: Any, oracle: Any) -> float:
    """The largest difference from the plain call's latent after as many steps, relative to its largest value."""
    expected = oracle(KIND, state.task).latents[state.done - 1]
    return float((state.latent - expected).abs().max() / expected.abs().max())


@contextmanager
def seen(used: Any) -> Iterator[list[torch.Size]]:
    """The shapes that the UNet is given meanwhile."""
    shapes: list[torch.Size] = []
    hook = used.pipe.unet.register_forward_pre_hook(lambda module, given: shapes.append(given[0].shape))
    yield shapes
    hook.remove()


def test_one_size_is_one_plain_pass_with_both_sides_of_the_guidance(model: Any, oracle: Any) -> None:
    used = model(KIND)
    states = used.encode(pair(KIND))
    used.step(states[:1])
    with seen(used) as shapes:
        used.step(states)
    assert shapes == [(4, 4, 16, 24)]
    assert max(error(state, oracle) for state in states) <= TOLERANCE


def test_unlike_sizes_are_one_pass_over_patches(model: Any, oracle: Any) -> None:
    used = model(KIND)
    states = used.encode(mix(KIND))  # latents of 16x24, 8x8 and 32x16; the second is unguided
    used.step(states[:1])
    with seen(used) as shapes:
        used.step(states)
    assert shapes == [(2 * 6 + 1 + 2 * 8, 4, 8, 8)]
    assert max(error(state, oracle) for state in states) <= TOLERANCE


def test_one_size_guided_and_unguided_is_one_plain_pass(model: Any, oracle: Any) -> None:
    used, (first, second) = model(KIND), pair(KIND)
    payload = replace(second.payload, guidance=1.0)
    states = used.encode([first, replace(second, payload=payload)])
    with seen(used) as shapes:
        used.step(states)
    assert shapes == [(3, 4, 16, 24)]
    assert max(error(state, oracle) for state in states) <= TOLERANCE


def test_passes_of_guidance_over_unlike_sizes_side_by_side_equal_the_plain_pipeline(model: Any, oracle: Any) -> None:
    workers = [model(KIND, copy) for copy in (0, 1)]
    tasks = [asked for asked in mix(KIND) if asked.payload.guidance > 1]
    here, there = (used.encode(tasks) for used in workers)
    on_group(2, lambda group: workers[group.rank].step((here, there)[group.rank], group, 2))
    assert all(torch.equal(a.latent, b.latent) for a, b in zip(here, there, strict=True))
    assert max(error(state, oracle) for state in here) <= TOLERANCE


def test_a_pass_is_not_spread_over_ranks(model: Any) -> None:
    used = model(KIND)
    states = used.encode(pair(KIND))

    def refused(group: Any) -> None:
        with pytest.raises(ValueError, match="not spread over ranks"):
            used.step(states, group)

    on_group(2, refused)
    assert [state.done for state in states] == [0, 0]


def test_no_negative_prompt_is_zeros_where_the_checkpoint_says_so(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    used, asked = model(KIND), pair(KIND)[1]
    (zeros,) = used.encode([asked])
    monkeypatch.setitem(used.index, "force_zeros_for_empty_prompt", False)
    (state,) = used.encode([asked])
    for name in ("negative_embeds", "negative_pooled"):
        assert not zeros.conditioning[name].any()
        assert state.conditioning[name].any()
        assert zeros.conditioning[name].shape == state.conditioning[name].shape


def test_a_vae_with_statistics_of_its_latents_decodes_by_them(model: Any) -> None:
    used = model(KIND)
    vae, (state,) = used.pipe.vae, used.encode(pair(KIND)[:1])
    vae.register_to_config(latents_mean=[0.5, -0.5, 1.0, 2.0], latents_std=[1.0, 2.0, 3.0, 4.0])
    try:
        with torch.inference_mode():
            state.latent = torch.ones(1, 4, 16, 24)
            column = torch.tensor([0.5, -0.5, 1.0, 2.0]) + torch.tensor([1.0, 2.0, 3.0, 4.0]) / 1.5
            expected = vae.decode(column.view(1, 4, 1, 1).expand(1, 4, 16, 24), return_dict=False)[0]
            pixels, last = used.decode_unit(state)
    finally:
        vae.register_to_config(latents_mean=None, latents_std=None)
    assert last
    assert torch.allclose(pixels, expected, atol=1e-6)


def test_the_limits_of_sdxl_and_of_its_lcms_follow_from_the_configs() -> None:
    unet: dict[str, Any] = {"block_out_channels": [320, 640, 1280]}
    vae = {"block_out_channels": [128, 256, 512, 512]}
    limits = sdxl_limits({}, {"unet": unet, "vae": vae})
    assert (limits["sizes"].min, limits["sizes"].max, limits["sizes"].multiple) == (256, 2048, 32)
    assert (limits["default_steps"], limits["default_guidance"], limits["distilled"]) == (50, 5.0, False)
    limits = sdxl_limits({}, {"unet": unet | {"time_cond_proj_dim": 256}, "vae": vae})
    assert (limits["default_steps"], limits["default_guidance"], limits["distilled"]) == (4, 8.0, True)
