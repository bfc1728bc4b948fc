"""What every registered family fulfils on every kind of its checkpoints: law L13, and all that its offer declares."""

from __future__ import annotations

from collections.abc import Callable
from math import nan
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from sfumato.core.values import Stage
from sfumato.errors import RequestError
from sfumato.models import FAMILIES, Offer, load_model
from sfumato.models.family import QUALITIES
from sfumato.models.readers import READERS

from .kinds import KINDS, TOLERANCE, error, mix, pair
from .straight import Oracle, finish
from .threads import encode, on_group

# All but one, of which the plain pipeline draws its noise from the process's generator.
EVERY = sorted(KINDS.keys() - {"wan-noisy-euler"})
ONE_EACH = sorted({kind.split("-")[0]: kind for kind in EVERY}.values())  # a kind of each family


def waiting(states: list[Any]) -> list[Any]:
    """Those with steps to go."""
    return [state for state in states if state.done < state.task.steps]


def test_every_registered_family_has_a_kind(checkpoint: Callable[[str], Offer]) -> None:
    assert {checkpoint(kind).family for kind in KINDS} == set(READERS) == set(FAMILIES)


# What the offer says.


@pytest.mark.parametrize("kind", EVERY)
def test_the_stages_need_all_parts_and_no_others(kind: str, checkpoint: Callable[[str], Offer]) -> None:
    offer = checkpoint(kind)
    needed = [part for stage in Stage for part in offer.spec.stage(stage).parts]
    assert sorted(set(needed)) == sorted(set(offer.components.values())) == sorted(offer.spec.part_bytes)
    for component, part in offer.components.items():
        files = (Path(offer.path) / component).glob("*.safetensors")
        assert offer.spec.part_bytes[part] == sum(file.stat().st_size for file in files)


@pytest.mark.parametrize("kind", EVERY)
def test_what_is_not_offered_is_refused_with_its_field(kind: str, checkpoint: Callable[[str], Offer]) -> None:
    offer, asked = checkpoint(kind), mix(kind)[0]
    good: dict[str, Any] = {"shape": asked.shape, "steps": asked.steps, "guidance": 4.0, "prompt": "a cat"}
    offer.check(**good)
    beyond = offer.sizes.last + offer.sizes.step
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("size", {"shape": replace(asked.shape, width=asked.shape.width + 1)}),
        ("size", {"shape": replace(asked.shape, height=beyond)}),
        ("num_frames", {"shape": replace(asked.shape, frames=offer.frames.last + 1)}),
        ("num_frames", {"shape": replace(asked.shape, frames=0)}),
        *(("steps", {"steps": steps}) for steps in (0, offer.max_steps + 1)),
        *(("guidance", {"guidance": scale}) for scale in (-1.0, nan, offer.max_guidance + 1)),
        ("prompt", {"prompt": "a" * offer.max_prompt_tokens}),
        ("negative_prompt", {"negative_prompt": "dark", "guidance": 1.0}),
    ]
    for field, change in wrong:
        with pytest.raises(RequestError, match=f"^{field}: ") as caught:
            offer.check(**good | change)
        assert caught.value.field == field


@pytest.mark.parametrize("kind", ONE_EACH)
def test_steps_are_reused_just_at_the_qualities_that_are_offered(kind: str, model: Any, oracle: Any) -> None:
    used, asked = model(kind), pair(kind)[0]
    offered = used.offer.qualities
    assert offered[0] == "exact"
    assert used.reuses == (offered != ("exact",))
    for quality in QUALITIES:
        if quality not in offered:
            with pytest.raises(RequestError, match=r"^quality: "):
                used.offer.check_quality(quality)
            continue
        used.offer.check_quality(quality)
        (state,) = used.encode([replace(asked, payload=replace(asked.payload, quality=quality))])
        while waiting([state]):
            used.step([state])
        assert torch.isfinite(state.latent).all()
        if quality == "exact":
            assert torch.equal(state.latent, oracle(kind, asked).latents[-1])
            assert not state.reuse


# One request, or several in turn: bit for bit.


