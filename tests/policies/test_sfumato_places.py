"""Where `sfumato` runs things: inside a machine where the way across costs, beside others where all ranks are asked."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

from msgspec.structs import replace

from sfumato.assemble import policy_named
from sfumato.core.commands import Launch
from sfumato.core.cost import Work
from sfumato.core.events import AnyEvent, Arrived, WorkerUp
from sfumato.core.journal import Entry, Journal, Record
from sfumato.core.serving import Serving
from sfumato.core.values import Group, RankInfo, Request
from sfumato.policies.sfumato.free import Free
from sfumato.policies.sfumato.parts import Part
from sfumato.policies.sfumato.residuals import Residuals
from sfumato.sim import Simulation
from tests.costs import MODELS, PARTS, PlainCosts
from tests.policies.small import image, run


class SlowLink(PlainCosts):
    """Across machines a step takes four times as long."""

    def unit_s(self, work: Work) -> float:
        return super().unit_s(replace(work, nodes=1)) * (4.0 if work.nodes > 1 else 1.0)


class Kinds(PlainCosts):
    """A fast device takes a quarter of the time."""

    def unit_s(self, work: Work) -> float:
        return super().unit_s(work) / (4.0 if work.device == "fast" else 1.0)


def _groups(infos: Sequence[RankInfo], requests: Sequence[Request], costs: PlainCosts) -> tuple[set[Group], int]:
    """The groups of all launches, and how many requests were served in time."""
    entries: list[Entry] = []
    serving = Serving(
        models=MODELS,
        costs=costs,
        policy=policy_named("sfumato"),
        fallback=policy_named("fixed"),
        journal=Journal(entries.append),
        strict=True,
    )
    script: list[AnyEvent] = [WorkerUp(at=0.0, info=info, parts=PARTS) for info in infos]
    script += [Arrived(at=request.arrived_at, request=request) for request in requests]
    outcomes = Simulation(serving, costs, script).run()
    commands = [command for entry in entries if isinstance(entry, Record) for command in entry.commands]
    groups = {command.chunk.group for command in commands if isinstance(command, Launch)}
    return groups, sum(outcome.met for outcome in outcomes)


def _machines(count: int, each: int) -> list[RankInfo]:
    return [RankInfo(rank=rank, node=f"m{rank // each}") for rank in range(count * each)]


def test_where_the_way_across_costs_every_group_lies_inside_one_machine() -> None:
    requests = [image(f"r{n}", 1.2 if n % 2 else 3.0, at=0.4 * n) for n in range(20)]
    groups, _ = _groups(_machines(2, 4), requests, SlowLink())
    assert max(map(len, groups)) == 4
    assert all(len({rank // 4 for rank in group}) == 1 for group in groups)


def test_where_it_costs_nothing_a_group_may_lie_across() -> None:
    """Eight steps take 8/9 s on four ranks and 4/3 s on two, which is too long."""
    groups, met = _groups(_machines(2, 2), [image("a", 1.1)], PlainCosts())
    assert (0, 1, 2, 3) in groups
    assert met == 1


def test_faster_ranks_that_nobody_needs_are_used() -> None:
    """Relaxed requests cost as little on the slow device; with the fast one idle they go there."""
    infos = [RankInfo(rank=rank, device="slow") for rank in range(4)] + [RankInfo(rank=4, device="fast")]
    groups, met = _groups(infos, [image("a", 60.0)], Kinds())
    assert (4,) in groups
    assert met == 1


def test_who_needs_all_ranks_gives_way_to_a_smaller_request_that_cannot_wait() -> None:
    """The wide one needs 16 steps on four ranks, 16/9 s, and could bear 0.1 s; the small one takes longer than that."""
    wide = image("wide", 2.0, steps=16)
    small = image("small", 0.8, at=0.2, steps=4)
    assert run("sfumato", 4, wide).met == {"wide"}
    assert run("sfumato", 4, wide, small).met == {"small"}


def test_who_needs_all_ranks_and_cannot_wait_goes_narrower_beside_a_smaller_request() -> None:
    """A step on two ranks loses 1/18 s, of 0.17 s; longer than a quarter of that, which only who can wait minds."""
    wide = image("wide", 2.05, steps=16)
    small = image("small", 0.5, at=0.2, steps=2)
    found = run("sfumato", 4, wide, small)
    assert found.met == {"wide", "small"}
    assert found.degrees("wide") == [4, 2, 4]


def test_beside_a_slow_rank_the_others_are_known_to_keep_their_pace() -> None:
    """The cost model has one factor for all ranks: with a slow one among them it has the others too slow."""
    assert Residuals(ranks=((0, -0.25), (1, -0.25), (2, 0.85))).usual == 0.78
    assert Residuals().usual == 1.0


def test_a_narrow_group_moves_off_a_machine_that_is_free_as_a_whole() -> None:
    def picked(busy: set[int], degree: int, second: int = 8) -> Group | None:
        nodes = tuple(range(4)), tuple(range(4, second))
        part = Part(ranks=tuple(range(second)), device="cpu", slow=1.0, nodes=nodes)
        places = SimpleNamespace(where={rank: (0, rank > 3) for rank in part.ranks})
        view = SimpleNamespace(free=[rank for rank in part.ranks if rank not in busy], can_run=lambda job, rank: True)
        kinds, memory = [SimpleNamespace(across=(False,))], SimpleNamespace(ample=True)
        free = Free(view, (part,), places, kinds, memory)  # type: ignore[arg-type]
        return free.group(SimpleNamespace(kind=0, job=SimpleNamespace(home=(5,))), 0, degree)  # type: ignore[arg-type]

    assert picked({0}, 1) == (1,)
    assert picked({0}, 4) == (4, 5, 6, 7)
    assert picked({0, 7}, 1) == (5,)
    assert picked({0, 1, 2, 3}, 1) == (5,)
    assert picked({11}, 4, 12) == (4, 5, 6, 7), "home"
    assert picked({5, 6, 7}, 4, 12) == (0, 1, 2, 3), "a group that needs a whole machine takes it"
