"""Processes that form a group among themselves and measure: each says what it took."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable
from typing import Any

Member = Callable[[int, int, str, int, Any], None]
"""From a rank, how many there are, a folder to meet in and how many rounds; sends what it found down a pipe's end."""


def found_by(member: Member, size: int, rounds: int) -> list[Any]:
    """What each of `size` processes found, by rank. `member` is a module's function, called by name."""
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="sfumato-bench-") as folder:
        pipes = [spawn.Pipe(duplex=False) for _ in range(size)]
        members = [
            spawn.Process(target=member, args=(rank, size, folder, rounds, pipes[rank][1])) for rank in range(size)
        ]
        for one in members:
            one.start()
        found = [ours.recv() for ours, _ in pipes]
        for one in members:
            one.join()
    return found
