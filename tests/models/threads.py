"""Groups among the threads of one process: what a model needs of a group, without processes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch
from torch import Tensor

from sfumato.models.group import Group, GroupBroken

Result = TypeVar("Result")
TOKENIZING = threading.Lock()  # tokenizers keep their settings on themselves: threads that share one take turns
PATIENCE_S = 60.0


class Table:
    """Where the members of a group meet; `tables` holds those of its parts."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.barrier = threading.Barrier(size, timeout=PATIENCE_S)
        self.put: list[Tensor] = [torch.empty(0)] * size
        self.tables: dict[tuple[int, int], Table] = {}
        self.lock = threading.Lock()
        self.calls = 0

    def wait(self) -> None:
        try:
            self.barrier.wait()
        except threading.BrokenBarrierError as error:
            raise GroupBroken("a member has left") from error

    def abort(self) -> None:
        """Whoever waits here, or at a part of it, is told."""
        self.barrier.abort()
        with self.lock:
            for table in self.tables.values():
                table.abort()

    def part(self, parts: int, index: int) -> Table:
        with self.lock:
            return self.tables.setdefault((parts, index), Table(self.size // parts))


class Seat(Group):
    """A member's view of a table."""

    def __init__(self, table: Table, rank: int) -> None:
        self._table = table
        self._rank = rank

    @property
    def rank(self) -> int:
        return self._rank

    @property
    def size(self) -> int:
        return self._table.size

    def _meet(self, tensor: Tensor) -> list[Tensor]:
        assert tensor.is_contiguous()
        self._table.put[self.rank] = tensor.clone()
        self._table.wait()
        met = list(self._table.put)
        if self.rank == 0:
            self._table.calls += 1
        self._table.wait()
        assert len({(one.shape, one.dtype) for one in met}) == 1, "members brought unlike tensors"
        return met

    def all_to_all(self, parts: Tensor) -> Tensor:
        assert len(parts) == self.size
        return torch.stack([other[self.rank] for other in self._meet(parts)])

    def all_gather(self, part: Tensor) -> Tensor:
        return torch.stack(self._meet(part))

    def shift(self, part: Tensor, by: int) -> Tensor:
        return self._meet(part)[(self.rank - by) % self.size]

    def broadcast(self, tensor: Tensor, source: int = 0) -> Tensor:
        return tensor.copy_(self._meet(tensor)[source])

    def split(self, parts: int) -> Seat:
        each = self.size // parts
        return Seat(self._table.part(parts, self.rank // each), self.rank % each)


def encode(used: Any, tasks: Sequence[Any]) -> list[Any]:
    """The states of tasks; for threads that share a model, which otherwise keeps nothing of a call."""
    with TOKENIZING:
        states: list[Any] = used.encode(tasks)
    return states


def on_ranks(size: int, work: Callable[[int], Result], tables: Sequence[Table] = ()) -> list[Result]:
    """`work` of each rank in a thread of its own; the first error is raised, and frees whoever waits at `tables`."""

    def guarded(rank: int) -> Result:
        torch.set_num_threads(1)
        try:
            return work(rank)
        except BaseException:
            for table in tables:
                table.abort()
            raise

    with ThreadPoolExecutor(size) as pool:
        futures = [pool.submit(guarded, rank) for rank in range(size)]
        errors = [error for future in futures if (error := future.exception()) is not None]
        for error in sorted(errors, key=lambda error: isinstance(error, GroupBroken)):
            raise error
        return [future.result() for future in futures]


def on_group(size: int, work: Callable[[Any], Result]) -> list[Result]:
    """`work` of each member of one group."""
    table = Table(size)
    return on_ranks(size, lambda rank: work(Seat(table, rank)), [table])
