"""Handing asks to the engine: all of them or none, and the memory of what was posted under an Idempotency-Key.

The usual clients post again after a time-out of their own. With a key the second post finds the first one's work;
without one, the first is cancelled as its client leaves, and the second starts anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Any, Generic, TypeVar

from msgspec.structs import replace
from starlette.requests import Request

from sfumato.api.config import ApiConfig
from sfumato.api.endings import Endings
from sfumato.api.errors import ApiError, invalid
from sfumato.api.metrics import Metrics
from sfumato.api.shelf import Shelf
from sfumato.errors import OverloadedError, SfumatoError
from sfumato.runtime.service import Ask, Service, Ticket

Item = TypeVar("Item")


class Desk:
    """Where asks are handed in: the engine, and the count of what became of them."""

    def __init__(self, service: Service, metrics: Metrics) -> None:
        self._service, self._metrics = service, metrics
        self._endings = Endings()

    def submit(self, asks: Sequence[Ask]) -> tuple[Ticket, ...]:
        """Tickets with one deadline. Raises OverloadedError, having given up those already queued."""
        tickets: list[Ticket] = []
        try:
            for ask in asks:
                since = tickets[0].arrived_at if tickets else ask.arrived_at
                tickets.append(self._service.submit(replace(ask, arrived_at=since)))
                self._endings.then(tickets[-1], self._metrics.count)
        except SfumatoError as error:
            if isinstance(error, OverloadedError):
                self._metrics.overloaded(asks[0].model)
            for ticket in tickets:
                self.release(ticket)
            raise
        return tuple(tickets)

    def release(self, ticket: Ticket) -> None:
        """Nobody wants it (any more): cancelled if it is live, and its output freed once it has ended."""
        self._service.cancel(ticket.id)
        if ticket.ended.is_set():
            self._service.forget(ticket.id)
        else:
            self._endings.then(ticket, lambda ended: self._service.forget(ended.id))

    def close(self) -> None:
        self._endings.stop()


class Keyed(Generic[Item]):
    """What was made under a key, for as long as the bounds of the config let it be remembered."""

    def __init__(self, config: ApiConfig, clock: Callable[[], float]) -> None:
        self._shelf: Shelf[tuple[str, Item]] = Shelf(
            count=config.keyed_replies, total_bytes=config.keyed_bytes, ttl_s=config.keyed_ttl_s, clock=clock
        )

    def find(self, key: str | None, fields: dict[str, Any]) -> Item | None:
        """The item under `key`. Raises ApiError if it was made from other fields."""
        kept = None if key is None else self._shelf.get(key)
        if kept is None:
            return None
        if kept[0] != _print(fields):
            message = "Idempotency-Key: was used for another request; use a new key for each request"
            raise ApiError(400, message, param="Idempotency-Key", code="idempotency_mismatch")
        return kept[1]

    def keep(self, key: str | None, fields: dict[str, Any], item: Item, size: int = 0) -> None:
        if key is not None:
            self._shelf.put(key, (_print(fields), item), size)

    def holds(self, key: str, item: Item) -> bool:
        """Whether `item` is what is under `key` now."""
        kept = self._shelf.get(key)
        return kept is not None and kept[1] is item

    def drop(self, key: str | None) -> None:
        if key is not None:
            self._shelf.drop(key)


def key_of(request: Request) -> str | None:
    """The request's Idempotency-Key, if it has one."""
    key = request.headers.get("idempotency-key")
    if key is not None and len(key) > 255:
        raise invalid("Idempotency-Key", "is longer than 255 characters; use a shorter one")
    return key


def _print(fields: dict[str, Any]) -> str:
    return sha256(repr(sorted(fields.items())).encode("utf-8", "replace")).hexdigest()
