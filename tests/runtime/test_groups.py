"""Groups among threads of this process: what they carry, how they meet, how they end."""

from __future__ import annotations

import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sfumato.models.group import Group, GroupBroken
from sfumato.runtime.collectives import carrier
from sfumato.runtime.groups import Carrier, Groups, Team
from sfumato.runtime.meshed import MeshedGroup
from sfumato.runtime.meshes import LOOPBACK, MOST_BYTES, Mesh
from sfumato.runtime.names import Names, neighbours
from sfumato.runtime.wire import Leave, Meet, Message

KINDS = ("mesh", "gloo")
PATIENCE_S = 20.0


def never() -> bool:
    return False


def together(folder: Path, count: int, play: Callable[[Team], Any], kind: str = "mesh") -> list[Any]:
    """What each of `count` members of a group makes of it; an exception is returned, not raised."""
    ranks = tuple(range(count))

    def carried(name: str, mesh: Mesh) -> Carrier:
        return MeshedGroup(mesh) if kind == "numpy" else carrier(kind, mesh, folder / name, "cpu", PATIENCE_S)

    def member(rank: int) -> Any:
        groups = Groups(folder, rank, PATIENCE_S, carried)
        try:
            return play(groups.of("all", ranks, never))
        except GroupBroken as error:
            return error
        finally:
            groups.close()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(member, ranks))


def number(group: Group, *values: float, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.tensor(values, dtype=dtype) + group.rank


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64])
def test_every_member_gets_what_the_others_have_for_it(kind: str, dtype: torch.dtype, tmp_path: Path) -> None:
    def play(team: Team) -> tuple[Any, ...]:
        group = team.carrier
        parts = torch.stack([number(group, 10 * other, 0, dtype=dtype) for other in range(3)])
        swapped = group.all_to_all(parts)
        gathered = group.all_gather(number(group, 7, dtype=dtype))
        told = group.broadcast(number(group, 40, dtype=dtype), 2)
        return swapped[:, 0].tolist(), gathered[:, 0].tolist(), told.tolist(), swapped.dtype

    for rank, found in enumerate(together(tmp_path, 3, play, kind)):
        assert found == ([10 * rank, 10 * rank + 1, 10 * rank + 2], [7, 8, 9], [42], dtype)


