"""What became of one request of a load that was played: the record that `workload.play` keeps of every arrival."""

from __future__ import annotations

from typing import Any

from sfumato.core.values import JobState, Value
from sfumato.workload.arrivals import Arrival

DELIVERED = frozenset({JobState.DONE, JobState.LATE})


class Played(Value, frozen=True, kw_only=True):
    """One request of a load; times are seconds after the load's start.

    `state` is None until it ends. `told` is what the server said beyond the output: its id, timings, slo, size, seed.
    """

    number: int
    arrival: Arrival
    sent: float | None = None
    finished: float | None = None
    state: JobState | None = None
    error: str = ""
    told: dict[str, Any] = {}
    output: bytes = b""

    @property
    def planned(self) -> float:
        return self.arrival.at

    @property
    def id(self) -> str:
        """The server's name of it, empty if it got none."""
        return str(self.told.get("id", ""))

    @property
    def modality(self) -> str:
        return "video" if self.arrival.shape.frames > 1 else "image"

    @property
    def delivered(self) -> bool:
        return self.state in DELIVERED

    @property
    def latency_s(self) -> float | None:
        """Planned arrival to the output in this client's hands, of a delivered request."""
        return self.finished - self.planned if self.delivered and self.finished is not None else None

    @property
    def met(self) -> bool | None:
        """Whether it came by its deadline; None where that does not count: best effort, open, given up before it."""
        if self.arrival.slo_s is None or self.state is None:
            return None
        given_up_s = self.finished - self.planned if self.state is JobState.CANCELLED and self.finished else None
        if given_up_s is not None and given_up_s < self.arrival.slo_s:
            return None
        return self.state is JobState.DONE

    def row(self) -> dict[str, Any]:
        """Ready for JSON, without the output."""
        arrival = self.arrival
        return {
            "number": self.number,
            "id": self.id,
            "class": arrival.cls,
            "model": arrival.model,
            "shape": str(arrival.shape),
            "steps": arrival.steps,
            "slo_s": arrival.slo_s,
            "planned": self.planned,
            "sent": self.sent,
            "finished": self.finished,
            "outcome": self.state.value if self.state else None,
            "met": self.met,
            "latency_s": self.latency_s,
            "error": self.error,
            "bytes": len(self.output),
            "timings": self.told.get("timings"),
        }
