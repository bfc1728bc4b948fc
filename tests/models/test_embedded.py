"""The checkpoints that come with the package."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sfumato.models import Payload, Task, describe, load_model
from sfumato.models.describe import CHECKPOINTS

from .threads import encode, on_group

NAMES = [
    pytest.param(
        name, marks=pytest.mark.skipif(not (CHECKPOINTS / name / "sfumato.json").is_file(), reason="not built")
    )
    for name in ("tiny-image", "tiny-video")
]


@pytest.mark.parametrize("name", NAMES)
def test_an_embedded_model_offers_its_own_defaults(name: str) -> None:
    offer = describe(f"sfumato/{name}")
    assert offer.name == f"sfumato/{name}"
    offer.check(shape=offer.default_shape, steps=offer.default_steps, prompt="a red circle")


@pytest.mark.parametrize("name", NAMES)
def test_the_decode_of_an_embedded_model_is_shared_by_two_ranks(name: str) -> None:
    """As of a state without a step: noise has details everywhere."""
    offer = describe(f"sfumato/{name}")
    used: Any = load_model(offer)
    used.load(offer.components.values())
    shape = type(offer.default_shape)(height=64, width=96, frames=offer.frames.min)
    asked = Task(id="a", shape=shape, steps=2, seed=1, payload=Payload(prompt="a red circle"))

    def drawn(group: Any = None) -> np.ndarray:
        (state,) = encode(used, [asked])
        while not used.decode(state, group):
            pass
        return np.asarray(used.output(state), np.int16)

    alone = drawn()
    for shared in on_group(2, drawn):
        assert np.abs(shared - alone).max() <= 1, "the last bit of a float may round a pixel"


@pytest.mark.parametrize("name", NAMES)
def test_an_embedded_model_loads_and_draws(name: str) -> None:
    offer = describe(f"sfumato/{name}")
    used: Any = load_model(offer)
    used.load(offer.components.values())
    shape = type(offer.default_shape)(height=64, width=64, frames=offer.frames.min)
    payload = Payload(prompt="a red circle", guidance=offer.default_guidance)
    (state,) = used.encode([Task(id="a", shape=shape, steps=2, seed=1, payload=payload)])
    used.step([state])
    used.step([state])
    while not used.decode(state):
        pass
    pixels = used.output(state)
    assert pixels.shape == (shape.frames, 64, 64, 3)
    assert np.ptp(pixels) > 0
