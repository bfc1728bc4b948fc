"""What SD3 has beyond the contract of all families: groups that its tokens do not fit, and limits by version."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from sfumato.models.limits import sd3_limits

from .kinds import mix
from .threads import on_group

TOLERANCE = 1e-5  # sums in another order


@pytest.mark.parametrize("kind", ["sd3", "sd3-dual"])
def test_a_group_that_the_tokens_cannot_be_divided_among_gives_the_plain_predictions(kind: str, model: Any) -> None:
    used = model(kind)
    members = [used.encode(mix(kind)) for _ in range(5)]
    for states in members:
        for state, tokens in zip(states, (53, 41, 56), strict=True):
            for name in [name for name in state.conditioning if name.endswith("embeds")]:
                state.conditioning[name] = state.conditioning[name][:, :tokens]
    alone, *spread = members
    for state in alone:
        used.step([state])
    on_group(4, lambda group: used.step(spread[group.rank], group))
    for states in spread:
        for state, expected, first in zip(states, alone, spread[0], strict=True):
            assert torch.equal(state.latent, first.latent)
            assert (state.latent - expected.latent).abs().max() <= TOLERANCE


@pytest.mark.parametrize(
    ("transformer", "steps", "guidance", "largest"),
    [
        ({"pos_embed_max_size": 192}, 28, 7.0, 2048),
        ({"pos_embed_max_size": 192, "qk_norm": "rms_norm"}, 28, 3.5, 2048),
        ({"pos_embed_max_size": 96, "qk_norm": "rms_norm", "dual_attention_layers": [0, 1]}, 40, 4.5, 1536),
    ],
    ids=["3", "3.5-large", "3.5-medium"],
)
def test_the_limits_follow_from_the_configs(
    transformer: dict[str, Any], steps: int, guidance: float, largest: int
) -> None:
    configs = {"transformer": {"patch_size": 2} | transformer, "vae": {"block_out_channels": [128, 256, 512, 512]}}
    limits = sd3_limits({}, configs)
    assert (limits["default_steps"], limits["default_guidance"]) == (steps, guidance)
    assert (limits["sizes"].max, limits["sizes"].multiple) == (largest, 16)