@pytest.mark.parametrize("kind", [*KINDS, "numpy"])
def test_a_group_splits_into_runs_of_neighbours(kind: str, tmp_path: Path) -> None:
    def play(team: Team) -> tuple[Any, ...]:
        half = team.carrier.split(2)
        own: Any = np.array([team.mesh.rank]) if kind == "numpy" else torch.tensor([team.mesh.rank])
        return half.size, half.rank, half.all_gather(own).tolist(), team.carrier.split(2) is half

    found = together(tmp_path, 4, play, kind)
    halves = [[0], [1]], [[2], [3]]
    assert found == [(2, rank % 2, halves[rank // 2], True) for rank in range(4)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("by", [1, 2, 3])
def test_what_is_passed_on_goes_round(kind: str, by: int, tmp_path: Path) -> None:
    floats = 3 * MOST_BYTES

    def play(team: Team) -> bool:
        group = team.carrier
        passed = group.shift(torch.full((2, floats), group.rank, dtype=torch.bfloat16), by)
        return passed.shape == (2, floats) and bool((passed == (group.rank - by) % 4).all())

    assert together(tmp_path, 4, play, kind) == [True] * 4


def test_what_no_socket_takes_at_once_is_swapped_all_the_same(tmp_path: Path) -> None:
    floats = 40 * MOST_BYTES

    def play(team: Team) -> bool:
        group = team.carrier
        out = group.all_to_all(torch.full((3, floats), float(group.rank)))
        told = group.broadcast(torch.full((floats,), float(group.rank)), 1)
        return all((out[other] == other).all() for other in range(3)) and bool((told == 1).all())

    assert together(tmp_path, 3, play) == [True] * 3


@pytest.mark.parametrize("kind", KINDS)
def test_who_leaves_is_noticed_by_all_who_wait_for_it(kind: str, tmp_path: Path) -> None:
    def play(team: Team) -> str:
        team.carrier.all_gather(torch.zeros(1))
        if team.mesh.rank == 1:
            team.close()
            return "left"
        team.carrier.all_gather(torch.zeros(1))
        return "waited for nobody"

    found = together(tmp_path, 3, play, kind)
    assert found[1] == "left"
    assert all(isinstance(found[rank], GroupBroken) for rank in (0, 2))


def test_the_word_of_the_first_goes_to_all_and_words_are_told_apart(tmp_path: Path) -> None:
    def play(team: Team) -> tuple[Any, ...]:
        mesh = team.mesh
        words = [mesh.broadcast(bytes([mesh.rank, turn])) for turn in range(100)]
        return words[-1], mesh.gather(b"ab"[: mesh.rank])

    assert together(tmp_path, 3, play) == [(bytes([0, 99]), [b"", b"a", b"ab"])] * 3


def test_nobody_waits_for_ranks_that_do_not_come_once_it_is_given_up(tmp_path: Path) -> None:
    asked = iter([False] * 3)
    for ranks in ((0, 1), (1, 2)):  # the other is to call, and is to be called
        groups = Groups(tmp_path, 1, PATIENCE_S, lambda _, mesh: MeshedGroup(mesh))
        with pytest.raises(GroupBroken, match="given up"):
            groups.of("nobody", ranks, lambda: next(asked, True))
        groups.close()


def test_a_stranger_at_the_door_and_one_who_came_too_early_disturb_nobody(tmp_path: Path) -> None:
    first = Groups(tmp_path, 0, PATIENCE_S, lambda _, mesh: MeshedGroup(mesh))
    port = int((tmp_path / "0.port").read_text())
    with (
        socket.create_connection((LOOPBACK, port)) as stranger,
        socket.create_connection((LOOPBACK, port)),
        ThreadPoolExecutor(1) as pool,
    ):
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
        second = Groups(tmp_path, 1, PATIENCE_S, lambda _, mesh: MeshedGroup(mesh))
        early = pool.submit(second.of, "later", (0, 1), never)
        assert first.of("later", (0, 1), never).mesh.rank == 0
        assert early.result().mesh.rank == 1
    for groups in (first, second):
        groups.close()


def test_a_successor_of_a_dead_rank_is_found(tmp_path: Path) -> None:
    dead = Groups(tmp_path, 0, PATIENCE_S, lambda _, mesh: MeshedGroup(mesh))
    dead.close()
    second = Groups(tmp_path, 1, PATIENCE_S, lambda _, mesh: MeshedGroup(mesh))
    with ThreadPoolExecutor(1) as pool:
        came = pool.submit(second.of, "new", (0, 1), never)
        successor = Groups(tmp_path, 0, PATIENCE_S, lambda _, mesh: MeshedGroup(mesh))
        assert successor.of("new", (0, 1), never).mesh.rank == 0
        assert came.result().mesh.rank == 1
    for groups in (second, successor):
        groups.close()


# -- names ----------------------------------------------------------------------------------------------------------


def test_the_name_of_a_broken_group_never_comes_back() -> None:
    names = Names(lambda *_: None)
    first = names.of((0, 1))
    assert names.of((0, 1)) == first
    names.broken((0, 1))
    second = names.of((0, 1))
    names.lose(1)
    assert len({first, second, names.of((0, 1)), names.of((0, 2))}) == 4
    assert names.of((3,)) == ""


def test_the_groups_used_last_stay_warm_and_the_others_are_left_by_all_their_ranks() -> None:
    said: list[tuple[int, Message]] = []
    names = Names(lambda rank, message: said.append((rank, message)), warm=2)
    first = names.of((0, 1))
    names.of((1, 2))
    assert names.of((0, 1)) == first
    names.of((0, 2))
    assert said == [(1, Leave(ranks=(1, 2))), (2, Leave(ranks=(1, 2)))]
    said.clear()
    names.lose(2)
    assert [rank for rank, _ in said] == [0, 2]


def test_neighbours_are_warmed_up_by_twos_and_fours_and_no_wider_than_models_go() -> None:
    assert neighbours(8) == [(0, 1), (2, 3), (4, 5), (6, 7), (0, 1, 2, 3), (4, 5, 6, 7), tuple(range(8))]
    assert neighbours(3) == [(0, 1)]
    assert neighbours(1) == []
    said: list[tuple[int, Message]] = []
    Names(lambda rank, message: said.append((rank, message))).warm_up(4, widest=2)
    assert [(rank, message.ranks) for rank, message in said if isinstance(message, Meet)] == [
        (0, (0, 1)),
        (1, (0, 1)),
        (2, (2, 3)),
        (3, (2, 3)),
    ]
