"""Law L13: every way through a model gives the picture of the straight-line pipeline call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from sfumato.core.values import Shape
from sfumato.models import Task

from .straight import finish, task

IMAGE, VIDEO = Shape(height=32, width=48), Shape(height=32, width=16, frames=9)
# Batched matrix products sum in another order than single ones: float32 rounding, and its growth over the steps.
# Measured at most 1.0e-6 on latents of magnitude 4; the rest is room for other CPUs.
TOLERANCE = 5e-6


def pair(kind: str) -> list[Task]:
    """Two tasks of unlike seeds, prompts, step counts and guidance, of one shape."""
    if kind == "flux":
        return [task(1, 3, 1.0, IMAGE), task(2, 5, 1.0, IMAGE)]
    if kind == "flux-distilled":
        return [task(1, 3, 3.5, IMAGE), task(2, 5, 2.0, IMAGE)]
    shape = VIDEO if kind.startswith("wan") else IMAGE
    return [task(1, 3, 4.0, shape, "dark"), task(2, 5, 2.5, shape, "")]


def name_of(kind: str) -> str:
    """The checkpoint that a case runs on."""
    return "flux" if kind == "flux-guided" else kind


KINDS = ["flux", "flux-guided", "flux-distilled", "wan-euler", "wan-unipc", "wan-experts", "wan-expanded"]


@pytest.mark.parametrize("kind", KINDS)
def test_two_requests_interleaved_step_by_step_equal_the_plain_pipeline_bit_for_bit(
    kind: str, model: Any, oracle: Any
) -> None:
    used, tasks = model(name_of(kind)), pair(kind)
    states = [used.encode([one])[0] for one in tasks]
    while any(state.done < state.task.steps for state in states):
        for state in states:
            if state.done < state.task.steps:
                used.step([state])
                expected = oracle(name_of(kind), state.task).latents[state.done - 1]
                assert torch.equal(state.latent, expected)
    for state in states:
        assert np.array_equal(finish(used, state), oracle(name_of(kind), state.task).pixels)


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_moved_to_another_worker_after_every_step_equals_the_plain_pipeline_bit_for_bit(
    kind: str, model: Any, oracle: Any
) -> None:
    here, there = model(name_of(kind)), model(name_of(kind), 1)
    asked = pair(kind)[0]
    (state,) = here.encode([asked])
    static = here.freeze_static(state)
    while state.done < asked.steps:
        state = there.thaw(static, here.freeze(state))
        there.step([state])
        here, there = there, here
    state = there.thaw(static, here.freeze(state))
    straight = oracle(name_of(kind), asked)
    assert torch.equal(state.latent, straight.latents[-1])
    assert np.array_equal(finish(there, state), straight.pixels)


def run_staggered(used: Any, states: Sequence[Any]) -> None:
    """The second joins after two steps of the first alone; each leaves when it is done."""
    used.step(states[:1])
    used.step(states[:1])
    while batch := [state for state in states if state.done < state.task.steps]:
        used.step(batch)


@pytest.mark.parametrize("kind", KINDS)
def test_requests_at_different_steps_in_one_batch_stay_within_the_tolerance(kind: str, model: Any, oracle: Any) -> None:
    used, tasks = model(name_of(kind)), pair(kind)
    states = used.encode(tasks)
    run_staggered(used, states)
    for state in states:
        expected = oracle(name_of(kind), state.task).latents[-1]
        assert (state.latent - expected).abs().max() <= TOLERANCE


@pytest.mark.parametrize("kind", ["flux-guided", "wan-unipc"])
def test_a_batch_is_one_forward_pass_for_each_side_of_the_guidance(
    kind: str, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = model(name_of(kind))
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
    for state in states:
        expected = oracle("wan-experts", state.task).latents[state.done - 1]
        assert (state.latent - expected).abs().max() <= TOLERANCE


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


def test_a_step_beyond_the_last_is_refused(model: Any) -> None:
    used = model("flux")
    states = used.encode([task(1, 1, 1.0, IMAGE)])
    used.step(states)
    with pytest.raises(ValueError, match="no step left"):
        used.step(states)
