"""What a chunk takes of a worker's memory: the peak beyond what was there before it, and what its jobs hold meanwhile.

Rules: on a GPU the allocator's own counts; on a CPU the resident set of the process, whose high-water mark Linux can be
told to forget (elsewhere the peak is 0: unknown). Held are the arrays that a state reaches on the worker's device, each
block once. No torch until there is a GPU to ask. Weighing makes a chunk slower, so its time means nothing.
"""

from __future__ import annotations

import ctypes
import gc
from collections import deque
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sfumato.models.family import State

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
FORGET_PEAK = "5"  # proc(5): resets the process's high-water mark


class Scale:
    """Weighs one chunk: make it just before, `look` between the units, ask for the peak just after."""

    def __init__(self, device: str) -> None:
        self.held_bytes = 0  # of one job, the most that was seen
        self._device = device
        gc.collect()
        self._before = _reset_peak(device)

    def look(self, states: Iterable[State | None]) -> None:
        """See what these jobs hold now."""
        there = [state for state in states if state is not None]
        if there:
            self.held_bytes = max(self.held_bytes, -(-state_bytes(there, self._device) // len(there)))

    def peak_bytes(self) -> int:
        """The most that was taken at any time since, beyond what was taken then; 0 if that is unknown."""
        if self._before is None:
            return 0
        return max(1, _peak(self._device) - self._before)


def most_bytes(device: str) -> int:
    """The most that this process has taken of a device since it began (or since a Scale was made); 0 is unknown."""
    try:
        return _peak(device)
    except (OSError, ValueError):
        return 0


def state_bytes(states: Iterable[State], device: str) -> int:
    """Bytes on a device of all arrays that the states reach; what two of them share counts once.

    A tensor that is a view counts with the whole of its storage: that is what it keeps alive.
    """
    kind = device.partition(":")[0]
    seen: set[int] = set()
    blocks: dict[int, int] = {}
    todo: deque[Any] = deque(states)
    while todo:
        value = todo.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if hasattr(value, "nbytes"):
            if getattr(getattr(value, "device", None), "type", "cpu") == kind:
                address, size = _block(value)
                blocks[address] = max(size, blocks.get(address, 0))
        else:
            todo.extend(_inside(value))
    return sum(blocks.values())


def _block(array: Any) -> tuple[int, int]:
    """Address and bytes of what a tensor or a numpy array lies in."""
    if hasattr(array, "untyped_storage"):
        storage = array.untyped_storage()
        return storage.data_ptr(), storage.nbytes()
    return id(array), array.nbytes


def _inside(value: Any) -> Iterable[Any]:
    """The values of a container or of an object's fields; not of what can be called, such as a model."""
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, list | tuple | set | frozenset):
        return value
    if callable(value):
        return ()
    slots = [name for kind in type(value).__mro__ for name in _names(getattr(kind, "__slots__", ()))]
    fields = [getattr(value, name) for name in slots if hasattr(value, name)]
    return [*fields, *getattr(value, "__dict__", {}).values()]


def _names(slots: Any) -> tuple[str, ...]:
    return (slots,) if isinstance(slots, str) else tuple(slots)


# -- the device -----------------------------------------------------------------------------------------------------


def _reset_peak(device: str) -> int | None:
    """Forget the peak so far; the bytes that are taken now, or None if a peak cannot be seen."""
    if device != "cpu":
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device)
    with suppress(OSError, AttributeError):  # no glibc: what it keeps of freed blocks is then taken for used
        ctypes.CDLL(None).malloc_trim(0)
    try:
        CLEAR.write_text(FORGET_PEAK)
        return _resident("VmRSS")
    except (OSError, ValueError):
        return None


def _peak(device: str) -> int:
    if device != "cpu":
        import torch

        return torch.cuda.max_memory_allocated(device)
    return _resident("VmHWM")


def _resident(field: str) -> int:
    """A line of the process's status that is in kB."""
    for line in STATUS.read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"{STATUS} has no {field}")
