"""The figures of a story. Attainment = done by the deadline / all that arrived with one.

Rejected, failed and late requests count as missed, and so does a live one whose deadline has passed; what its client
cancelled before the deadline leaves the denominator; best-effort requests are outside. Latency is arrival to end, so
queueing is in it. Rates are over the time from the first arrival to the last end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf
from typing import Any

from sfumato.core.values import JobState, Rank, Value
from sfumato.report.intervals import Spread, spread, wilson
from sfumato.report.ranks import RankUse, control_gaps, idle_with_work, use_of_ranks
from sfumato.report.story import Life, Story


class Summary(Value, frozen=True, kw_only=True):
    """The figures of a set of requests. `judged` is attainment's denominator; None stands for "no such request"."""

    requests: int
    counts: dict[str, int]
    judged: int
    met: int
    attainment: float | None
    attainment_low: float | None
    attainment_high: float | None
    throughput_qps: float | None
    goodput_qps: float | None
    latency: Spread | None
    queue: Spread | None
    pause: Spread | None
    pauses: int
    moves: int
    degree_changes: int
    rank_seconds: float

    def row(self) -> dict[str, Any]:
        """Flat, under the keys that benchmark tools of the field use."""
        return {
            "requests": self.requests,
            **self.counts,
            "slo_attainment_rate": self.attainment,
            "slo_attainment_low": self.attainment_low,
            "slo_attainment_high": self.attainment_high,
            "slo_judged": self.judged,
            "slo_met": self.met,
            "throughput_qps": self.throughput_qps,
            "goodput_qps": self.goodput_qps,
            **_flat("latency", self.latency),
            **_flat("queue", self.queue),
            **_flat("pause", self.pause),
            "pauses": self.pauses,
            "moves": self.moves,
            "degree_changes": self.degree_changes,
            "rank_seconds": self.rank_seconds,
        }


class Metrics(Value, frozen=True, kw_only=True):
    """The figures of a whole story."""

    overall: Summary
    by_slo: dict[str, Summary]
    by_model: dict[str, Summary]
    by_modality: dict[str, Summary]
    ranks: dict[Rank, RankUse]
    utilisation: float
    duration_s: float
    idle_with_work_s: float
    control_gap: Spread | None
    chunks: int
    halted: int
    lost: int
    broken: int
    loads: int
    mean_batch: float

    def row(self) -> dict[str, Any]:
        """The overall figures, flat and ready for JSON."""
        return {
            "duration_s": self.duration_s,
            **self.overall.row(),
            "utilisation": self.utilisation,
            "idle_with_work_s": self.idle_with_work_s,
            **_flat("control_gap", self.control_gap),
            "chunks": self.chunks,
            "chunks_halted": self.halted,
            "chunks_lost": self.lost,
            "mean_batch": self.mean_batch,
            "plans_refused": self.broken,
            "weight_loads": self.loads,
        }

    def results(self) -> dict[str, Any]:
        """Everything, ready for JSON: the overall row, and a row for each class, model, modality and rank."""
        parts = {"by_slo": self.by_slo, "by_model": self.by_model, "by_modality": self.by_modality}
        nested = {key: {name: summary.row() for name, summary in part.items()} for key, part in parts.items()}
        ranks = {str(rank): {"busy": use.busy, "computing": use.computing} for rank, use in self.ranks.items()}
        return self.row() | nested | {"ranks": ranks}


def measure(story: Story, *, since: float = -inf, until: float = inf) -> Metrics:
    """The figures of the requests that arrived in [since, until): leave out a warm-up by `since`."""
    lives = [life for life in story.lives.values() if since <= life.request.arrived_at < until]
    window = _window(lives, story)
    duration = window[1] - window[0]
    ranks = use_of_ranks(story, window)
    up = sum(use.up_s for use in ranks.values())
    spans = [span for span in story.spans if span.end > window[0] and span.start < window[1]]
    return Metrics(
        overall=summarise(lives, story.end, duration),
        by_slo=_by(lives, lambda life: life.request.slo, story.end, duration),
        by_model=_by(lives, lambda life: life.request.model, story.end, duration),
        by_modality=_by(lives, modality, story.end, duration),
        ranks=ranks,
        utilisation=sum(use.busy * use.up_s for use in ranks.values()) / up if up else 0.0,
        duration_s=duration,
        idle_with_work_s=idle_with_work(story, window),
        control_gap=spread(control_gaps(story, window)),
        chunks=len(spans),
        halted=sum(span.halted for span in spans),
        lost=sum(span.fate == "lost" for span in spans),
        broken=len(story.broken),
        loads=len(story.loads),
        mean_batch=sum(len(span.jobs) for span in spans) / len(spans) if spans else 0.0,
    )


def summarise(lives: Iterable[Life], now: float, duration_s: float) -> Summary:
    """The figures of some requests as of `now`, with rates over `duration_s`."""
    lives = list(lives)
    verdicts = [verdict for verdict in (life.met(now) for life in lives) if verdict is not None]
    judged, met = len(verdicts), sum(verdicts)
    low, high = wilson(met, judged) if judged else (None, None)
    delivered = sum(life.delivered for life in lives)
    gaps = [end - start for life in lives for start, end in life.pauses]
    return Summary(
        requests=len(lives),
        counts=count_states(lives),
        judged=judged,
        met=met,
        attainment=met / judged if judged else None,
        attainment_low=low,
        attainment_high=high,
        throughput_qps=delivered / duration_s if duration_s > 0 else None,
        goodput_qps=met / duration_s if duration_s > 0 else None,
        latency=spread(life.latency_s for life in lives),
        queue=spread(life.queued_s for life in lives),
        pause=spread(gaps),
        pauses=len(gaps),
        moves=sum(life.moves for life in lives),
        degree_changes=sum(life.degree_changes for life in lives),
        rank_seconds=sum(sum(life.outcome.busy_s) for life in lives if life.outcome),
    )


def count_states(lives: Iterable[Life]) -> dict[str, int]:
    """How many ended in each way; "unfinished" are still alive."""
    ends = (JobState.DONE, JobState.LATE, JobState.REJECTED, JobState.CANCELLED, JobState.FAILED)
    counts = {state.value: 0 for state in ends} | {"unfinished": 0}
    for life in lives:
        counts[life.state.value if life.state else "unfinished"] += 1
    return counts


def modality(life: Life) -> str:
    """What a request makes: image or video."""
    return "video" if life.request.shape.frames > 1 else "image"


def _by(lives: list[Life], key: Callable[[Life], str], now: float, duration_s: float) -> dict[str, Summary]:
    groups: dict[str, list[Life]] = {}
    for life in lives:
        groups.setdefault(key(life), []).append(life)
    return {name: summarise(groups[name], now, duration_s) for name in sorted(groups)}


def _window(lives: list[Life], story: Story) -> tuple[float, float]:
    """First arrival to last end (to the end of the story while one is alive)."""
    if not lives:
        return story.start, story.start
    start = max(story.start, min(life.request.arrived_at for life in lives))
    return start, max(start, *(life.outcome.at if life.outcome else story.end for life in lives))


def _flat(name: str, spread: Spread | None) -> dict[str, float | None]:
    """A spread under the keys name_mean, name_p50, ..."""
    keys = ("mean", "p50", "p95", "p99", "max")
    return {f"{name}_{key}": None if spread is None else getattr(spread, key) for key in keys}
