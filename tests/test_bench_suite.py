"""What the suite concludes from what was played."""

from __future__ import annotations

from typing import Any

import pytest

from bench import suite
from bench.suite import Place, Search, edge_of
from sfumato.cli.matches import Course, course_of
from sfumato.cli.trials import BOUND, Ran, Trial
from sfumato.workload.load import parse

WORKLOAD = parse(
    'requests = 2\n[[classes]]\nname = "a"\nmodel = "m"\nsize = "64x64"\nsteps = 4\n'
    '[arrivals]\nprocess = "poisson"\nper_minute = 6\n'
)
BASE = Trial(workload=WORKLOAD, policy="", seed=0)


def ran(attainment: float, *served: tuple[float, bool]) -> Ran:
    figures: dict[str, Any] = {"slo_attainment_rate": attainment, "by_slo": {}}
    return Ran(figures=figures, served=tuple(("a", latency, met) for latency, met in served))


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


def test_the_gap_is_that_of_the_best_other_policy_to_the_bound() -> None:
    found = place()
    assert found.best == "srtf"
    assert found.closed("srtf") == pytest.approx(2 / 3)
    assert found.of_bound == pytest.approx(0.8)


def test_latency_is_compared_on_what_both_serve_in_time() -> None:
    assert place().slower == pytest.approx((2.0 + 4.0) / (1.0 + 3.0))


def test_the_figures_say_whether_they_are_held() -> None:
    held = {figure.name: figure.held for figure in suite._figures([place()], {})}
    assert held["another policy above sfumato: most"]
    assert held["gap from the best other policy to the bound: closed"] is False
    assert held["share of the bound, without batches: lowest"] is False


def test_a_policy_that_holds_no_more_than_the_best_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    edges = {"sfumato": 3.0, "edf": 2.0, "srtf": 1.0}
    asked: list[str] = []

    def holds(_: Trial, policy: str, factor: float) -> bool:
        asked.append(policy)
        return factor <= edges[policy]

    monkeypatch.setattr(suite, "_holds", holds)
    found = edge_of(Search(trial=BASE, ranked=("edf", "srtf")))
    assert found.holder == "edf"
    assert found.gain == pytest.approx(1.5, rel=0.1)
    assert asked.count("srtf") == 1
