"""The Prometheus page: what ended how, how long it queued and took, SLOs kept and missed, and the engine's gauges.

Labels are the models served and fixed words only, so the number of series is bounded whatever clients send.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from sfumato.core.values import JobState, Outcome, Stage
from sfumato.runtime.service import Service, Ticket

BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 900, 1800, 3600)
QUEUE = ("waiting", "running", "paused")


class Gauges(Collector):
    """The engine's own figures, read when the page is."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[GaugeMetricFamily]:
        for key, value in self._service.stats().items():
            name = f"queue_{key}" if key in QUEUE else key.replace(" ", "_")
            yield GaugeMetricFamily(f"sfumato_{name}", f"The engine's {key}.", value)


class Metrics:
    """Counts every request once, at its end."""

    def __init__(self, service: Service) -> None:
        self._registry = registry = CollectorRegistry()
        registry.register(Gauges(service))
        self._requests = Counter(
            "sfumato_requests", "Requests by how they ended.", ["model", "outcome"], registry=registry
        )
        self._duration = _histogram(registry, "sfumato_request_duration_seconds", "Arrival to end.", "model")
        self._queue = _histogram(registry, "sfumato_queue_duration_seconds", "Arrival to first launch.", "model")
        self._stage = _histogram(
            registry, "sfumato_stage_duration_seconds", "Seconds a request was in chunks of a stage.", "model", "stage"
        )
        self._rank_seconds = Counter(
            "sfumato_rank_seconds", "Rank-seconds spent on requests that have ended.", ["model"], registry=registry
        )
        self._slo = Counter(
            "sfumato_slo", "Requests with a deadline: attained or missed.", ["model", "result"], registry=registry
        )

    def overloaded(self, model: str) -> None:
        """A request that the queue had no room for."""
        self._requests.labels(model, "overloaded").inc()

    async def page(self, _: Request) -> Response:
        """GET /metrics."""
        return Response(generate_latest(self._registry), media_type="text/plain; version=0.0.4")

    def count(self, ticket: Ticket) -> None:
        """A request that has ended."""
        if ticket.outcome is not None:
            self._count(ticket.ask.model, ticket.outcome)

    def _count(self, model: str, outcome: Outcome) -> None:
        self._requests.labels(model, str(outcome.state)).inc()
        self._duration.labels(model).observe(outcome.at - outcome.arrived_at)
        if outcome.first_launch is not None:
            self._queue.labels(model).observe(outcome.first_launch - outcome.arrived_at)
        self._rank_seconds.labels(model).inc(sum(outcome.busy_s))
        for stage, spent in zip(Stage, outcome.stage_s, strict=True):
            if spent:
                self._stage.labels(model, str(stage)).observe(spent)
        # Whoever cancels before the deadline is outside the attainment; after it, it was missed.
        in_time = outcome.deadline is not None and outcome.at <= outcome.deadline
        if outcome.deadline is not None and not (outcome.state is JobState.CANCELLED and in_time):
            self._slo.labels(model, "attained" if outcome.met else "missed").inc()


def _histogram(registry: CollectorRegistry, name: str, text: str, *labels: str) -> Histogram:
    return Histogram(name, text, labels, buckets=BUCKETS, registry=registry)
