"""Packed batches: what Flux and Wan mix beyond the contract of all families (test_contract.py)."""

from __future__ import annotations

from typing import Any

import pytest

from .kinds import IMAGES, TOLERANCE, error, mix, task


def shortened(state: Any, tokens: int) -> Any:
    """The state with a prompt of fewer tokens."""
    for name in [name for name in state.conditioning if name.endswith("embeds")]:
        state.conditioning[name] = state.conditioning[name][:, :tokens]
    for name in [name for name in state.conditioning if name.endswith("text_ids")]:
        state.conditioning[name] = state.conditioning[name][:tokens]
    return state


@pytest.mark.parametrize("kind", ["flux", "wan-unipc"])
def test_prompts_of_unlike_lengths_share_a_batch(kind: str, model: Any) -> None:
    used = model(kind)
    (one,), (other,) = (used.encode(mix(kind)[:1]) for _ in range(2))
    batch = [shortened(one, 7), *used.encode(mix(kind)[:1])]
    used.step([shortened(other, 7)])
    used.step(batch)
    assert (one.latent - other.latent).abs().max() <= TOLERANCE
    assert (one.latent - batch[1].latent).abs().max() > 100 * TOLERANCE  # the length of the prompt does matter


@pytest.mark.parametrize("kind", ["flux", "wan-unipc"])
def test_requests_of_one_shape_are_guided_and_unguided_in_one_batch(kind: str, model: Any, oracle: Any) -> None:
    used, shape = model(kind), mix(kind)[0].shape
    states = used.encode([task(1, 3, 4.0, shape, "dark"), task(2, 3, 1.0, shape)])
    used.step(states)
    assert max(error(kind, state, oracle) for state in states) <= TOLERANCE


def test_a_family_that_does_not_pack_refuses_unlike_shapes(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    used = model("flux")
    monkeypatch.setattr(type(used), "packs", False)
    for tasks in (
        [task(1, 2, 1.0, IMAGES[0]), task(2, 2, 1.0, IMAGES[1])],
        [task(1, 2, 1.0, IMAGES[0]), task(2, 2, 3.0, IMAGES[0])],
    ):
        states = used.encode(tasks)
        with pytest.raises(ValueError, match="one shape, all guided or all not"):
            used.step(states)
        assert [state.done for state in states] == [0, 0]