@pytest.mark.parametrize("kind", EVERY)
def test_requests_in_turn_step_by_step_and_unit_by_unit_equal_the_plain_pipeline_bit_for_bit(
    kind: str, model: Any, oracle: Any
) -> None:
    used = model(kind)
    states = [used.encode([asked])[0] for asked in mix(kind)]
    while active := waiting(states):
        for state in active:
            used.step([state])
            assert torch.equal(state.latent, oracle(kind, state.task).latents[state.done - 1])
    units = [used.offer.spec.units(Stage.DECODE, state.task.shape, state.task.steps) for state in states]
    for unit in range(max(units)):
        for state, last in zip(states, units, strict=True):
            if unit < last:
                assert used.decode(state) == (unit + 1 == last)
                assert state.decoded == unit + 1
    for state in states:
        assert np.array_equal(used.output(state), oracle(kind, state.task).pixels)


@pytest.mark.parametrize("kind", EVERY)
def test_a_request_moved_after_every_step_equals_the_plain_pipeline_bit_for_bit(
    kind: str, model: Any, oracle: Any
) -> None:
    here, there, asked = model(kind), model(kind, 1), pair(kind)[0]
    (state,) = here.encode([asked])
    static = here.freeze_static(state)
    while state.done < asked.steps:
        state = there.thaw(static, here.freeze(state))
        there.step([state])
        here, there = there, here
    here.decode(state)  # what an interrupted decode has done is done again
    state = there.thaw(static, here.freeze(state))
    assert (state.done, state.decoded) == (asked.steps, 0)
    assert torch.equal(state.latent, oracle(kind, asked).latents[-1])
    assert np.array_equal(finish(there, state), oracle(kind, asked).pixels)


@pytest.mark.parametrize("kind", ONE_EACH)
def test_stages_on_three_workers_with_only_their_own_weights_equal_the_plain_pipeline_bit_for_bit(
    kind: str, checkpoint: Callable[[str], Offer], oracle: Any
) -> None:
    offer, asked = checkpoint(kind), pair(kind)[0]
    encoder, denoiser, decoder = (load_model(offer) for _ in range(3))
    for worker, stage in zip((encoder, denoiser, decoder), Stage, strict=True):
        worker.load(offer.spec.stage(stage).parts)
        assert worker.resident == set(offer.spec.stage(stage).parts)
    (state,) = encoder.encode([asked])
    state = denoiser.thaw(static := encoder.freeze_static(state), encoder.freeze(state))
    while state.done < asked.steps:
        denoiser.step([state])
    state = decoder.thaw(static, denoiser.freeze(state))
    assert np.array_equal(finish(decoder, state), oracle(kind, asked).pixels)
    decoder.drop(offer.spec.decode.parts)
    assert decoder.resident == frozenset()


@pytest.mark.parametrize("kind", ONE_EACH)
def test_in_half_precision_a_request_equals_the_plain_pipeline_bit_for_bit(
    kind: str, checkpoint: Callable[[str], Offer]
) -> None:
    used: Any = load_model(checkpoint(kind), dtype="bfloat16")
    used.load(checkpoint(kind).components.values())
    (state,) = used.encode([asked := mix(kind)[0]])
    for expected in Oracle(checkpoint, torch.bfloat16)(kind, asked).latents:
        state = used.thaw(used.freeze_static(state), used.freeze(state))
        used.step([state])
        assert torch.equal(state.latent.float(), expected.float())


@pytest.mark.parametrize("kind", EVERY)
def test_a_step_beyond_the_last_is_refused(kind: str, model: Any) -> None:
    used = model(kind)
    states = used.encode([replace(asked, steps=1) for asked in pair(kind)])
    used.step(states)
    with pytest.raises(ValueError, match="no step left"):
        used.step(states)
    assert [state.done for state in states] == [1, 1]


# Batches: within the tolerance.


@pytest.mark.parametrize("kind", EVERY)
def test_a_batch_of_encoding_gives_each_request_what_it_gets_alone(kind: str, model: Any) -> None:
    used, tasks = model(kind), mix(kind)
    for state, asked in zip(used.encode(tasks), tasks, strict=True):
        (alone,) = used.encode([asked])
        assert torch.equal(state.latent, alone.latent)
        assert state.conditioning.keys() == alone.conditioning.keys()
        for name, tensor in alone.conditioning.items():
            assert (tensor - state.conditioning[name]).abs().max() <= TOLERANCE


def staggered(used: Any, states: list[Any], check: Callable[[Any], None]) -> None:
    """The first begins alone, the others join it, and each leaves when it is done."""
    used.step(states[:1])
    while active := waiting(states):
        used.step(active)
        for state in active:
            check(state)


