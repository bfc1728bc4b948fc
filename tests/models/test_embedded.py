"""The checkpoints that come with the package."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from sfumato.models import Payload, Task, describe, load_model
from sfumato.models.describe import CHECKPOINTS

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
