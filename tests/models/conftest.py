from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from sfumato.models import Offer, describe, load_model


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Offer]:
    """The offer of a random checkpoint of a kind, made once a session."""
    made: dict[str, Offer] = {}

    def make(kind: str) -> Offer:
        if kind not in made:
            from .kinds import KINDS

            folder = KINDS[kind].write(tmp_path_factory.mktemp("checkpoints") / kind)
            made[kind] = describe(str(folder), name=kind)
        return made[kind]

    return make


@pytest.fixture(scope="session")
def model(checkpoint: Callable[[str], Offer]) -> Callable[..., Any]:
    """A loaded model of a kind; `copy` names separately loaded objects, each loaded once a session."""
    loaded: dict[tuple[str, int], Any] = {}

    def load(kind: str, copy: int = 0) -> Any:
        if (kind, copy) not in loaded:
            made = load_model(checkpoint(kind))
            made.load(checkpoint(kind).components.values())
            loaded[kind, copy] = made
        return loaded[kind, copy]

    return load


@pytest.fixture(scope="session")
def oracle(checkpoint: Callable[[str], Offer]) -> Any:
    """The plain pipeline calls; see straight.Oracle."""
    from .straight import Oracle

    return Oracle(checkpoint)
