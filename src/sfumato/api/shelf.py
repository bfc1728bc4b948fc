"""A bounded store in memory: finished files by id, oldest out first, gone after their time."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Shelf(Generic[Item]):
    """Items by key, at most `count` of them and `total_bytes` together, for `ttl_s` seconds of `clock` each."""

    def __init__(self, *, count: int, total_bytes: int, ttl_s: float, clock: Callable[[], float]) -> None:
        self._count, self._bytes, self._ttl_s, self._clock = count, total_bytes, ttl_s, clock
        self._items: OrderedDict[str, tuple[float, int, Item]] = OrderedDict()
        self._held = 0

    def put(self, key: str, item: Item, size: int = 0) -> None:
        """Keep `item` until its time; older ones leave if it needs their room, unless it would not fit even then."""
        self.drop(key)
        if size > self._bytes:
            return
        self._items[key] = (self._clock() + self._ttl_s, size, item)
        self._held += size
        while self._items and (len(self._items) > self._count or self._held > self._bytes):
            self.drop(next(iter(self._items)))

    def get(self, key: str) -> Item | None:
        self._expire()
        found = self._items.get(key)
        return None if found is None else found[2]

    def drop(self, key: str) -> None:
        found = self._items.pop(key, None)
        self._held -= 0 if found is None else found[1]

    def _expire(self) -> None:
        now = self._clock()
        while self._items:
            key, (until, _, _) = next(iter(self._items.items()))
            if until > now:
                return
            self.drop(key)
