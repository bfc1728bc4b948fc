"""Splitting a run: what the families do beyond the contract of all (test_contract.py)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from sfumato.core.values import Shape

from .kinds import TOLERANCE, error, pair, task
from .straight import finish

VIDEO = Shape(height=32, width=16, frames=9)


@pytest.mark.parametrize("kind", ["flux", "wan-unipc"])
def test_a_batch_is_one_forward_pass_for_each_side_of_the_guidance(
    kind: str, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = model(kind)
    states = used.encode(pair(kind))
    used.step(states[:1])
    sizes: list[int] = []
    hook = used.pipe.transformer.register_forward_pre_hook(
        lambda module, args, named: sizes.append(named["hidden_states"].shape[0]), with_kwargs=True
    )
    used.step(states)
    hook.remove()
    assert sizes == [2, 2]


def test_a_batch_on_both_sides_of_the_expert_boundary_gives_each_its_own_noise(model: Any, oracle: Any) -> None:
    used = model("wan-experts")
    tasks = [task(seed, 3, 4.0, VIDEO, "dark") for seed in (1, 2, 3)]
    states = used.encode(tasks)
    used.step(states[1:2])
    used.step(states[1:2])
    ratio = used.index["boundary_ratio"]
    assert [bool(state.time < ratio * 1000) for state in states] == [False, True, False]
    used.step(states)
    assert max(error("wan-experts", state, oracle) for state in states) <= TOLERANCE


def test_the_second_expert_has_a_guidance_of_its_own(model: Any, oracle: Any) -> None:
    used = model("wan-experts")
    own, same, none = (task(1, 5, 4.0, VIDEO, "dark", second) for second in (2.0, 4.0, None))
    pictures = [finish(used, used.encode([asked])[0]) for asked in (own, same, none)]
    for asked, picture in zip((own, same, none), pictures, strict=True):
        assert np.array_equal(picture, oracle("wan-experts", asked).pixels)
    assert np.array_equal(pictures[1], pictures[2])
    assert not np.array_equal(pictures[0], pictures[1])


def test_a_sampler_that_draws_noise_carries_its_generator_along(model: Any) -> None:
    here, there = model("wan-noisy-euler"), model("wan-noisy-euler", 1)
    asked = task(1, 4, 1.0, VIDEO)
    (alone,), (moved,) = here.encode([asked]), here.encode([asked])
    other = here.encode([task(2, 4, 1.0, VIDEO)])
    static = here.freeze_static(moved)
    while alone.done < asked.steps:
        here.step([alone])
        here.step(other)
        moved = there.thaw(static, here.freeze(moved))
        there.step([moved])
    assert torch.equal(alone.latent, moved.latent)


def test_freezing_leaves_the_state_as_it_was_and_an_old_snapshot_goes_on_to_the_same_picture(
    model: Any, oracle: Any
) -> None:
    used, asked = model("wan-unipc"), pair("wan-unipc")[1]
    (state,) = used.encode([asked])
    static = used.freeze_static(state)
    used.step([state])
    used.step([state])
    old = used.freeze(state)
    expected = finish(used, state)
    again = used.thaw(static, old)
    assert (again.done, again.decoded) == (2, 0)
    assert np.array_equal(finish(used, again), expected)
    assert np.array_equal(expected, oracle("wan-unipc", asked).pixels)


@pytest.mark.parametrize("kind", ["wan-unipc", "wan-noisy-euler", "sdxl-dpm", "sdxl-ancestral", "cogvideox-newer"])
def test_a_step_whose_sampler_fails_is_taken_again_as_if_it_had_not_been_tried(
    kind: str, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    used, asked = model(kind), pair(kind)[1]
    straight, state = (used.encode([asked])[0] for _ in range(2))
    scheduler = state.sampler.scheduler
    step = scheduler.step

    def burst(*args: Any, **options: Any) -> None:
        step(*args, **options)
        raise MemoryError

    while state.done < asked.steps:
        monkeypatch.setattr(scheduler, "step", burst)
        with pytest.raises(MemoryError):
            used.step([state])
        monkeypatch.setattr(scheduler, "step", step)
        used.step([state])
        used.step([straight])
        assert torch.equal(state.latent, straight.latent)
