"""What the worker side asks of a model: the protocol that every family adapter fulfils, and the values it takes.

A model is split at the boundaries where the planner may stop: encode, each denoising step, each unit of decode. All
that a request owns between two units is in its `State`; nothing hangs on the pipeline, so requests can be interleaved
in any order. This file knows no torch: a worker may import it before it decides whether it needs one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Literal, Protocol, get_args

import msgspec

from sfumato.core.values import PartId, Shape

if TYPE_CHECKING:
    import numpy as np

    from sfumato.models.group import Group
    from sfumato.models.offer import Offer


Quality = Literal["exact", "high", "fast"]
"""How much of a step may stand in for that of the next: none, some, more (docs/reuse.md has the loss of each)."""
QUALITIES: tuple[Quality, ...] = get_args(Quality)


class Payload(msgspec.Struct, frozen=True, kw_only=True):
    """What of a request only the model needs; never in core or the journal.

    `guidance` 1.0 or less means none. `guidance_2` is that of the steps of a second expert; None is the same.
    """

    prompt: str
    negative_prompt: str = ""
    guidance: float = 1.0
    guidance_2: float | None = None
    quality: Quality = "exact"


class Task(msgspec.Struct, frozen=True, kw_only=True):
    """One request as a model sees it: the shape in pixels and frames and the steps that admission accepted."""

    id: str
    shape: Shape
    steps: int
    seed: int
    payload: Payload


class State(Protocol):
    """A request between two units of work, opaque but for its progress."""

    @property
    def task(self) -> Task:
        """The request that this is the state of."""

    @property
    def done(self) -> int:
        """Denoising steps that are computed."""

    @property
    def decoded(self) -> int:
        """Units of decode that are computed; 0 after `thaw`, because an interrupted decode restarts."""

    def bare(self) -> State:
        """What never changes after encode, for `thaw`; it holds on to nothing that a step has made."""

    def shed(self) -> None:
        """Free what only saves time. Not during a step."""


class Model(Protocol):
    """A model on one device. Not thread-safe: one call at a time. A failing call leaves the states it was given usable.

    A `State` belongs to the model object that made it; `freeze` and `thaw` carry it to another object or process.
    """

    @property
    def offer(self) -> Offer:
        """What it can be asked for."""

    @property
    def resident(self) -> frozenset[PartId]:
        """The weight parts that are loaded."""

    def load(self, parts: Iterable[PartId], others: Iterable[Model] = ()) -> None:
        """Load weight parts that are not resident. Raises CheckpointError for unknown parts or unreadable files.

        What one of `others` on the same device holds already is shared with it.

        Not beside another call either: the libraries set torch's default dtype for the whole process while they load.
        """

    def drop(self, parts: Iterable[PartId]) -> None:
        """Free weight parts; those that are not resident are skipped."""

    def encode(self, tasks: Sequence[Task]) -> list[State]:
        """Text encoding, the initial latent and an own sampler for each task; tasks may differ in shape and steps."""

    def step(self, states: Sequence[State], group: Group | None = None, cfg: int = 1) -> None:
        """One denoising step for each of `states`, in place, as one batch.

        They may be at different steps of different step counts and have different guidance. Where the spec says that
        the stage packs they may also differ in shape, length of prompt and whether they are guided at all; else that
        raises ValueError. So does a finished state.

        On a `group` all members call this with equal states in equal order, and all leave it with equal states, bit for
        bit. With `cfg` 2 the first half of the group computes the guided passes and the second the unguided ones: the
        group has an even size and all states are guided. Raises GroupBroken if a member is lost, ValueError where the
        model takes no group; the states are then as they were.
        """

    def decode(self, state: State, group: Group | None = None) -> bool:
        """Advance decode by one unit: a latent frame of a video, the whole of an image. True when it was the last.

        On a `group` all members call this with equal states, and all leave it with equal states.
        """

    def output(self, state: State) -> np.ndarray:
        """The decoded pixels so far, uint8 [frames, height, width, 3]; complete once `decode` has returned True."""

    def freeze_static(self, state: State) -> bytes:
        """What never changes after encode (the task, the conditioning): written once a request."""

    def freeze(self, state: State) -> bytes:
        """What a step changes (latent, sampler history, step index, generator): written after any step."""

    def thaw(self, static: bytes | State, dynamic: bytes) -> State:
        """The state that `freeze_static` and `freeze` wrote, here: continues bit for bit. Decode restarts.

        The `bare` state of the same job, which was left here when it moved away, stands in for the static part.
        """
