"""Sweeps: each run once, in order, resumed; the edges that searches find; which source a result rests on."""

from __future__ import annotations

from pathlib import Path

import pytest

from sfumato.sim.search import least, most
from sfumato.sim.sources import fingerprint
from sfumato.sim.sweep import Kept, sweep

RUN: list[int] = []


def double(task: int) -> int:
    RUN.append(task)
    return 2 * task


def fail_at_three(task: int) -> int:
    if task == 3:
        raise ValueError("three")
    return double(task)


@pytest.fixture(autouse=True)
def _nothing_has_run() -> None:
    RUN.clear()


def test_results_come_in_the_order_of_the_tasks_and_equal_keys_run_once() -> None:
    tasks = [("aa1", 1), ("aa2", 2), ("aa1", 1)]
    assert sweep(tasks, double, Kept(None, int)) == [2, 4, 2]
    assert RUN == [1, 2]


def test_a_stopped_sweep_goes_on_where_it_was(tmp_path: Path) -> None:
    tasks = [(f"key{n}", n) for n in range(1, 5)]
    with pytest.raises(ValueError, match="three"):
        sweep(tasks, fail_at_three, Kept(tmp_path, int))
    RUN.clear()
    assert sweep(tasks, double, Kept(tmp_path, int)) == [2, 4, 6, 8]
    assert RUN == [3, 4]


def test_what_is_to_be_made_anew_is_kept_all_the_same(tmp_path: Path) -> None:
    tasks = [("key1", 1), ("key2", 2)]
    for _ in range(2):
        assert sweep(tasks, double, Kept(tmp_path, int, anew={"key1"})) == [2, 4]
    assert RUN == [1, 2, 1]
    assert sweep(tasks, fail_at_three, Kept(tmp_path, int)) == [2, 4]
    assert RUN == [1, 2, 1]


def test_a_result_that_was_cut_short_is_made_again(tmp_path: Path) -> None:
    kept = Kept(tmp_path, int)
    kept.put("key1", 7)
    (tmp_path / "ke" / "y1.json").write_text("")
    assert kept.get("key1") is None


def test_other_processes_give_the_same(tmp_path: Path) -> None:
    tasks = [(f"key{n}", n) for n in range(4)]
    watched: list[int] = []
    assert sweep(tasks, double, Kept(tmp_path, int), processes=2, watch=watched.append) == [0, 2, 4, 6]
    assert sorted(watched) == [0, 1, 2, 3]
    assert RUN == []


@pytest.mark.parametrize("edge", [0.3, 1.0, 7.7, 40.0])
def test_the_highest_rate_is_found_to_five_percent(edge: float) -> None:
    found = most(lambda factor: factor <= edge)
    assert found <= edge < found * 1.051


def test_a_rate_that_is_never_held_is_zero() -> None:
    assert most(lambda _: False) == 0.0


@pytest.mark.parametrize("edge", [1, 5, 8, 100])
def test_the_smallest_pool_is_found_exactly(edge: int) -> None:
    assert least(lambda ranks: ranks >= edge, start=8) == edge


def test_a_pool_that_no_size_makes_enough_is_none() -> None:
    assert least(lambda _: False, start=8, top=64) is None


def test_a_result_rests_on_what_its_policy_imports_and_on_nothing_else() -> None:
    from sfumato.sim.sources import _imports, _path

    path = _path("sfumato.policies.fixed")
    assert path is not None
    assert "sfumato.policies.groups" in set(_imports(path.read_bytes(), "sfumato.policies.fixed"))
    assert fingerprint("sfumato.policies.fixed") != fingerprint("sfumato.policies.sjf")
    assert fingerprint("sfumato.policies.fixed") == fingerprint("sfumato.policies.fixed")


@pytest.mark.parametrize(
    ("package", "statement"),
    [("own_a", "from .rules import rule"), ("own_b", "import own_b.rules"), ("own_c", "from own_c import rules")],
)
def test_a_result_of_ones_own_policy_rests_on_the_modules_beside_it(
    package: str, statement: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / package
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "mine.py").write_text(statement)
    (folder / "rules.py").write_text("rule = 1")
    monkeypatch.syspath_prepend(tmp_path)
    before = fingerprint.__wrapped__(f"{package}.mine")
    (folder / "rules.py").write_text("rule = 2")
    assert fingerprint.__wrapped__(f"{package}.mine") != before
