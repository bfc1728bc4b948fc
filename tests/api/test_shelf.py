"""The bounded store of finished files."""

from __future__ import annotations

from sfumato.api.shelf import Shelf


def shelf(*, count: int = 10, total_bytes: int = 1000) -> tuple[Shelf[str], list[float]]:
    now = [0.0]
    return Shelf(count=count, total_bytes=total_bytes, ttl_s=60, clock=lambda: now[0]), now


def kept(of: Shelf[str], keys: str) -> str:
    return "".join(key for key in keys if of.get(key) is not None)


def test_beyond_the_count_the_oldest_leaves() -> None:
    items, _ = shelf(count=2)
    for key in "abc":
        items.put(key, key)
    assert kept(items, "abc") == "bc"


def test_beyond_the_bytes_the_oldest_leave() -> None:
    items, _ = shelf(total_bytes=100)
    for key, size in (("a", 40), ("b", 40), ("c", 70)):
        items.put(key, key, size)
    assert kept(items, "abc") == "c"


def test_what_is_larger_than_the_shelf_is_not_kept_and_takes_no_room() -> None:
    items, _ = shelf(total_bytes=100)
    items.put("a", "a", 60)
    items.put("b", "b", 101)
    items.put("c", "c", 40)
    assert kept(items, "abc") == "ac"


def test_an_item_that_is_put_again_counts_once_and_lives_anew() -> None:
    items, now = shelf(total_bytes=100)
    items.put("a", "a", 60)
    now[0] = 30
    items.put("a", "A", 90)
    now[0] = 80
    assert items.get("a") == "A"
    now[0] = 90
    assert items.get("a") is None
