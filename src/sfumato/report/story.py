"""What a journal tells, as values: requests with their chunks, ranks, loads of weights.

All reports start from a Story.
"""

from __future__ import annotations

from typing import Literal

from msgspec import field

from sfumato.core.commands import Admit
from sfumato.core.cost import Work
from sfumato.core.policy import Reason, Swap
from sfumato.core.values import Group, JobState, Outcome, PartId, Rank, RankInfo, Request, Shape, Stage, Value
from sfumato.core.view import qualities_of

DELIVERED = frozenset({JobState.DONE, JobState.LATE})


class Span(Value, frozen=True, kw_only=True):
    """A chunk as it happened. `gained` is the units of each of its jobs, `seconds` the measured time of its units.

    `fate` is "lost" when a rank of its group died, "open" when the journal ends before it does (`end` is then the
    journal's). A `halted` chunk was told to stop early; one that `moved` fetched a latent from other ranks. `reason`
    says why it was launched, where the policy was asked to tell. `cfg` as in Chunk.
    """

    seq: int
    group: Group
    jobs: tuple[str, ...]
    stage: Stage
    planned: int
    start: float
    end: float
    seconds: float = 0.0
    gained: dict[str, int] = field(default_factory=dict)
    halted: bool = False
    moved: bool = False
    cfg: int = 1
    reason: Reason | None = None
    fate: Literal["done", "failed", "lost", "open"] = "done"

    @property
    def units(self) -> int:
        """Units that were computed."""
        return max(self.gained.values(), default=0)


class Life(Value, frozen=True, kw_only=True):
    """A request from its arrival to its end; `outcome` is None while it lives. `spans` are its chunks in order.

    `lowered` says what it was admitted as, if that is less than it asked for; `turns`, when it was given up, late or
    kept again, and why.
    """

    request: Request
    lowered: Admit | None = None
    outcome: Outcome | None = None
    first_launch: float | None = None
    spans: tuple[Span, ...] = ()
    turns: tuple[tuple[float, Reason], ...] = ()

    @property
    def id(self) -> str:
        return self.request.id

    @property
    def shape(self) -> Shape:
        """What it is made in."""
        return self.lowered.shape if self.lowered else self.request.shape

    @property
    def state(self) -> JobState | None:
        return self.outcome.state if self.outcome else None

    @property
    def delivered(self) -> bool:
        return self.state in DELIVERED

    @property
    def latency_s(self) -> float | None:
        """Arrival to the last unit, of a delivered request."""
        return self.outcome.at - self.request.arrived_at if self.outcome and self.delivered else None

    @property
    def queued_s(self) -> float | None:
        """Arrival to the first launch."""
        return None if self.first_launch is None else self.first_launch - self.request.arrived_at

    @property
    def pauses(self) -> tuple[tuple[float, float], ...]:
        """The gaps between its chunks, as (from, to)."""
        pairs = zip(self.spans, self.spans[1:], strict=False)
        return tuple((before.end, after.start) for before, after in pairs if after.start > before.end)

    @property
    def moves(self) -> int:
        """How often it went on, on other ranks than before."""
        return sum(a.group != b.group for a, b in zip(self.spans, self.spans[1:], strict=False))

    @property
    def degree_changes(self) -> int:
        """How often it went on, on more or fewer ranks than before."""
        return sum(len(a.group) != len(b.group) for a, b in zip(self.spans, self.spans[1:], strict=False))

    def met(self, now: float) -> bool | None:
        """Whether its deadline was met; None where that does not count (yet).

        Outside are best-effort requests, those cancelled before their deadline, and live ones whose deadline is ahead.
        """
        deadline = self.request.deadline
        if deadline is None:
            return None
        if self.outcome is None:
            return None if now <= deadline else False
        if self.outcome.state is JobState.CANCELLED and self.outcome.at < deadline:
            return None
        return self.outcome.met


class RankLife(Value, frozen=True, kw_only=True):
    """A worker from its joining to its loss; `down` is None if it was never lost. A rank that returns has two."""

    info: RankInfo
    up: float
    down: float | None = None


class LoadSpan(Value, frozen=True, kw_only=True):
    """Weights on their way to a rank; `end` is None if they never got there, `error` says why if that is known."""

    rank: Rank
    part: PartId
    start: float
    end: float | None = None
    error: str = ""


class Story(Value, frozen=True, kw_only=True):
    """A whole journal. Requests are in order of arrival, spans in order of launch.

    `before` counts requests that had ended when the journal begins, `unseen` those whose end fell into a gap of it;
    `broken` lists plans that were refused, with the law they broke; `swaps`, why weights were loaded. Both have times.
    """

    start: float
    end: float
    lives: dict[str, Life]
    spans: tuple[Span, ...]
    ranks: tuple[RankLife, ...]
    loads: tuple[LoadSpan, ...] = ()
    broken: tuple[tuple[float, str], ...] = ()
    swaps: tuple[tuple[float, Swap], ...] = ()
    records: int = 0
    before: int = 0
    unseen: int = 0

    @property
    def rank_numbers(self) -> tuple[Rank, ...]:
        """All ranks that ever were, sorted; also those known from their chunks alone."""
        named = {life.info.rank for life in self.ranks}
        return tuple(sorted(named.union(*(span.group for span in self.spans))))

    def work(self, span: Span, device: str) -> Work:
        """A chunk as a cost model sees it, on ranks of one kind. Raises KeyError for a request that is not told."""
        lives = [self.lives[job] for job in span.jobs]
        asked = [life.request for life in lives]
        return Work(
            model=asked[0].model,
            stage=span.stage,
            shapes=tuple(life.shape for life in lives),
            degree=len(span.group),
            guided=asked[0].guided,
            device=device,
            cfg=span.cfg,
            qualities=qualities_of(asked, span.stage),
        )
