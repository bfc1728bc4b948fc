"""`--explain`: why the planner did what it did, from the command line to the report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from msgspec.structs import replace

from sfumato.assemble import explains
from sfumato.cli import cli
from sfumato.cli.serve import explained
from sfumato.config import Config
from sfumato.errors import ConfigError
from tests.cli.test_simulate import WORKLOAD


@pytest.fixture(autouse=True)
def _no_profiles_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFUMATO_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def workload(tmp_path: Path) -> Path:
    path = tmp_path / "mixed.toml"
    path.write_text(WORKLOAD)
    return path


def call(*words: object) -> Result:
    return CliRunner().invoke(cli, [*map(str, words)], terminal_width=160)


def test_simulate_counts_the_reasons_and_report_tells_them_by_request(workload: Path, tmp_path: Path) -> None:
    words = ("--policy", "fixed", "--policy", "sfumato", "--seeds", 1, "--no-bound", "--explain")
    result = call("simulate", workload, *words, "--journal", tmp_path / "kept")
    assert result.exit_code == 0, result.output
    assert "Why sfumato launched chunks: seed 3" in result.output
    assert "Why fixed" not in result.output
    assert "least work" in result.output
    journal = tmp_path / "kept" / "mixed" / "sfumato" / "seed-3"
    report = call("report", journal, "--out", tmp_path / "out")
    assert "Why chunks were launched" in report.output
    assert "least work" in (tmp_path / "out" / "decisions.md").read_text()
    one = call("report", journal, "--request", "r0004").output
    assert "Decisions (1 of 12 requests)" in one
    assert "r0005" not in one


def test_a_journal_without_reasons_is_reported_without_them(workload: Path, tmp_path: Path) -> None:
    call("simulate", workload, "--policy", "fixed", "--seeds", 1, "--no-bound", "--journal", tmp_path / "kept")
    report = call("report", tmp_path / "kept" / "mixed" / "fixed" / "seed-3")
    assert report.exit_code == 0, report.output
    assert "Why chunks" not in report.output


def test_all_that_a_report_writes_says_on_what_times_it_was_planned(
    workload: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    call("simulate", workload, "--policy", "fixed", "--seeds", 1, "--no-bound", "--journal", tmp_path / "kept")
    notes: dict[str, str] = {}
    monkeypatch.setattr("sfumato.cli.report.save", lambda _, path, note: notes.update({path.name: note}))
    out = tmp_path / "out"
    report = call("report", tmp_path / "kept" / "mixed" / "fixed" / "seed-3", "--out", out)
    said = "planned by fixed on times of flux: modelled on h100"
    assert said in report.output
    for page in ("report.md", "decisions.md"):
        assert (out / page).read_text().startswith(said)
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["planned"].startswith(said)
    assert metrics["requests"] == 12
    assert json.loads((out / "trace.json").read_text())["otherData"]["planned"] == metrics["planned"]
    assert notes == dict.fromkeys(("gantt.png", "latency.png", "queue.png"), metrics["planned"])


def test_a_request_that_a_journal_does_not_have_is_named(workload: Path, tmp_path: Path) -> None:
    call("simulate", workload, "--policy", "fixed", "--seeds", 1, "--no-bound", "--journal", tmp_path / "kept")
    result = call("report", tmp_path / "kept" / "mixed" / "fixed" / "seed-3", "--request", "r9999")
    assert "--request: the journal has no r9999" in str(result.exception)


def test_policies_that_tell_nothing_are_an_error_before_anything_is_played(workload: Path) -> None:
    assert "none of the policies tells reasons" in str(
        call("simulate", workload, "--explain", "--policy", "edf").exception
    )
    assert explains("sfumato")
    assert not explains("edf")


def test_a_server_is_explained_where_its_policy_tells_and_its_journal_is_kept() -> None:
    config = Config()
    with pytest.raises(ConfigError, match="name its folder with --journal"):
        explained(config)
    kept = replace(config, server=replace(config.server, journal="journal"))
    assert explained(kept).policy.options == {"explain": True}
    with pytest.raises(ConfigError, match="policy fixed tells no reasons"):
        explained(replace(kept, policy=replace(kept.policy, name="fixed")))
