"""Figures of stories that were worked out by hand."""

import pytest
from msgspec.structs import replace

from sfumato.core.values import JobState
from sfumato.report.intervals import mean_interval, spread, wilson
from sfumato.report.journal import tell
from sfumato.report.metrics import measure
from sfumato.report.ranks import queue_lengths
from tests.report.runs import life, simulate, span, story


def test_attainment_counts_what_the_definition_says():
    lives = [
        life("done", 0, 4, deadline=5),
        life("late", 0, 6, JobState.LATE, deadline=5),
        life("refused", 0, 0, JobState.REJECTED, deadline=5),
        life("failed", 0, 1, JobState.FAILED, deadline=5),
        life("cancelled early", 0, 4.9, JobState.CANCELLED, deadline=5),
        life("cancelled at its deadline", 0, 5, JobState.CANCELLED, deadline=5),
        life("best effort", 0, 9, JobState.DONE),
        life("alive and overdue", 0, None, deadline=5),
        life("alive with time left", 0, None, deadline=15),
    ]
    summary = measure(story(lives, end=10)).overall
    assert (summary.met, summary.judged) == (1, 6)
    assert summary.attainment == pytest.approx(1 / 6)
    assert (summary.attainment_low, summary.attainment_high) == wilson(1, 6)
    assert summary.counts == {"done": 2, "late": 1, "rejected": 1, "cancelled": 2, "failed": 1, "unfinished": 2}
    assert summary.throughput_qps == pytest.approx(3 / 10)
    assert summary.goodput_qps == pytest.approx(1 / 10)


def test_latency_is_arrival_to_end_of_what_was_delivered():
    lives = [life("a", 1, 3), life("b", 2, 12, JobState.LATE, deadline=5), life("c", 0, 9, JobState.FAILED)]
    latency = measure(story(lives, end=20)).overall.latency
    assert (latency.count, latency.mean, latency.p50, latency.max) == (2, 6.0, 6.0, 10.0)
    assert latency.p95 == pytest.approx(2 + 0.95 * 8)


def test_chunks_give_queueing_pauses_moves_and_degree_changes():
    spans = (
        span(1, (0,), "a", 1, 2),
        span(2, (0,), "a", 2, 3),
        span(3, (0, 1), "a", 5, 6),
        span(4, (1,), "a", 6.5, 8),
    )
    summary = measure(story([life("a", 0, 8, spans=spans)], spans, end=8)).overall
    assert summary.queue.mean == 1.0
    assert (summary.pauses, summary.pause.mean, summary.pause.max) == (2, 1.25, 2.0)
    assert (summary.moves, summary.degree_changes) == (2, 2)


def test_ranks_are_busy_computing_or_idle_while_work_waits():
    spans = (span(1, (0,), "a", 0, 4, seconds=3.0), span(2, (0, 1), "b", 6, 10, seconds=4.0))
    lives = [life("a", 0, 4, spans=spans), life("b", 3, 10, spans=spans)]
    metrics = measure(story(lives, spans, end=10))
    assert (metrics.ranks[0].busy, metrics.ranks[1].busy) == (0.8, 0.4)
    assert metrics.ranks[0].computing == pytest.approx(0.7)
    assert metrics.utilisation == pytest.approx(0.6)
    # b waits from 3 to 6: rank 0 is idle for 2 s of it, rank 1 for 3 s
    assert metrics.idle_with_work_s == pytest.approx(5.0)


def test_the_control_gap_is_from_a_chunk_to_the_next_ones_first_unit():
    spans = (
        span(1, (0,), "a", 0, 4),
        span(2, (0,), "b", 4, 6.5, seconds=2.0),  # at once, but half a second passes before it computes
        span(3, (0,), "c", 8, 9),  # nothing waited before c arrived at 8
    )
    lives = [life("a", 0, 4, spans=spans), life("b", 1, 6.5, spans=spans), life("c", 8, 9, spans=spans)]
    gap = measure(story(lives, spans, end=9)).control_gap
    assert (gap.count, gap.mean) == (1, 0.5)


def test_a_move_is_a_transfer_and_no_control_gap():
    spans = (span(1, (0,), "a", 0, 4), replace(span(2, (0,), "b", 4, 6.5, seconds=2.0), moved=True))
    lives = [life("a", 0, 4, spans=spans), life("b", 1, 6.5, spans=spans)]
    assert measure(story(lives, spans, end=9)).control_gap is None


def test_figures_are_split_by_class_model_and_modality():
    lives = [
        life("a", 0, 4, deadline=5, slo="fast"),
        life("b", 0, 6, JobState.LATE, deadline=5, slo="fast"),
        life("c", 0, 8, deadline=9, slo="slow", frames=9),
    ]
    metrics = measure(story(lives, end=8))
    assert {name: part.attainment for name, part in metrics.by_slo.items()} == {"fast": 0.5, "slow": 1.0}
    assert {name: part.requests for name, part in metrics.by_model.items()} == {"image": 2, "video": 1}
    assert list(metrics.by_modality) == ["image", "video"]


def test_a_warm_up_is_left_out_by_arrival():
    lives = [life("a", 0, 20, JobState.LATE, deadline=1), life("b", 10, 12, deadline=14)]
    metrics = measure(story(lives, end=20), since=5)
    assert (metrics.overall.requests, metrics.overall.attainment, metrics.duration_s) == (1, 1.0, 2.0)


def test_an_empty_story_has_figures_too():
    metrics = measure(story([], end=0))
    assert metrics.overall.attainment is None
    assert metrics.row()["latency_p50"] is None
    assert measure(tell([])).overall.requests == 0


def test_results_carry_the_keys_of_the_field():
    results = measure(tell(simulate())).results()
    keys = {"slo_attainment_rate", "throughput_qps", "goodput_qps", "latency_p50", "latency_p95", "latency_p99"}
    assert keys <= results.keys()
    assert results["requests"] == sum(results[state] for state in ("done", "late", "rejected", "cancelled", "failed"))
    assert {"small", "large", "clip"} == results["by_slo"].keys()
    assert results["control_gap_mean"] == pytest.approx(1 / 1024)


def test_the_queue_is_counted_at_every_change():
    spans = (span(1, (0,), "a", 0, 4), span(2, (0,), "b", 4, 6), span(3, (0,), "a", 6, 7))
    lives = [life("a", 0, 7, spans=spans), life("b", 1, 6, spans=spans)]
    assert queue_lengths(story(lives, spans, end=7)) == [
        (0.0, 0, 0, 1),
        (1.0, 1, 0, 1),
        (4.0, 0, 1, 1),
        (6.0, 0, 0, 1),
        (7.0, 0, 0, 0),
    ]


def test_wilson_gives_the_textbook_interval():
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    assert wilson(0, 10)[0] == 0.0
    assert wilson(10, 10)[1] == pytest.approx(1.0)
    with pytest.raises(ValueError, match="not a share"):
        wilson(0, 0)


def test_repetitions_give_a_student_interval():
    assert mean_interval([1.0, 2.0, 3.0]) == pytest.approx((2.0, 2 - 4.303 / 3**0.5, 2 + 4.303 / 3**0.5))
    assert mean_interval([0.5]) == (0.5, 0.5, 0.5)
    assert spread([None, None]) is None
