"""What carries the tensors of a group: the mesh itself or gloo on CPUs, NCCL on GPUs; none knows a world.

The only file of the runtime that imports torch at its top; real workers import it with their first group. On CPUs the
mesh is the default: an all-to-all of 4 kB took 13 us on two idle cores where gloo took 90, and of four ranks on two
cores 0.5 ms where gloo, which hands each call from thread to thread, took 4 (docs/decisions/0013). gloo and NCCL meet
by a file beside the snapshots. NCCL is written by its documentation and has not been run: nobody had two GPUs.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch._C._distributed_c10d as c10d  # torch.distributed passes it on, but not all of it
from torch import Tensor

from sfumato.models.group import GroupBroken
from sfumato.runtime.groups import Carrier
from sfumato.runtime.meshed import MeshedGroup
from sfumato.runtime.meshes import LOOPBACK, Mesh

SET_UP_S = 10.0  # all members are there when it begins; it takes some 20 ms


def carrier(kind: str, mesh: Mesh, file: Path, device: str, patience_s: float) -> Carrier:
    """What carries tensors on a device. All members call it at once, with the same `file`."""
    if kind == "auto":
        kind = "mesh" if device == "cpu" else "nccl"
    if kind == "mesh":
        return TensorMesh(mesh)
    return Backed(mesh, lambda part, name: _backend(kind, part, file.with_name(file.name + name), device, patience_s))


class TensorMesh(MeshedGroup):
    """Tensors on the CPU, through the mesh."""

    def new(self, like: Tensor, shape: tuple[int, ...]) -> Tensor:
        return like.new_empty(shape)

    def raw(self, array: Tensor) -> memoryview:
        return array.reshape(-1).view(torch.uint8).numpy().data


class Backed:
    """Tensors through a backend of torch's. `make` gives the one of a mesh, or of a part of it, which has a name."""

    def __init__(self, mesh: Mesh, make: Callable[[Mesh, str], Any], name: str = "") -> None:
        self._mesh = mesh
        self._make = make
        self._name = name
        self._parts: dict[int, Backed] = {}
        self._backend = make(mesh, name) if mesh.size > 1 else None

    @property
    def rank(self) -> int:
        return self._mesh.rank

    @property
    def size(self) -> int:
        return self._mesh.size

    def all_to_all(self, parts: Tensor) -> Tensor:
        out = torch.empty_like(parts)
        self._do(lambda backend: backend.alltoall_base(_raw(out), _raw(parts), [], [], c10d.AllToAllOptions()))
        return out

    def all_gather(self, part: Tensor) -> Tensor:
        out = part.new_empty((self.size, *part.shape))
        self._do(lambda backend: backend._allgather_base(_raw(out), _raw(part), c10d.AllgatherOptions()))
        return out

    def shift(self, part: Tensor, by: int) -> Tensor:
        """An all-to-all in which each has something for one member only."""
        out = torch.empty_like(part)
        give, take = _raw(part).reshape(-1), _raw(out).reshape(-1)
        to, of = [0] * self.size, [0] * self.size
        to[(self.rank + by) % self.size] = of[(self.rank - by) % self.size] = len(give)
        self._do(lambda backend: backend.alltoall_base(take, give, of, to, c10d.AllToAllOptions()))
        return out

    def broadcast(self, tensor: Tensor, source: int = 0) -> Tensor:
        options = c10d.BroadcastOptions()
        options.rootRank, options.rootTensor = source, 0
        self._do(lambda backend: backend.broadcast([_raw(tensor)], options))
        return tensor

    def split(self, parts: int) -> Backed:
        if parts not in self._parts:
            size = self.size // parts
            mine = self.rank // size
            mesh = self._mesh.part(range(mine * size, (mine + 1) * size))
            self._parts[parts] = Backed(mesh, self._make, f"{self._name}.{parts}.{mine}")
        return self._parts[parts]

    def close(self) -> None:
        for part in self._parts.values():
            part.close()
        self._parts.clear()
        backend, self._backend = self._backend, None
        if backend is not None and hasattr(backend, "abort"):
            backend.abort()  # else who is in a collective may wait for ever

    def _do(self, collective: Callable[[Any], Any]) -> None:
        try:
            collective(self._backend).wait()
        except RuntimeError as error:
            raise GroupBroken(f"a member is gone: {error}") from error


def _raw(tensor: Tensor) -> Tensor:
    """Its bytes, which gloo moves whatever they mean; a GPU's tensor as it is."""
    return tensor if tensor.is_cuda else tensor.reshape(-1).view(torch.uint8)


def _backend(kind: str, mesh: Mesh, file: Path, device: str, patience_s: float) -> Any:
    store = c10d.FileStore(str(file), mesh.size)
    store.set_timeout(timedelta(seconds=SET_UP_S))
    if kind == "nccl":
        torch.cuda.set_device(device)
        options = c10d.ProcessGroupNCCL.Options()
        options._timeout = timedelta(seconds=patience_s)
        return c10d.ProcessGroupNCCL(store, mesh.rank, mesh.size, options)
    gloo: Any = c10d.ProcessGroupGloo._Options()  # type: ignore[attr-defined]
    gloo._devices = [c10d.ProcessGroupGloo.create_device(hostname=LOOPBACK)]
    gloo._threads = 1
    gloo._timeout = timedelta(seconds=SET_UP_S)
    made = c10d.ProcessGroupGloo(store, mesh.rank, mesh.size, gloo)
    made._set_default_timeout(timedelta(seconds=patience_s))
    return made
