"""Options of a policy that name a class or a degree that is not there are a mistake, said before anything is played."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from sfumato.cli import cli
from sfumato.errors import ConfigError
from sfumato.workload.arrivals import draw
from sfumato.workload.load import parse
from sfumato.workload.trace import write_trace
from tests.cli.test_simulate import WORKLOAD


@pytest.fixture
def workload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SFUMATO_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "mixed.toml"
    path.write_text(WORKLOAD)
    return path


def simulate(*words: object) -> Result:
    return CliRunner().invoke(cli, ["simulate", *map(str, words), "--seeds", "1", "--no-bound"])


@pytest.mark.parametrize(
    ("policy", "field", "words"),
    [
        ('sfumato,shares={"smal": 0.3}', "shares", 'policy sfumato: shares name class "smal"; did you mean "small"?'),
        (
            'sfumato,weights={"large": 2, "nosuch": 3}',
            "weights",
            'weights name class "nosuch"; use one of: small, large',
        ),
        ("fixed,degree=16", "degree", "policy fixed: no model runs at degree 16 on 4 ranks; use one of: 1, 2, 4"),
        ("fixed,degree=8", "degree", "no model runs at degree 8 on 4 ranks"),
        ("edf,degree=3", "degree", "policy edf: no model runs at degree 3 on 4 ranks"),
    ],
)
def test_what_the_workload_does_not_have_is_named(
    workload: Path, monkeypatch: pytest.MonkeyPatch, policy: str, field: str, words: str
) -> None:
    monkeypatch.setattr("sfumato.cli.simulate.courses_of", None)  # nothing is played
    error = simulate(workload, "--policy", "fixed", "--policy", policy).exception
    assert isinstance(error, ConfigError)
    assert words in str(error)
    assert error.field == field


def test_every_workload_is_looked_at_before_the_first_is_played(
    workload: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.toml"
    other.write_text(WORKLOAD.replace("ranks = 4", "ranks = 2"))
    monkeypatch.setattr("sfumato.cli.simulate.courses_of", None)
    assert "degree 4 on 2 ranks" in str(simulate(workload, other, "--policy", "fixed,degree=4").exception)


@pytest.mark.parametrize("policy", ['sfumato,shares={"small": 0.3},weights={"large": 2}', "fixed,degree=4"])
def test_what_is_there_is_played(workload: Path, policy: str) -> None:
    result = simulate(workload, "--policy", policy)
    assert result.exit_code == 0, result.output


def test_classes_of_a_trace_are_known(workload: Path, tmp_path: Path) -> None:
    write_trace(tmp_path / "trace.jsonl", draw(parse(WORKLOAD.replace("slo_scale", "slo"))))
    head = WORKLOAD[: WORKLOAD.index("[[classes]]")]
    workload.write_text(f'{head}[arrivals]\nprocess = "trace"\nfile = "trace.jsonl"\n')
    assert simulate(workload, "--policy", 'sfumato,weights={"small": 2}').exit_code == 0
    assert 'did you mean "small"?' in str(simulate(workload, "--policy", 'sfumato,weights={"smal": 2}').exception)


def test_where_ranks_are_sought_a_degree_may_be_wider_than_the_file(workload: Path) -> None:
    words = (workload, "--find-ranks", "--attainment", 0.1, "--policy")
    result = simulate(*words, "fixed,degree=8")
    assert result.exit_code == 0, result.output
    assert "no model runs at degree 16; use one of: 1, 2, 4, 8" in str(simulate(*words, "fixed,degree=16").exception)


def test_a_policy_of_ones_own_may_mean_something_else(
    workload: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_words.py").write_text(
        "import msgspec\nfrom sfumato.core.policy import Plan\n"
        "class Own:\n"
        "    name, work_conserving = 'own', False\n"
        "    class Options(msgspec.Struct, frozen=True):\n"
        "        degree: int = 1\n        weights: dict[str, float] = {}\n"
        "    def __init__(self, options=None): pass\n"
        "    def plan(self, view): return Plan()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    result = simulate(workload, "--policy", 'own_words:Own,degree=300,weights={"age": 2}')
    assert result.exit_code == 0, result.output


def test_a_server_does_not_start_with_a_degree_that_its_workers_cannot_run(tmp_path: Path) -> None:
    words = ("--paced", "--workers", "2", "--port", "0", "--policy", "fixed", "--policy-option", "degree=4")
    run = subprocess.run(
        [sys.executable, "-m", "sfumato", "serve", *words],
        env={**os.environ, "SFUMATO_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 2
    assert "policy fixed: no model runs at degree 4 on 2 ranks; use one of: 1, 2" in run.stderr
