"""The paced model: everything of a model but the arithmetic, and the holding of units to a given time.

A paced worker is a real process with real snapshots, groups, transfers and moves; its "latent" is a few kB and its
picture one colour, so that eight of them pass for eight GPUs on two cores. No torch: importing it takes 2.4 CPU
seconds, all else of a worker 0.13. Every table made with it must say so.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any, cast

import msgspec
import numpy as np
from numpy.typing import NDArray

from sfumato.core.values import PartId, Shape, Stage
from sfumato.models.family import Model, State, Task
from sfumato.models.group import Group
from sfumato.models.offer import Offer
from sfumato.runtime.wire import Pace

# sleep() wakes 0.06 ms late on an idle machine, up to 0.2 ms on a busy one; the rest is spun.
_SPIN_S = 2e-4
_LATENT_FLOATS = 1024
# A picture is written whole (3 MB: 1 ms); a video of 200 MB would cost more than the unit that is being paced.
_MAX_OUTPUT_BYTES = 1 << 23


class Beat:
    """The times at which the units of a paced chunk end, counted from its start: no unit's lateness shifts the next.

    A chunk that comes late starts late, as on a real device: the control gap is not hidden.
    """

    def __init__(self, pace: Pace) -> None:
        sleep_until(pace.sent_at + pace.start_s)
        self.began = time.monotonic()
        self._unit_s = pace.unit_s
        self._units = 0

    def hold(self) -> None:
        """Wait for the end of the next unit."""
        self._units += 1
        sleep_until(self.began + self._units * self._unit_s)


def sleep_until(at: float) -> None:
    """Return at `at` on the monotonic clock, not before."""
    left = at - time.monotonic()
    if left > _SPIN_S:
        time.sleep(left - _SPIN_S)
    while time.monotonic() < at:
        pass


class PacedState:
    """A request between two units."""

    def __init__(self, task: Task, latent: NDArray[np.float32], done: int = 0) -> None:
        self.task = task
        self.done = done
        self.decoded = 0
        self.latent = latent

    def bare(self) -> PacedState:
        return PacedState(self.task, np.empty(0, np.float32))

    def shed(self) -> None:
        """There is nothing of the kind."""


class PacedModel:
    """Fulfils `Model` with no weights."""

    def __init__(self, offer: Offer) -> None:
        self.offer = offer
        self._resident: set[PartId] = set()

    @property
    def resident(self) -> frozenset[PartId]:
        return frozenset(self._resident)

    def load(self, parts: Iterable[PartId], others: Iterable[Model] = ()) -> None:  # noqa: ARG002
        self._resident.update(parts)

    def drop(self, parts: Iterable[PartId]) -> None:
        self._resident.difference_update(parts)

    def encode(self, tasks: Sequence[Task]) -> list[State]:
        return [PacedState(task, _noise(task.seed)) for task in tasks]

    def step(self, states: Sequence[State], group: Group | None = None, cfg: int = 1) -> None:
        """On a group each rank computes its part of every latent and sends it to the others."""
        for state in map(_own, states):
            if state.done >= state.task.steps:
                raise ValueError(f"{state.task.id} has all its {state.done} steps")
            latent = state.latent * np.float32(0.5) + np.float32(state.done)
            if group is not None:
                latent = _gathered(latent, group) if cfg == 1 else _of_both_halves(latent, group)
            state.latent = latent
            state.done += 1

    def decode(self, state: State, group: Group | None = None) -> bool:  # noqa: ARG002
        own = _own(state)
        own.decoded += 1
        return own.decoded >= self.offer.spec.units(Stage.DECODE, own.task.shape, own.task.steps)

    def output(self, state: State) -> NDArray[np.uint8]:
        """One colour, made from the latent, so that equal pictures mean equal paths."""
        pixels = np.empty(output_shape(state.task.shape), np.uint8)
        pixels[:] = np.frombuffer(_own(state).latent.tobytes()[:3], np.uint8)
        return pixels

    def freeze_static(self, state: State) -> bytes:
        return msgspec.msgpack.encode(state.task)

    def freeze(self, state: State) -> bytes:
        return state.done.to_bytes(4, "little") + _own(state).latent.tobytes()

    def thaw(self, static: bytes | State, dynamic: bytes) -> State:
        task = msgspec.msgpack.decode(static, type=Task) if isinstance(static, bytes) else static.task
        latent = np.frombuffer(dynamic, np.float32, offset=4)
        return PacedState(task, latent, int.from_bytes(dynamic[:4], "little"))


def output_shape(shape: Shape) -> tuple[int, int, int, int]:
    """[frames, height, width, 3] as asked; height and width halved until it is small enough to write at once."""
    height, width = shape.height, shape.width
    while shape.frames * height * width * 3 > _MAX_OUTPUT_BYTES and min(height, width) > 16:
        height, width = height // 2, width // 2
    return shape.frames, height, width, 3


def _gathered(latent: NDArray[np.float32], group: Group) -> NDArray[np.float32]:
    """The latent again, of which this rank has made its part and got the others."""
    width = -(-latent.size // group.size)
    part: Any = np.resize(latent[group.rank * width : (group.rank + 1) * width], width)
    return np.concatenate(list(cast("Any", group.all_gather(part))))[: latent.size]


def _of_both_halves(latent: NDArray[np.float32], group: Group) -> NDArray[np.float32]:
    """The latent again, of which each half of the group has made a pass, and got that of the other."""
    own = _gathered(latent, group.split(2)) if group.size > 2 else latent
    passes: Any = list(cast("Any", group.all_gather(cast("Any", own))))
    return cast("NDArray[np.float32]", (passes[0] + passes[group.size // 2]) / np.float32(2))


def _noise(seed: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(_LATENT_FLOATS, dtype=np.float32)


def _own(state: State) -> PacedState:
    assert isinstance(state, PacedState)
    return state
