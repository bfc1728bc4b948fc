"""Law L13 on groups that change: any degree at any step, packed and moved, gives the plain pipeline's picture.

The models have four attention heads: 2 and 4 ranks share them, 3 and 5 go in a ring, 6 and 8 in a ring of such groups.
"""

from __future__ import annotations

import threading
from random import Random
from typing import Any, NamedTuple

import pytest
from msgspec.structs import replace

from sfumato.models import Model, Task
from sfumato.models.group import GroupBroken

from .kinds import TOLERANCE, error, mix, pair
from .threads import PATIENCE_S, Seat, Table, encode, on_group, on_ranks


def test_passes_side_by_side_take_guided_states_and_a_group_with_halves(model: Any) -> None:
    used = model("flux")

    def refused(group: Any) -> None:
        states = encode(used, mix("flux"))
        with pytest.raises(ValueError, match="two halves of a group and guided states"):
            used.step(states, group, 2)
        assert [state.done for state in states] == [0, 0, 0]

    on_group(2, refused)


class Piece(NamedTuple):
    """Some requests that take one step together on some ranks."""

    requests: tuple[int, ...]
    ranks: tuple[int, ...]
    cfg: int


def wander(tasks: list[Task], guides: list[bool], seed: int) -> list[list[Piece]]:
    """Random rounds on four ranks until all is done: who runs with whom, on which ranks, by halves or not."""
    draw, left, rounds = Random(seed), {i: task.steps for i, task in enumerate(tasks)}, []
    while left:
        ranks, waiting, pieces = draw.sample(range(4), 4), draw.sample(sorted(left), len(left)), []
        while ranks and waiting:
            size = draw.randint(1, len(ranks))
            taken = [ranks.pop() for _ in range(size)]
            requests = [waiting.pop() for _ in range(draw.randint(1, len(waiting)))]
            halves = size % 2 == 0 and all(guides[i] for i in requests)
            cfg = draw.choice([1, 2]) if halves else 1
            pieces.append(Piece(tuple(requests), tuple(sorted(taken)), cfg))
        for i in [i for piece in pieces for i in piece.requests]:
            left[i] -= 1
            if not left[i]:
                del left[i]
        rounds.append(pieces)
    return rounds


class Crew:
    """Ranks that carry out rounds; states go from rank to rank as bytes."""

    def __init__(self, used: Model, tasks: list[Task], rounds: list[list[Piece]], ranks: int = 4) -> None:
        self.used = used
        self.rounds = rounds
        states = used.encode(tasks)
        self.static = [used.freeze_static(state) for state in states]
        self.dynamic = [used.freeze(state) for state in states]
        self.ranks = ranks
        self.ready = Table(ranks)
        self.tables = [[Table(len(piece.ranks)) for piece in pieces] for pieces in rounds]
        self.lock = threading.Lock()
        self.seen: list[Any] = []  # states after each step, of all ranks

    def run(self) -> None:
        """All rounds."""
        on_ranks(self.ranks, self.rank, [self.ready, *(table for tables in self.tables for table in tables)])

    def rank(self, rank: int) -> None:
        for pieces, tables in zip(self.rounds, self.tables, strict=True):
            self.ready.wait()
            moved = {}
            for piece, table in zip(pieces, tables, strict=True):
                if rank in piece.ranks:
                    states = [self.used.thaw(self.static[i], self.dynamic[i]) for i in piece.requests]
                    self.used.step(states, Seat(table, piece.ranks.index(rank)), piece.cfg)
                    if rank == piece.ranks[0]:
                        moved = {i: self.used.freeze(state) for i, state in zip(piece.requests, states, strict=True)}
                    with self.lock:
                        self.seen += states
            self.ready.wait()
            for i, frozen in moved.items():
                self.dynamic[i] = frozen


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "kind", ["flux", "flux-distilled", "wan-experts", "wan-expanded", "cogvideox-rotary", "hunyuan-video-guided"]
)
def test_any_wandering_over_degrees_ranks_and_batches_equals_the_plain_pipeline(
    kind: str, seed: int, model: Any, oracle: Any
) -> None:
    used, tasks = model(kind), mix(kind)
    guides = [used.offer.guided(task.payload.guidance) for task in tasks]
    crew = Crew(used, tasks, wander(tasks, guides, seed))
    crew.run()
    assert {(state.task.id, state.done) for state in crew.seen} == {
        (task.id, done + 1) for task in tasks for done in range(task.steps)
    }
    assert max(error(kind, state, oracle) for state in crew.seen) <= TOLERANCE


def test_four_ranks_then_one_then_two_equal_the_plain_pipeline(model: Any, oracle: Any) -> None:
    tasks = mix("wan-unipc")[2:]
    plan = [[Piece((0,), ranks, 1)] for ranks in ((0, 1, 2, 3), (2,), (1, 3), (0, 1, 2, 3))]
    crew = Crew(model("wan-unipc"), tasks, plan)
    crew.run()
    assert max(error("wan-unipc", state, oracle) for state in crew.seen) <= TOLERANCE


# Each with texts of unlike lengths in the batch: read aside (Wan) or attended to in turn with the picture (the others).
@pytest.mark.parametrize("kind", ["flux", "wan-unipc", "sd3-dual", "cogvideox-rotary", "hunyuan-video-guided"])
def test_a_batch_on_six_ranks_then_three_then_one_then_eight_equals_the_plain_pipeline(
    kind: str, model: Any, oracle: Any
) -> None:
    tasks = [replace(task, steps=4) for task in mix(kind)]
    sizes = ((0, 1, 2, 3, 4, 5), (1, 2, 7), (2,), tuple(range(8)))
    crew = Crew(model(kind), tasks, [[Piece((0, 1, 2), ranks, 1)] for ranks in sizes], ranks=8)
    crew.run()
    assert len(crew.seen) == len(tasks) * sum(map(len, sizes))
    assert max(error(kind, state, oracle) for state in crew.seen) <= TOLERANCE


@pytest.mark.parametrize("kind", ["flux", "wan-unipc"])
def test_passes_of_guidance_on_halves_of_three_then_five_ranks_equal_the_plain_pipeline(
    kind: str, model: Any, oracle: Any
) -> None:
    tasks = [replace(task, steps=2) for task in pair(kind)]
    crew = Crew(model(kind), tasks, [[Piece((0, 1), tuple(range(size)), 2)] for size in (6, 10)], ranks=10)
    crew.run()
    assert max(error(kind, state, oracle) for state in crew.seen) <= TOLERANCE


@pytest.mark.parametrize("size", [2, 3])  # of a group that shares the heads, of a ring
def test_a_lost_member_leaves_the_states_as_they_were(size: int, model: Any, oracle: Any) -> None:
    used, tasks, stepped = model("flux"), mix("flux")[:2], threading.Barrier(size, timeout=PATIENCE_S)

    def work(group: Any) -> list[Any]:
        states = encode(used, tasks)
        used.step(states, group)
        stepped.wait()
        if group.rank == 1:
            raise ZeroDivisionError("this member dies")
        with pytest.raises(GroupBroken):
            used.step(states, group)
        used.step(states)  # it goes on alone
        kept.extend(states)
        return states

    kept: list[Any] = []
    with pytest.raises(ZeroDivisionError):
        on_group(size, work)
    assert [state.done for state in kept] == [2, 2] * (size - 1)
    assert max(error("flux", state, oracle) for state in kept) <= TOLERANCE
