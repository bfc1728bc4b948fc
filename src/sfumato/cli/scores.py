"""The figures of a load that was played, as its client saw it, under the keys that benchmark tools of the field use.

Attainment is as in `report.metrics`: by the deadline over all that arrived with one; refused and failed are missed.
Latency is planned arrival to the output in the client's hands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from sfumato.core.values import JobState
from sfumato.report.intervals import spread, wilson
from sfumato.report.tables import NONE, Table, interval, number, percent
from sfumato.workload.played import Played

QUANTILES = ("mean", "p50", "p95", "p99", "max")
ENDS = (JobState.DONE, JobState.LATE, JobState.REJECTED, JobState.CANCELLED, JobState.FAILED)


def score(played: Sequence[Played], duration_s: float | None = None, peak_memory: int | None = None) -> dict[str, Any]:
    """Flat figures of some requests; rates are over the time from the first planned arrival to the last end.

    `peak_memory` is the bytes that the server tells, else None: a client cannot know it.
    """
    duration_s = _duration_s(played) if duration_s is None else duration_s
    verdicts = [one.met for one in played if one.met is not None]
    low, high = wilson(sum(verdicts), len(verdicts)) if verdicts else (None, None)
    delivered = sum(one.delivered for one in played)
    return {
        "duration_s": duration_s,
        "requests": len(played),
        **{state.value: sum(one.state is state for one in played) for state in ENDS},
        "unanswered": sum(one.state is None for one in played),
        "slo_attainment_rate": sum(verdicts) / len(verdicts) if verdicts else None,
        "slo_attainment_low": low,
        "slo_attainment_high": high,
        "slo_judged": len(verdicts),
        "slo_met": sum(verdicts),
        "throughput_qps": delivered / duration_s if duration_s > 0 else None,
        "goodput_qps": sum(verdicts) / duration_s if duration_s > 0 else None,
        **_flat("latency", (one.latency_s for one in played)),
        **_flat("queue", ((one.told.get("timings") or {}).get("queue_s") for one in played)),
        **_flat("send_lag", (one.sent - one.planned for one in played if one.sent is not None)),
        "peak_memory": peak_memory,
    }


def rows(played: Sequence[Played]) -> dict[str, Any]:
    """The figures by class and modality, and every request."""
    duration_s = _duration_s(played)
    return {
        "by_class": {name: score(part, duration_s) for name, part in _by(played, lambda one: one.arrival.cls)},
        "by_modality": {name: score(part, duration_s) for name, part in _by(played, lambda one: one.modality)},
        "requests_sent": [one.row() for one in played],
    }


def tables(played: Sequence[Played]) -> list[Table]:
    """A row a class and one for all; and what went wrong, if anything did."""
    columns = ("class", "requests", "in time", "95%", "mean s", "p50", "p95", "p99")
    parts = _by(played, lambda one: one.arrival.cls)
    lines = [*parts, ("all", list(played))] if len(parts) > 1 else parts
    whole = score(played)
    title = f"{number(whole['throughput_qps'])} requests/s delivered over {number(whole['duration_s'])} s"
    found = [Table(title=title, columns=columns, rows=tuple((name, *_cells(part)) for name, part in lines))]
    reasons = _by([one for one in played if one.error], lambda one: f"{one.state}: {one.error}")
    if reasons:
        bad = tuple((reason, str(len(part))) for reason, part in reasons)
        found.append(Table(title="Not delivered", columns=("reason", "requests"), rows=bad))
    return found


def _cells(played: Sequence[Played]) -> tuple[str, ...]:
    row = score(played)
    low, high = row["slo_attainment_low"], row["slo_attainment_high"]
    return (
        str(len(played)),
        percent(row["slo_attainment_rate"]),
        NONE if low is None else interval(low, high),
        *(number(row[f"latency_{key}"]) for key in QUANTILES[:4]),
    )


def _duration_s(played: Sequence[Played]) -> float:
    ends = [one.finished for one in played if one.finished is not None]
    return max(ends) - min(one.planned for one in played) if ends else 0.0


def _by(played: Iterable[Played], key: Callable[[Played], str]) -> list[tuple[str, list[Played]]]:
    groups: dict[str, list[Played]] = {}
    for one in played:
        groups.setdefault(key(one), []).append(one)
    return sorted(groups.items())


def _flat(name: str, values: Iterable[float | None]) -> dict[str, float | None]:
    found = spread(values)
    return {f"{name}_{key}": None if found is None else float(getattr(found, key)) for key in QUANTILES}
