"""What the suite concludes from what was played, and the page that it writes of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import bound, suite_page, suite_rates
from bench.suite import EVALUATION, NOTE, _base
from bench.suite_page import page
from bench.suite_places import Place, figures_of
from bench.suite_rates import Edge, Search, edge_of
from sfumato.cli.matches import Course, course_of
from sfumato.cli.trials import BOUND, Ran, Trial
from sfumato.workload.load import parse

TEXT = (
    'requests = 2\n[[classes]]\nname = "a"\nmodel = "m"\nsize = "64x64"\nsteps = 4\n'
    '[arrivals]\nprocess = "poisson"\nper_minute = 6\n'
)
WORKLOAD = parse(TEXT)
BASE = Trial(workload=WORKLOAD, policy="", seed=0)
KEPT = ("latency_mean", "latency_p95", "latency_p99", "utilisation", "pauses", "degree_changes", "plans_refused")


def ran(attainment: float, *served: tuple[float, bool]) -> Ran:
    figures: dict[str, Any] = {"slo_attainment_rate": attainment, "by_slo": {}, "requests": 3, **dict.fromkeys(KEPT, 1)}
    return Ran(figures=figures, served=tuple(("a", latency, met) for latency, met in served), cpu_s=2.0)


def course(**runs: Ran) -> Course:
    return course_of("", BASE, [(Trial(workload=WORKLOAD, policy=name, seed=0), one) for name, one in runs.items()])


def place() -> Place:
    played = course(
        sfumato=ran(0.8, (2.0, True), (9.0, True), (4.0, True)),
        edf=ran(0.5, (1.0, True), (1.0, True), (1.0, True)),
        srtf=ran(0.6, (1.0, True), (1.0, False), (3.0, True)),
        **{BOUND: ran(0.9)},
    )
    return Place("file", played, course(sfumato=ran(0.8), **{BOUND: ran(1.0)}))


def test_the_time_of_the_bound_is_said_to_rest_on_what_the_suite_rests_on(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "WORKLOADS": ("tetriserve-skewed",),
        "COUNTS": (20, 40),
        "picture": lambda *_, **__: "",
    }.items():
        monkeypatch.setattr(bound, name, value)
    assert bound.measure(quick=False).note == NOTE


def test_the_gap_is_that_of_the_best_other_policy_to_the_bound() -> None:
    found = place()
    assert found.best == "srtf"
    assert found.closed("srtf") == pytest.approx(2 / 3)
    assert found.of_bound == pytest.approx(0.8)


def test_latency_is_compared_on_what_both_serve_in_time() -> None:
    assert place().slower == pytest.approx((2.0 + 4.0) / (1.0 + 3.0))


def test_the_figures_say_whether_they_are_held() -> None:
    held = {figure.name: figure.held for figure in figures_of([place()], {})}
    assert held["another policy above sfumato: most"]
    assert held["gap from the best other policy to the bound: closed"] is False
    assert held["share of the bound, without batches: lowest"] is False


def test_a_policy_that_holds_no_more_than_the_best_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    edges = {"sfumato": 3.0, "edf": 2.0, "srtf": 1.0}
    asked: list[str] = []

    def holds(_: Trial, spend: Callable[[float], object], policy: str, factor: float) -> bool:
        asked.append(policy)
        spend(0.5)
        return factor <= edges[policy]

    monkeypatch.setattr(suite_rates, "_holds", holds)
    found = edge_of(Search(trial=BASE, ranked=("edf", "srtf")))
    assert found.holder == "edf"
    assert found.gain == pytest.approx(1.5, rel=0.1)
    assert asked.count("srtf") == 1
    assert found.cpu_s == 0.5 * len(asked)


def test_a_workload_on_which_ours_holds_no_rate_counts_as_none() -> None:
    rates = {"a": Edge(ours=3.0, theirs=2.0), "b": Edge(ours=0.0, theirs=1.0), "c": Edge(ours=1.0, theirs=0.0)}
    found = {figure.name: figure.value for figure in figures_of([place()], rates)}
    assert found["rate at 95% over the best other policy's: mean"] == pytest.approx(0.75)


def test_a_workload_of_many_rates_counts_once_in_the_mean_of_means() -> None:
    rates = {"a x": Edge(ours=3.0, theirs=1.0), "a y": Edge(ours=3.0, theirs=1.0), "b": Edge(ours=1.0, theirs=1.0)}
    found = {figure.name: figure.value for figure in figures_of([place()], rates)}
    assert found["the same: mean of the means of workloads"] == pytest.approx(2.0)


def test_a_quick_look_plays_none_of_the_seeds_that_are_published(tmp_path: Path) -> None:
    file = tmp_path / "one.toml"
    file.write_text(TEXT)
    published, look = (set(_base(file, 1.0, 1.0, quick=quick).seeds) for quick in (False, True))
    assert min(published) == EVALUATION
    assert not published & look


def document() -> dict[str, Any]:
    """As `bench.figure` keeps it; the papers' policies stand as low as `edf`."""
    found = place().row()
    found["policies"] |= dict.fromkeys(suite_page.PAPERS, found["policies"]["edf"])
    policies = list(found["policies"])
    return {
        "commit": "abc",
        "date": "2026-01-02T03:04",
        "seconds": 600.0,
        "figures": [
            {"name": "ahead", "value": -3.25, "unit": "points", "sense": "<=", "limit": 0.5, "held": True},
            {"name": "closed", "value": 61.0, "unit": "%", "sense": ">=", "limit": 70.0, "held": False},
        ],
        "details": {
            "first_seed": 7,
            "policies": policies,
            "points": {"file": found},
            "rates": {"file": {"ours": 3.0, "theirs": 2.0, "holder": "edf", "gain": 1.5}},
            "cpu_s": dict.fromkeys(policies, 2.0),
        },
    }


def test_the_page_has_every_point_policy_and_figure_and_says_what_falls_short() -> None:
    distance = {"commit": "def", "details": {"file": {"sfumato": 0.8, "whole": 0.84}}, "figures": []}
    text = "\n".join(page(document(), {"0.7": document()}, distance))
    assert "| ahead | -3.25 points | <= 0.5 points | held | -3.25 |" in text
    assert "| closed | 61 % | >= 70 % | **short** | 61 **short** |" in text
    assert "| file |  | 90.0 | **80.0** | 60.0 | srtf | 66.7 | 1.50x | 50.0 |" in text
    assert "| sfumato | 80.0 | 88.9 | 1 | 2 |" in text
    assert "| file | 3.00 | 2.00 | edf | 1.50x |" in text
    assert "| point | sfumato | whole |" in text
    assert "| file | 80.0 | 84.0 |" in text
    assert "modelled or published" in text


def test_the_page_says_where_another_policy_is_ahead_with_scaled_figures() -> None:
    behind = document()
    next(iter(behind["details"]["points"].values()))["policies"]["srtf"]["attainment"] = 0.9
    text = "\n".join(page(document(), {"0.7": document(), "1.3": behind}, None))
    assert "x 0.7, another policy is ahead by more than half a point: nowhere." in text
    assert (
        "x 1.3, another policy is ahead by more than half a point: file (srtf 90.0, sfumato 80.0; 3 requests)." in text
    )


def test_the_picture_has_a_row_a_point(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setattr(suite_page, "PICTURE", tmp_path / "images" / "suite.png")
    suite_page.draw(document())
    assert (tmp_path / "images" / "suite.png").read_bytes().startswith(b"\x89PNG")
