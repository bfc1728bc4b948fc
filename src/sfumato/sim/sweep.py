"""Many runs of one kind: on all cores, and none of them twice.

A run is named by a key that covers everything it depends on. What was run is kept in a folder, a file a key, so a sweep
that was stopped goes on where it was, and a second one costs nothing. Results come in the order of the tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

Task = TypeVar("Task")
Result = TypeVar("Result")


class Kept(Generic[Result]):
    """Results of type `kind` in a folder; without a folder nothing is kept. Those of `anew` are written, never read."""

    def __init__(self, folder: Path | None, kind: type[Result], anew: Collection[str] = ()) -> None:
        self._folder = folder
        self._anew = anew
        self._decoder = msgspec.json.Decoder(kind)

    def get(self, key: str) -> Result | None:
        """What was kept, if it was and can be read."""
        if self._folder is None or key in self._anew:
            return None
        with suppress(OSError, msgspec.DecodeError):
            return self._decoder.decode(self._path(key).read_bytes())
        return None

    def put(self, key: str, result: Result) -> None:
        if self._folder is None:
            return
        path = self._path(key)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".part")
        fresh.write_bytes(msgspec.json.encode(result))
        fresh.replace(path)

    def _path(self, key: str) -> Path:
        assert self._folder is not None
        return self._folder / key[:2] / f"{key[2:]}.json"


def sweep(
    tasks: Sequence[tuple[str, Task]],
    run: Callable[[Task], Result],
    kept: Kept[Result],
    *,
    processes: int = 1,
    watch: Callable[[Task], object] = lambda _: None,
) -> list[Result]:
    """Run (key, task) pairs, each key once; `run` is a module's function, as other processes call it by name.

    `watch` is told of each task that is done, also of those whose result was kept.
    """
    found: dict[str, Result] = {}
    missing: dict[str, Task] = {}
    for key, task in tasks:
        known = kept.get(key) if key not in found else found[key]
        if known is None:
            missing[key] = task
        else:
            found[key] = known
            watch(task)

    def take(key: str, result: Result) -> None:
        found[key] = result
        kept.put(key, result)
        watch(missing[key])

    if processes == 1 or len(missing) < 2:
        for key, task in missing.items():
            take(key, run(task))
        return [found[key] for key, _ in tasks]
    with ProcessPoolExecutor(min(processes, len(missing)), mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(run, task): key for key, task in missing.items()}
        try:
            for future in as_completed(futures):
                take(futures[future], future.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return [found[key] for key, _ in tasks]
