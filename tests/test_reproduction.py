"""The page that compares the papers' figures with ours: what it says of claims that hold, and of those that do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.papers import PAPERS
from bench.papers.claims import Claim, Paper, Run, Score, Setting, above
from bench.reproduction import QUICK, Size, page, played
from sfumato.assemble import policy_named

WORKLOADS = Path(__file__).parents[1] / "recipes" / "workloads"


def score(attainment: float) -> Score:
    return Score(attainment=attainment, by_kind={}, mean_s=1.0, p95_s=2.0)


@pytest.mark.parametrize(("ours", "verdict"), [(0.8, "as reported"), (0.5, "**differs**")])
def test_a_claim_that_does_not_hold_is_marked_and_explained(ours: float, verdict: str) -> None:
    claim = Claim("ours wins", "+10", above("here", "ours", "theirs"), "the kernels are not simulated")
    runs = (Run("ours", "edf"), Run("theirs", "fixed"))
    paper = Paper(name="p", title="P", setup="A pool.", settings=(Setting("here", "demo", runs),), claims=(claim,))
    scores = {"p": {"here": {"ours": score(ours), "theirs": score(0.6)}}}
    text = page([paper], scores, QUICK, full=False)
    assert f"against 60% (theirs): {100 * (ours - 0.6):+.0f} points | {verdict} |" in text
    assert ("- ours wins: the kernels are not simulated" in text) is (ours < 0.6)
    assert "modelled" in text


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.name)
def test_every_run_of_every_setting_can_be_made(paper: Paper) -> None:
    for setting in paper.settings:
        assert (WORKLOADS / f"{setting.file}.toml").is_file()
        for run in setting.runs:
            policy_named(run.policy, run.options)


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.name)
def test_claims_name_settings_and_runs_that_there_are(paper: Paper) -> None:
    scores = {
        s.name: {run.label: score(0.5)._replace(by_kind={"image": 0.5}) for run in s.runs} for s in paper.settings
    }
    for claim in paper.claims:
        assert claim.judge(scores)[0]


def test_a_setting_is_played_with_the_same_arrivals_for_every_run_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SFUMATO_CACHE", str(tmp_path))
    setting = Setting("one", "mixfusion", (Run("a", "fixed"), Run("b", "fixed", {"degree": 1})))
    scores = played(setting, Size(6, 1))
    assert scores["a"] == scores["b"]
    monkeypatch.setattr("sfumato.cli.trials.simulated", None)
    assert played(setting, Size(6, 1)) == scores
