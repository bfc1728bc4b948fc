"""A journal is told as it happened, whole, cut short, or from its middle."""

from itertools import pairwise

import pytest

from sfumato.core.events import Cancelled, WorkerLost, WorkerUp
from sfumato.core.journal import Checkpoint, Record, encode
from sfumato.core.values import JobState, RankInfo
from sfumato.errors import UserError
from sfumato.report.journal import read, tell
from sfumato.report.metrics import measure
from tests.costs import PARTS
from tests.report.runs import simulate, workload


def outcomes(story):
    return {life.id: life.outcome for life in story.lives.values() if life.outcome}


def test_every_request_is_told_with_its_chunks_and_its_end():
    entries = simulate(policy="srtf")
    story = tell(entries)
    assert len(story.lives) == 30
    assert all(life.outcome for life in story.lives.values())
    for life in story.lives.values():
        assert life.spans[0].start == life.outcome.first_launch == life.first_launch
        assert life.spans[-1].end == life.outcome.at
        assert sum(span.units for span in life.spans if span.stage == "diffuse") == life.request.steps
    assert {span.fate for span in story.spans} == {"done"}
    assert story.rank_numbers == (0, 1, 2, 3)
    assert story.records == len(entries) - 1


def test_no_two_chunks_of_a_rank_overlap():
    story = tell(simulate(policy="sfumato"))
    for rank in story.rank_numbers:
        own = sorted((span.start, span.end) for span in story.spans if rank in span.group)
        assert all(before[1] <= after[0] for before, after in pairwise(own))


def test_a_folder_of_segments_reads_as_one_journal(tmp_path):
    entries = simulate(segment=20)
    assert sum(isinstance(entry, Checkpoint) for entry in entries) > 4
    number = 0
    for entry in entries:
        number += isinstance(entry, Checkpoint)
        with (tmp_path / f"segment-{number}.jsonl").open("ab") as file:
            file.write(encode(entry))
    assert read(tmp_path) == tell(entries)
    (tmp_path / "segment-5.jsonl").unlink()
    assert read(tmp_path).end == tell(entries).end


def test_a_cut_last_line_is_left_out_and_the_rest_is_told(tmp_path):
    entries = simulate()
    data = b"".join(encode(entry) for entry in entries)
    file = tmp_path / "journal.jsonl"
    file.write_bytes(data)
    assert read(file) == tell(entries)
    file.write_bytes(data[:-20])
    assert read(file) == tell(entries[:-1])
    file.write_bytes(b"")
    assert read(file).lives == {}


def test_a_line_that_is_no_entry_is_named(tmp_path):
    lines = [encode(entry) for entry in simulate()]
    (tmp_path / "j.jsonl").write_bytes(b"".join([*lines[:3], b"{}\n", *lines[3:]]))
    with pytest.raises(UserError, match=r"j\.jsonl: line 4 is not a journal entry"):
        read(tmp_path)
    with pytest.raises(UserError, match="there is none at"):
        read(tmp_path / "nowhere")


def test_a_journal_that_begins_mid_way_knows_the_live_jobs_and_running_chunks():
    entries = simulate(segment=25)
    whole = tell(entries)
    starts = [place for place, entry in enumerate(entries) if isinstance(entry, Checkpoint)]
    middle = next(place for place in starts[1:] if entries[place].running)
    checkpoint = entries[middle]
    late = tell(entries[middle:])
    assert late.start == checkpoint.now
    assert late.before == checkpoint.arrived - len(checkpoint.jobs) > 0
    assert outcomes(late) == {name: end for name, end in outcomes(whole).items() if name in late.lives}
    running = {one.seq for one in checkpoint.running}
    assert {s.seq: (s.start, s.end) for s in late.spans if s.seq in running} == {
        s.seq: (s.start, s.end) for s in whole.spans if s.seq in running
    }
    assert [life.info.rank for life in late.ranks] == [0, 1, 2, 3]


def test_an_end_that_fell_into_a_missing_segment_is_unseen_not_missed():
    entries = simulate(segment=25)
    starts = [place for place, entry in enumerate(entries) if isinstance(entry, Checkpoint)]
    story = tell(entries[: starts[1]] + entries[starts[3] :])
    assert story.unseen > 0
    assert all(life.outcome for life in story.lives.values())


def test_open_chunks_end_with_the_journal():
    entries = simulate()
    cut = next(place for place, entry in enumerate(entries) if place > 30 and isinstance(entry, Record))
    story = tell(entries[:cut])
    still = [span for span in story.spans if span.fate == "open"]
    assert still
    assert all(span.end == story.end and span.gained == {} for span in still)
    assert measure(story).overall.counts["unfinished"] > 0


def test_a_later_run_in_the_same_folder_replaces_the_earlier():
    first, second = simulate(), simulate(load=workload(5, seed=1))
    assert tell([*first, *second]) == tell(second)


def test_lost_ranks_and_cancellations_show():
    trouble = [
        WorkerLost(at=20.0, rank=0),
        WorkerUp(at=30.0, info=RankInfo(rank=0), parts=PARTS),
        Cancelled(at=21.0, request="r0009"),
    ]
    story = tell(simulate(extra=trouble))
    lost = [span for span in story.spans if span.fate == "lost"]
    assert [(span.group, span.end) for span in lost] == [((0,), 20.0)]
    assert [(life.up, life.down) for life in story.ranks if life.info.rank == 0] == [(0.0, 20.0), (30.0, None)]
    assert story.lives["r0009"].state in (JobState.CANCELLED, JobState.DONE)
    assert measure(story).lost == 1
    assert measure(story).ranks[0].up_s < measure(story).ranks[1].up_s
