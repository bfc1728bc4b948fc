"""The videos that a server knows: each from its POST until its time is over, with its file once it has one.

Bounded: beyond the bounds the ended ones leave, oldest first; live ones never do (the engine bounds those).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from sfumato.api.config import ApiConfig
from sfumato.api.errors import ApiError
from sfumato.api.replies import Json, size_text, slo, timings
from sfumato.core.values import JobState
from sfumato.runtime.service import Service, Ticket


class Film:
    """One video: its ticket, and what became of it. `clip` is the mp4, `still` the thumbnail."""

    def __init__(self, ticket: Ticket, fps: int) -> None:
        self.ticket = ticket
        self.fps = fps
        self.clip: bytes | None = None
        self.still: bytes | None = None
        self.error: ApiError | None = None
        self.cancelled = False
        self.shape = ticket.ask.shape
        self.ended_at: float | None = None
        self.expires_at: float | None = None

    @property
    def id(self) -> str:
        return self.ticket.id

    @property
    def size(self) -> int:
        return len(self.clip or b"") + len(self.still or b"")

    @property
    def status(self) -> str:
        """A delivered video is completed only when its file is there."""
        outcome = self.ticket.outcome
        if self.cancelled or (outcome is not None and outcome.state is JobState.CANCELLED):
            return "cancelled"
        if self.error is not None:
            return "failed"
        if self.clip is not None:
            return "completed"
        return "in_progress" if self.ticket.started else "queued"

    @property
    def progress(self) -> int:
        """Percent of the steps done; 100 only with the file."""
        return 100 if self.clip is not None else min(99, int(100 * self.ticket.fraction))


def resource(film: Film, service: Service) -> Json:
    """The Video object of the API."""
    ticket, ask, error = film.ticket, film.ticket.ask, film.error
    live = film.status in ("queued", "in_progress")
    return {
        "id": film.id,
        "object": "video",
        "model": ask.model,
        "status": film.status,
        "progress": film.progress,
        "created_at": int(ticket.created),
        "completed_at": int(film.ended_at) if film.clip is not None and film.ended_at else None,
        "expires_at": int(film.expires_at) if film.expires_at else None,
        "size": size_text(film.shape),
        "seconds": f"{film.shape.frames / film.fps:.6g}",
        "prompt": ask.prompt,
        "error": None if error is None else {"code": error.code, "message": str(error)},
        "remixed_from_video_id": None,
        "num_frames": film.shape.frames,
        "fps": film.fps,
        "num_inference_steps": ticket.steps,
        "seed": ask.seed,
        "queue_position": service.queue_position(ticket) if live else 0,
        "predicted_finish_s": service.predicted_finish_s(ticket) if live else None,
        "timings": None if ticket.outcome is None else timings(ticket.outcome),
        "slo": slo([ticket]),
    }


class Films:
    """All of them, in the order in which they came."""

    def __init__(self, config: ApiConfig, clock: Callable[[], float]) -> None:
        self._config, self._clock = config, clock
        self._films: OrderedDict[str, Film] = OrderedDict()

    def add(self, film: Film) -> None:
        self._films[film.id] = film
        self._trim()

    def get(self, video_id: str) -> Film | None:
        self._trim()
        return self._films.get(video_id)

    def drop(self, video_id: str) -> None:
        self._films.pop(video_id, None)

    def end(self, film: Film) -> None:
        """The film has its file, or never will."""
        film.ended_at = self._clock()
        film.expires_at = film.ended_at + self._config.video_ttl_s
        self._trim()

    def page(self, *, after: str | None, limit: int, newest_first: bool) -> tuple[list[Film], bool] | None:
        """At most `limit` films behind `after`, and whether there are more; None if `after` is unknown."""
        self._trim()
        films = list(reversed(self._films.values()) if newest_first else self._films.values())
        start = 0
        if after is not None:
            if after not in self._films:
                return None
            start = films.index(self._films[after]) + 1
        return films[start : start + limit], len(films) > start + limit

    def _trim(self) -> None:
        now = self._clock()
        over = len(self._films) - self._config.videos
        excess = sum(film.size for film in self._films.values()) - self._config.video_bytes
        for film in [film for film in self._films.values() if film.expires_at is not None]:
            if (film.expires_at or now) <= now or over > 0 or (excess > 0 and film.size):
                self.drop(film.id)
                over, excess = over - 1, excess - film.size


def listing(films: list[Film], more: bool, service: Service) -> dict[str, Any]:
    """The answer to a GET of the list."""
    return {
        "object": "list",
        "data": [resource(film, service) for film in films],
        "has_more": more,
        "first_id": films[0].id if films else None,
        "last_id": films[-1].id if films else None,
    }
