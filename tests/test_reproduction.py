"""The page that compares the papers' figures with ours: what it says of claims that hold, and of those that do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.papers import PAPERS
from bench.papers.claims import (
    AS_REPORTED,
    DIFFERS,
    LARGER,
    SMALLER,
    UNKNOWN,
    Claim,
    Judge,
    Paper,
    Run,
    Score,
    Setting,
    above,
    falling,
    faster,
    goodput,
    highest,
    nowhere_below,
    rising,
)
from bench.reproduction import QUICK, Size, page, played
from sfumato.assemble import policy_named

WORKLOADS = Path(__file__).parents[1] / "recipes" / "workloads"


def score(attainment: float, mean_s: float = 1.0) -> Score:
    return Score(attainment=attainment, by_kind={}, took_s={"": [mean_s / 2, mean_s * 3 / 2]})


def verdict(judge: Judge, **found: Score) -> str:
    """What is said of runs in one setting."""
    return judge({"here": found})[1]


@pytest.mark.parametrize(
    ("ours", "says", "reason"),
    [
        (0.70, AS_REPORTED, ""),
        (0.64, SMALLER, "the kernels are not simulated"),
        (0.84, LARGER, "their queue is strict"),
        (0.50, DIFFERS, "the kernels are not simulated"),
    ],
)
def test_a_claim_is_marked_by_direction_and_size_and_explained_if_either_is_not_as_reported(
    ours: float, says: str, reason: str
) -> None:
    judge = above("here", "ours", "theirs", by=0.10)
    claim = Claim("ours wins", "+10", judge, "the kernels are not simulated", "their queue is strict")
    text = _page(claim, ours)
    assert f"against 60% (theirs): {100 * (ours - 0.6):+.0f} points | {says} |" in text
    assert [line for line in text.splitlines() if line.startswith("- ")] == [f"- ours wins: {reason}"] * bool(reason)
    assert "modelled" in text


@pytest.mark.parametrize("ours", [0.5, 0.61, 0.9])
def test_where_nobody_has_an_explanation_the_page_says_so(ours: float) -> None:
    assert f"- ours wins: {UNKNOWN}" in _page(Claim("ours wins", "+10", above("here", "ours", "theirs", by=0.10)), ours)


def _page(claim: Claim, ours: float) -> str:
    runs = (Run("ours", "edf"), Run("theirs", "fixed"))
    paper = Paper(name="p", title="P", setup="A pool.", settings=(Setting("here", "demo", runs),), claims=(claim,))
    return page([paper], {"p": {"here": {"ours": score(ours), "theirs": score(0.6)}}}, QUICK, full=False)


def test_the_rule_on_the_page_is_the_rule_that_is_applied() -> None:
    judge = above("here", "ours", "theirs", by=0.10)
    for gain, says in ((0.051, AS_REPORTED), (0.049, SMALLER), (0.199, AS_REPORTED), (0.201, LARGER), (0.004, DIFFERS)):
        assert verdict(judge, ours=score(0.6 + gain), theirs=score(0.6)) == says
    assert "between 1/2 and 2 times the reported one" in _page(Claim("ours wins", "+10", judge), 0.7)


def test_without_a_reported_size_the_direction_is_enough() -> None:
    assert verdict(above("here", "ours", "theirs"), ours=score(0.99), theirs=score(0.1)) == AS_REPORTED
    assert verdict(above("here", "ours", "theirs"), ours=score(0.1), theirs=score(0.1)) == DIFFERS


def test_how_many_times_is_judged_by_what_is_over_one() -> None:
    judge = faster("here", "ours", "theirs", 3.0)
    for times, says in ((0.9, DIFFERS), (1.9, SMALLER), (2.1, AS_REPORTED), (4.9, AS_REPORTED), (5.1, LARGER)):
        assert verdict(judge, ours=score(0.5), theirs=score(0.5, times)) == says


def test_stairs_go_one_way_and_are_judged_from_the_first_to_the_last() -> None:
    for found, says in (
        ((0.5, 0.6, 0.7), AS_REPORTED),
        ((0.5, 0.49, 0.7), DIFFERS),
        ((0.5, 0.498, 0.7), AS_REPORTED),
        ((0.5, 0.5, 0.51), SMALLER),
    ):
        scores = {name: {"all": score(value)} for name, value in zip("abc", found, strict=True)}
        steps = {"here": {name: score(value) for name, value in zip("abc", found, strict=True)}}
        assert rising("here", "a", "b", "c", by=0.2)(steps)[1] == says
        assert falling("all", "c", "b", "a", by=0.2)(scores)[1] == says


def test_nowhere_below_is_said_of_every_setting() -> None:
    scores = {"a": {"ours": score(0.9), "theirs": score(0.9)}, "b": {"ours": score(0.5), "theirs": score(0.7)}}
    assert nowhere_below(["a"], "ours", "theirs")(scores)[1] == AS_REPORTED
    assert nowhere_below(["a", "b"], "ours", "theirs")(scores)[1] == DIFFERS


@pytest.mark.parametrize(
    ("curve", "rate"),
    [
        ([(1.0, 1.0), (2.0, 0.8), (3.0, 0.2)], 1.5),
        ([(1.0, 0.9), (2.0, 0.8)], 1.0),
        ([(1.0, 0.5), (2.0, 0.4)], 1.0),
        ([(1.0, 1.0), (2.0, 0.95)], 2.0),
    ],
)
def test_the_highest_rate_is_read_between_what_was_played(curve: list[tuple[float, float]], rate: float) -> None:
    assert highest(curve, 0.9) == pytest.approx(rate)
    scores = {f"{r}": {"ours": score(value), "theirs": score(0.5)} for r, value in curve}
    shown, _ = goodput({f"{r}": r for r, _ in curve}, "ours", "theirs", 2.0)(scores)
    assert shown.startswith(f"{rate:.2f} against 1.00")


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.name)
def test_every_run_of_every_setting_can_be_made(paper: Paper) -> None:
    for setting in paper.settings:
        assert (WORKLOADS / f"{setting.file}.toml").is_file()
        for run in setting.runs:
            policy_named(run.policy, run.options)


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.name)
def test_claims_name_settings_and_runs_that_there_are(paper: Paper) -> None:
    took = {kind: [1.0] for kind in ("", "image", "video")}
    one = score(0.5)._replace(by_kind={"image": 0.5, "video": 0.5}, took_s=took)
    scores = {s.name: {run.label: one for run in s.runs} for s in paper.settings}
    for claim in paper.claims:
        ours, says = claim.judge(scores)
        assert ours
        assert claim.because(says)
    assert len({claim.what for claim in paper.claims}) == len(paper.claims)


def test_what_a_setting_changes_of_its_workload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFUMATO_CACHE", str(tmp_path))
    videos = Setting(
        "videos",
        "tridentserve-shifting",
        (Run("a", "fixed"),),
        pool=0.25,
        length=2.0,
        shares={"image-512": 0.0, "image-1024": 0.0},
        per_second=2.0,
    )
    took = played(videos, Size(6, 1))["a"].took_s
    assert set(took) == {"", "video", "wide"}
    assert len(took[""]) == 12


def test_a_setting_is_played_with_the_same_arrivals_for_every_run_and_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SFUMATO_CACHE", str(tmp_path))
    setting = Setting("one", "mixfusion", (Run("a", "fixed"), Run("b", "fixed", {"degree": 1})))
    scores = played(setting, Size(6, 1))
    assert scores["a"] == scores["b"]
    monkeypatch.setattr("sfumato.cli.trials.simulated", None)
    assert played(setting, Size(6, 1)) == scores
