"""The Chrome trace is valid JSON whose spans are the story's."""

import json
from collections import Counter

import pytest

from sfumato.report.journal import tell
from sfumato.report.trace import chrome_trace, write_chrome_trace
from tests.report.runs import simulate


@pytest.fixture(scope="module")
def story():
    return tell(simulate(policy="sfumato"))


@pytest.fixture
def events(story, tmp_path):
    write_chrome_trace(story, tmp_path / "trace.json")
    return json.loads((tmp_path / "trace.json").read_text())["traceEvents"]


def test_a_chunk_is_one_event_on_each_of_its_ranks(story, events):
    drawn = sorted((e["args"]["seq"], e["pid"]) for e in events if e["ph"] == "X")
    assert drawn == sorted((span.seq, rank) for span in story.spans for rank in span.group)
    by_seq = {e["args"]["seq"]: e for e in events if e["ph"] == "X"}
    for span in story.spans:
        event = by_seq[span.seq]
        assert event["ts"] == pytest.approx((span.start - story.start) * 1e6)
        assert event["dur"] == pytest.approx((span.end - span.start) * 1e6)
        assert event["args"]["units"] == span.units


def test_every_request_has_a_track_whose_phases_close_in_order(story, events):
    tracks = {}
    for event in events:
        if event["ph"] in "be":
            tracks.setdefault(event["id"], []).append(event)
    assert tracks.keys() == story.lives.keys()
    for track in tracks.values():
        stack = []
        for event in track:
            if event["ph"] == "b":
                stack.append(event)
            else:
                begun = stack.pop()
                assert begun["name"] == event["name"]
                assert begun["ts"] <= event["ts"]
        assert stack == []


def test_a_trace_says_on_what_it_rests_where_that_is_known(story):
    assert chrome_trace(story, "planned by sfumato")["otherData"] == {"planned": "planned by sfumato"}
    assert chrome_trace(story)["otherData"] == {}


def test_deadlines_and_ranks_are_named(story, events):
    kinds = Counter(event["ph"] for event in events)
    assert kinds["n"] == sum(life.request.deadline is not None for life in story.lives.values())
    names = [event["args"]["name"] for event in events if event["name"] == "process_name"]
    assert names == [*(f"rank {rank} (cpu on local)" for rank in range(4)), "requests"]
