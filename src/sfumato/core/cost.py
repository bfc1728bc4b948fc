"""What the planner may ask about time and memory. `sfumato.cost` implements it; the core knows only this protocol."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Protocol, runtime_checkable

from msgspec import Meta

from sfumato.core.values import Group, Job, ModelSpec, PartId, Rank, Shape, Stage, Value

NotNegative = Annotated[float, Meta(ge=0.0)]
Positive = Annotated[float, Meta(gt=0.0)]


class Overheads(Value, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is spent beside the units of chunks, where no profile says it. The defaults are guesses for one machine.

    A launch takes `launch_s` (None: the profile's gap); on another group than the last one also `switch_s` a job, and
    where a rank of the group lacks the latent, its move. `link_slowdown`: across nodes, what a step loses to
    communication (its time beyond a perfect speed-up) is so many times as much.
    """

    launch_s: NotNegative | None = None
    switch_s: NotNegative = 0.0
    move_s: NotNegative = 0.001
    move_bytes_s: Positive = 1e9  # through the host
    load_s: NotNegative = 0.05
    load_bytes_s: Positive = 5e8  # a disk or a page cache
    link_slowdown: Annotated[float, Meta(ge=1.0)] = 1.0


class Work(Value, frozen=True, kw_only=True):
    """One unit of a chunk as the cost model sees it: `shapes` has one entry a job of the batch.

    `degree` are the ranks of the group; with `cfg` 2 its halves take the guided and the unguided pass. `nodes` is how
    many machines they are on. `qualities` has one entry a job where steps of any may be reused, else none: seconds
    are then those that are expected, and without it those of steps that are all computed.
    """

    model: str
    stage: Stage
    shapes: tuple[Shape, ...]
    degree: int = 1
    guided: bool = False
    device: str = "cpu"
    nodes: int = 1
    cfg: int = 1
    qualities: tuple[str, ...] = ()


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
        """Bytes that a started job keeps on every rank of its home between chunks, at its stage and quality."""
        ...

    def peak_bytes(self, work: Work) -> int:
        """Bytes that a chunk takes on each of its ranks while it runs, beyond weights and held state."""
        ...

    def observe(self, work: Work, rank: Rank, units: int, seconds: float, start_s: float | None = None) -> None:
        """Fold a measured chunk into the online correction: the seconds of its units, and those before the first one
        where that was control alone. A pure function of the sequence of calls.
        """
        ...

    def state(self) -> Any:
        """The correction as plain JSON values, for a checkpoint."""
        ...

    def restore(self, state: Any) -> None:
        """Take up the correction that `state` described."""
        ...


@runtime_checkable
class Predicts(Protocol):
    """Costs that can also guess a mixed batch's time from batches of equals, as a scheduler of such batches does."""

    def batch_s(self, work: Work) -> float:
        """`unit_s` by a predictor that was fitted to measured batches, where there are enough of them."""
        ...
