"""Loading and dropping weight parts."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sfumato.core.values import Shape
from sfumato.errors import CheckpointError
from sfumato.models import Offer, describe, load_model

from .kinds import task
from .straight import finish

ASKED = task(1, 3, 3.0, Shape(height=32, width=48), "dark")


def test_parts_dropped_and_loaded_again_give_the_same_picture(checkpoint: Callable[[str], Offer], oracle: Any) -> None:
    offer, asked = checkpoint("flux"), ASKED
    used = load_model(offer)
    used.load(offer.spec.encode.parts + offer.spec.diffuse.parts)
    (state,) = used.encode([asked])
    used.drop(offer.spec.encode.parts + offer.spec.decode.parts)
    assert used.resident == set(offer.spec.diffuse.parts)
    used.load(offer.components.values())
    used.load(offer.components.values())
    assert used.resident == set(offer.components.values())
    assert np.array_equal(finish(used, state), oracle("flux", asked).pixels)


def test_a_part_that_two_models_share_is_held_once(tmp_path: Path, oracle: Any) -> None:
    from . import checkpoints

    checkpoints.flux(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    checkpoints.flux(tmp_path / "third", seed=1)  # unlike in all
    one, other, third = (load_model(describe(str(tmp_path / name))) for name in ("one", "other", "third"))
    together: list[Any] = [one, other, third]
    for model in together:
        model.load(model.offer.components.values(), together)
    for component in one.offer.components:
        assert getattr(other.pipe, component) is getattr(one.pipe, component)
        assert getattr(third.pipe, component) is not getattr(one.pipe, component)
    one.drop(one.offer.components.values())
    assert other.resident == set(other.offer.components.values()), "what the other has stays"
    (state,) = other.encode([ASKED])
    assert np.array_equal(finish(other, state), oracle("flux", ASKED).pixels)
    half: Any = load_model(other.offer, dtype="bfloat16")
    half.load(half.offer.components.values(), [other])
    assert half.pipe.transformer.dtype is torch.bfloat16
    assert other.pipe.transformer.dtype is torch.float32


def test_a_part_of_another_model_is_refused(checkpoint: Callable[[str], Offer]) -> None:
    with pytest.raises(CheckpointError, match="has no part vae-of-another"):
        load_model(checkpoint("flux")).load(["vae-of-another"])


def test_nothing_runs_before_a_load(checkpoint: Callable[[str], Offer]) -> None:
    used = load_model(checkpoint("flux"))
    assert used.resident == frozenset()
    with pytest.raises(RuntimeError, match="no part of flux is loaded"):
        used.encode([ASKED])


def test_weights_cut_short_are_refused_at_load(tmp_path: Path) -> None:
    from . import checkpoints

    offer = describe(str(checkpoints.flux(tmp_path / "cut")))
    (weights,) = (tmp_path / "cut" / "vae").glob("*.safetensors")
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"cannot load vae .*restore the files"):
        load_model(offer).load(offer.spec.decode.parts)


def test_half_precision_files_become_float32_on_a_cpu(tmp_path: Path) -> None:
    from diffusers import DiffusionPipeline

    from . import checkpoints

    checkpoints.flux(tmp_path / "full")
    half = DiffusionPipeline.from_pretrained(tmp_path / "full", dtype=torch.float32)
    for component in ("transformer", "vae", "text_encoder", "text_encoder_2"):
        getattr(half, component).half()
    half.save_pretrained(tmp_path / "half")
    offer = describe(str(tmp_path / "half"))
    used: Any = load_model(offer)
    used.load(offer.components.values())
    assert {component.dtype for component in (used.pipe.transformer, used.pipe.vae)} == {torch.float32}
    assert {component.dtype for component in (used.pipe.text_encoder, used.pipe.text_encoder_2)} == {torch.float32}
