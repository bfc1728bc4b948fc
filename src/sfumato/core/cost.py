"""What the planner may ask about time and memory. `sfumato.cost` implements it; the core knows only this protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from sfumato.core.values import Group, Job, ModelSpec, PartId, Rank, Shape, Stage, Value


class Work(Value, frozen=True, kw_only=True):
    """One unit of a chunk as the cost model sees it: `shapes` has one entry a job of the batch."""

    model: str
    stage: Stage
    shapes: tuple[Shape, ...]
    degree: int = 1
    guided: bool = False
    device: str = "cpu"


class Costs(Protocol):
    """Seconds and bytes. Pure apart from `observe`: equal histories of it give equal answers."""

    def unit_s(self, work: Work) -> float:
        """Seconds of one unit. Raises ProfileError if the model is unknown."""
        ...

    def start_s(self, work: Work, group: Group, sources: Sequence[Group | None]) -> float:
        """Seconds from the launch to the first unit: the control gap, and the moves of latents that are elsewhere."""
        ...

    def load_s(self, part: PartId, part_bytes: int, device: str) -> float:
        """Seconds to make a weight part resident."""
        ...

    def held_bytes(self, job: Job, model: ModelSpec) -> int:
        """Bytes that a started job keeps on every rank of its home between chunks."""
        ...

    def peak_bytes(self, work: Work) -> int:
        """Bytes that a chunk takes on each of its ranks while it runs, beyond weights and held state."""
        ...

    def observe(self, work: Work, rank: Rank, units: int, seconds: float) -> None:
        """Fold a measured chunk into the online correction. A pure function of the sequence of calls."""
        ...

    def state(self) -> Any:
        """The correction as plain JSON values, for a checkpoint."""
        ...

    def restore(self, state: Any) -> None:
        """Take up the correction that `state` described."""
        ...