@pytest.mark.parametrize("kind", EVERY)
def test_requests_of_one_shape_at_different_steps_share_a_batch(kind: str, model: Any, oracle: Any) -> None:
    errors: list[float] = []
    used = model(kind)
    staggered(used, used.encode(pair(kind)), lambda state: errors.append(error(kind, state, oracle)))
    assert max(errors) <= TOLERANCE


@pytest.mark.parametrize("kind", EVERY)
def test_unlike_requests_share_a_batch_just_where_the_stage_packs(kind: str, model: Any, oracle: Any) -> None:
    errors: list[float] = []
    used = model(kind)
    states = used.encode(mix(kind))
    if used.offer.spec.diffuse.packs:
        staggered(used, states, lambda state: errors.append(error(kind, state, oracle)))
        assert max(errors) <= TOLERANCE
        return
    with pytest.raises(ValueError, match="one shape"):
        used.step(states)
    assert [state.done for state in states] == [0, 0, 0]


@pytest.mark.parametrize("kind", EVERY)
def test_a_request_does_not_see_with_whom_it_shares_a_batch(kind: str, model: Any) -> None:
    used = model(kind)
    if not used.offer.spec.diffuse.packs:
        return
    first, second, third = mix(kind)
    (one, *_), (same, *strangers) = used.encode([first, second]), used.encode([first, second, third])
    for stranger in strangers:
        stranger.latent = torch.full_like(stranger.latent, torch.nan)
    used.step([one])
    used.step([*strangers, same])
    assert (one.latent - same.latent).abs().max() <= TOLERANCE * one.latent.abs().max().clamp(min=1.0)


# Groups.


def runs(kind: str, size: int, cfg: int, tasks: list[Any], model: Any, oracle: Any) -> bool:
    """Whether a group takes a batch; if so its members agree bit for bit, and with the plain pipeline."""
    used = model(kind)

    def run(group: Any) -> list[Any]:
        states = encode(used, tasks)
        try:
            while active := waiting(states):
                used.step(active, group, cfg)
        except ValueError:
            assert [state.done for state in states] == [0] * len(states)
            return []
        return states

    first, *others = on_group(size, run)
    for states in others:
        assert all(torch.equal(state.latent, same.latent) for state, same in zip(first, states, strict=True))
    assert max((error(kind, state, oracle) for state in first), default=0.0) <= TOLERANCE
    return bool(first)


@pytest.mark.parametrize("size", [2, 3, 4, 8])
@pytest.mark.parametrize("kind", EVERY)
def test_a_group_takes_a_step_just_where_degrees_are_offered(kind: str, size: int, model: Any, oracle: Any) -> None:
    """The transformers have four heads: three ranks go in a ring, eight in one of two runs. No policy plans three."""
    spec = model(kind).offer.spec.diffuse
    tasks = mix(kind) if spec.packs else pair(kind)
    assert runs(kind, size, 1, tasks, model, oracle) == (spec.degrees != (1,))


@pytest.mark.parametrize("size", [2, 4])
@pytest.mark.parametrize("kind", EVERY)
def test_a_group_takes_both_passes_of_guidance_just_where_there_are_two_and_a_half_can_run_one(
    kind: str, size: int, model: Any, oracle: Any
) -> None:
    offer = model(kind).offer
    can = offer.guided(4.0) and offer.spec.diffuse.packs and size // 2 in offer.spec.diffuse.degrees
    assert runs(kind, size, 2, pair(kind), model, oracle) == can


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("kind", ONE_EACH)
def test_a_decode_on_ranks_that_come_and_go_is_that_of_one_rank(kind: str, size: int, model: Any) -> None:
    used, asked = model(kind), replace(mix(kind)[0], steps=1)
    alone, *members = (used.encode([asked])[0] for _ in range(size + 1))

    def decode(group: Any) -> Any:
        state = members[group.rank]
        used.step([state])
        while not used.decode(state, group if state.decoded % 2 == 0 else None):
            pass
        return used.output(state).astype(int)

    first, *others = on_group(size, decode)
    assert all(np.array_equal(first, pixels) for pixels in others)
    assert np.abs(first - finish(used, alone)).max() <= 1  # of 255: sums in another order
