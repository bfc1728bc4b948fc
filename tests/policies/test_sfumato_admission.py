"""Admission: everything, what can be met, or less than was asked for where that is allowed."""

from __future__ import annotations

import re

from msgspec.structs import replace

from sfumato.core.values import JobState
from tests.policies.small import image, run


def test_everything_is_admitted_unless_it_is_said_otherwise() -> None:
    found = run("sfumato", 1, image("a", 0.5))
    assert found.outcomes["a"].state is JobState.LATE


def test_what_cannot_be_met_alone_is_refused_with_the_time_that_it_would_take() -> None:
    """Eight steps take 2 s on the only rank."""
    found = run("sfumato", 1, image("a", 1.0), admission="feasible")
    outcome = found.outcomes["a"]
    assert outcome.state is JobState.REJECTED
    said = re.search(r"1\.0 s were asked for, it would take (\d+\.\d) s", outcome.reason)
    assert said is not None
    assert 2.0 <= float(said[1]) <= 2.5


def test_what_cannot_be_met_beside_what_is_kept_is_refused_and_the_rest_is_served() -> None:
    requests = [image(f"r{n}", 4.8) for n in range(4)]
    found = run("sfumato", 1, *requests, admission="feasible")
    assert len(found.met) == 2
    refused = [outcome for outcome in found.outcomes.values() if outcome.state is JobState.REJECTED]
    assert len(refused) == 2
    assert all(outcome.at == 0.0 for outcome in refused)


def test_best_effort_is_never_refused() -> None:
    found = run("sfumato", 1, image("a", None), image("b", 0.1), admission="feasible")
    assert found.outcomes["a"].state is JobState.DONE
    assert found.outcomes["b"].state is JobState.REJECTED


def test_a_request_that_allows_it_is_lowered_just_as_far_as_its_deadline_needs() -> None:
    """1.6 s are enough for six steps of the eight, or for a picture of 7/8 of the sides."""
    found = run("sfumato", 1, replace(image("a", 1.8), degradable=True), admission="degrade")
    assert "a" in found.met
    (_, launch), *_ = found.of("a")
    assert launch.unit_s < 0.25 or sum(launch.chunk.units for _, launch in found.of("a")) < 8


def test_who_does_not_allow_it_or_cannot_be_lowered_enough_is_refused() -> None:
    fixed, short = image("fixed", 1.8), replace(image("short", 0.2), degradable=True)
    for request in (fixed, short):
        found = run("sfumato", 1, request, admission="degrade")
        assert found.outcomes[request.id].state is JobState.REJECTED
