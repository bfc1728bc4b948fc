"""Attention on a group by Ulysses, in a ring and by both: the same tokens and heads on as many ranks, in one run.

Two and four processes with one thread each, joined by the mesh (with two cores the four are more than there is room
for). The ways take turns, round by round; of a round the slowest member counts. A figure is the median over rounds of
how many times as long a ring took as Ulysses beside it, by the clock and in CPU time (all members together). What a
rank sends is counted: Ulysses its share of q, k, v and of what is seen, a ring its keys and values to each other rank.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from bench.figure import Figure, Result, main, ms
from bench.members import found_by

HEADS, WIDTH = 8, 64
# Their sums divide by every size: nothing is padded.
CASES = {"one image of 1024 tokens": ((64,), (1024,)), "images of 256, 576, 1024": ((20, 64, 40), (256, 576, 1024))}
WAYS = {2: {"Ulysses": 2, "ring": 1}, 4: {"Ulysses": 4, "2 x 2": 2, "ring": 1}}  # name -> who shares the heads
Took = dict[str, list[tuple[float, float]]]
"""Of each way the seconds of each round, by the clock and of the CPU."""


def measure(quick: bool) -> Result:
    rounds = 20 if quick else 200
    figures: list[Figure] = []
    details: dict[str, Any] = {"rounds": rounds, "heads": HEADS, "width": WIDTH}
    for size, ways in WAYS.items():
        for case, members in _on_ranks(size, rounds).items():
            clock = {way: [max(one) for one in zip(*_of(members, way, 0), strict=True)] for way in ways}
            spent = {way: [sum(one) for one in zip(*_of(members, way, 1), strict=True)] for way in ways}
            for way in list(ways)[1:]:
                for unit, took in (("", clock), (", CPU", spent)):
                    ratio = median(a / b for a, b in zip(took[way], took["Ulysses"], strict=True))
                    figures.append(Figure(name=f"{size} ranks, {case}: {way}{unit}", value=ratio, unit="x"))
            details[f"{size} ranks, {case}"] = {
                way: {"ms": ms(median(clock[way])), "cpu_ms": ms(median(spent[way]))} for way in ways
            }
        details[f"{size} ranks: sent of all q, k or v"] = {way: _sent(size, width) for way, width in ways.items()}
    return Result(figures=tuple(figures), details=details)


def _of(members: list[Took], way: str, which: int) -> list[list[float]]:
    return [[one[which] for one in member[way]] for member in members]


def _sent(size: int, width: int) -> float:
    """What a rank sends to others, in units of the keys of all tokens with all heads."""
    return round((4 * (width - 1) / width + 2 * (size // width - 1)) / size, 3)


def _on_ranks(size: int, rounds: int) -> dict[str, list[Took]]:
    """What each member took, by case."""
    found: list[dict[str, Took]] = found_by(_member, size, rounds)
    return {case: [one[case] for one in found] for case in CASES}


def _member(rank: int, size: int, folder: str, rounds: int, out: Any) -> None:
    import torch

    from sfumato.models.sequence import Pack
    from sfumato.runtime.collectives import carrier
    from sfumato.runtime.meshes import Door

    class Shared(Pack):
        """One whose heads so many neighbours share, though more could."""

        ranks = size

        def width(self, heads: int) -> int:
            del heads
            return self.ranks

    torch.set_num_threads(1)
    mesh = Door(Path(folder), rank, 60.0).meet("bench", tuple(range(size)), lambda: False)
    group = carrier("mesh", mesh, Path(folder) / "store", "cpu", 60.0)
    found: dict[str, Took] = {}
    for case, streams in CASES.items():
        ways: dict[str, Callable[[], Any]] = {}
        q, k, v = torch.randn(3, 1, sum(-(-sum(lengths) // size) for lengths in streams), HEADS, WIDTH)
        for way, width in WAYS[size].items():
            pack = Shared(*streams, group=group)
            pack.ranks = width
            ways[way] = partial(pack.attend, q, k, v)
        with torch.inference_mode():
            first, *others = (way() for way in ways.values())
            assert all(torch.allclose(first, other, atol=1e-5) for other in others), "the ways see unlike things"
            found[case] = _race(ways, rounds, lambda: mesh.gather(b""))
    mesh.gather(b"")
    out.send(found)


def _race(ways: dict[str, Callable[[], object]], rounds: int, meet: Callable[[], object]) -> Took:
    """The first two rounds warm up. All begin together; the order of the ways turns round by round."""
    took: Took = {way: [] for way in ways}
    order = list(ways)
    for turn in range(rounds + 2):
        for way in order:
            meet()
            began, spent = time.perf_counter(), time.process_time()
            ways[way]()
            if turn > 1:
                took[way].append((time.perf_counter() - began, time.process_time() - spent))
        order.append(order.pop(0))
    return took


if __name__ == "__main__":
    main(measure)
