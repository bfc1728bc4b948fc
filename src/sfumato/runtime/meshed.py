"""A group whose arrays go through its mesh: numpy's here, for paced workers, who know no torch; torch's in collectives.

It fulfils `models.group.Group`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from sfumato.runtime.meshes import Mesh

if TYPE_CHECKING:
    from torch import Tensor


class MeshedGroup:
    """A group as one of its members has it. `new` and `raw` know what an array is."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._parts: dict[int, MeshedGroup] = {}

    @property
    def rank(self) -> int:
        return self._mesh.rank

    @property
    def size(self) -> int:
        return self._mesh.size

    def all_to_all(self, parts: Tensor) -> Tensor:
        out: Tensor = self.new(parts, tuple(parts.shape))
        self._mesh.swap([self.raw(part) for part in parts], [self.raw(part) for part in out])
        return out

    def all_gather(self, part: Tensor) -> Tensor:
        out: Tensor = self.new(part, (self.size, *part.shape))
        self._mesh.swap([self.raw(part)] * self.size, [self.raw(one) for one in out])
        return out

    def shift(self, part: Tensor, by: int) -> Tensor:
        out: Tensor = self.new(part, tuple(part.shape))
        self._mesh.shift(self.raw(part), self.raw(out), by)
        return out

    def broadcast(self, tensor: Tensor, source: int = 0) -> Tensor:
        self._mesh.spread(self.raw(tensor), source)
        return tensor

    def split(self, parts: int) -> MeshedGroup:
        if parts not in self._parts:
            size = self.size // parts
            first = self.rank // size * size
            self._parts[parts] = type(self)(self._mesh.part(range(first, first + size)))
        return self._parts[parts]

    def close(self) -> None:
        """The mesh is closed by who made it."""

    def new(self, like: Any, shape: tuple[int, ...]) -> Any:
        """An array of that shape, of the kind of another."""
        return np.empty(shape, like.dtype)

    def raw(self, array: Any) -> memoryview:
        """The bytes of a contiguous array, in its memory."""
        return memoryview(array.reshape(-1).view(np.uint8))
