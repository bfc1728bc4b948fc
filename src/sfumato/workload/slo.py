"""How long a request may take: fixed seconds a class, or a multiple of its standalone time.

The standalone time (alone on an idle pool, at its fastest, or on one rank) is passed in: only a cost model or a
measurement knows it.
"""

from __future__ import annotations

from typing import Protocol

from sfumato.core.values import Shape
from sfumato.errors import ConfigError
from sfumato.workload.spec import RequestClass


class Standalone(Protocol):
    """Seconds that a request takes on an idle pool."""

    def __call__(self, model: str, shape: Shape, steps: int, guided: bool, /) -> float: ...


def slo_s(
    entry: RequestClass, *, guided: bool, standalone_s: Standalone | None = None, factor: float = 1.0
) -> float | None:
    """Seconds from arrival to deadline for a class, None for best effort. `factor` relaxes or tightens all."""
    if entry.slo is not None:
        return entry.slo * factor
    if entry.slo_scale is None:
        return None
    if standalone_s is None:
        message = f'slo_scale: class "{entry.name}" needs a profile to know its standalone time; set slo in seconds'
        raise ConfigError(message, field="slo_scale")
    alone_s = standalone_s(entry.model, entry.shape, entry.steps, guided)
    return (entry.slo_scale * alone_s + entry.slo_plus) * factor
