"""How far chunks were from what was predicted: which ranks are slow, and how much time to leave before a deadline.

Every launched chunk is watched to the plan that sees its end; log(elapsed / predicted) is folded into each of its ranks
and into the whole. The whole gives the margin: time left grows by the mean, by a deviation that falls with the number
of chunks left (what is independent from chunk to chunk), and by how far the mean itself wanders (what is not). Before
anything was seen, the profile's spread stands in. Where chunks take what was predicted the margin is nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, log, sqrt
from statistics import median
from typing import NamedTuple

from sfumato.core.values import Chunk, Group, Job, Rank, Value
from sfumato.core.view import View

NEWEST = 0.25  # weight of a rank's newest chunk, as in the cost model's correction
WINDOW = 32  # chunks over which the whole is remembered
SLOW = 1.5  # times the median: what noise does not do, so the rank is planned for as another kind of device
LIMIT = log(10.0)  # beyond that a chunk hung, and says nothing about the next


class Margin(NamedTuple):
    """Seconds to leave between a predicted end and the deadline: `each` a second of work left, and a deviation."""

    each: float
    variance: float

    def seconds(self, left_s: float) -> float:
        """For `left_s` of work."""
        if self.each == self.variance == 0.0:
            return 0.0
        return self.each * left_s + sqrt(self.variance * left_s)


class Watched(Value, frozen=True, kw_only=True):
    """A launched chunk: its first job with that job's number of launches, its ranks, when it starts and how long.

    `seconds` are for ranks that are `slow` times slower than the profile says.
    """

    job: str
    launches: int
    group: Group
    start: float
    seconds: float
    slow: float = 1.0


class Residuals(Value, frozen=True, kw_only=True):
    """Means of log(elapsed / predicted): of each rank, and of all chunks with variance, and the mean's own variance."""

    watched: tuple[Watched, ...] = ()
    ranks: tuple[tuple[Rank, float], ...] = ()
    count: int = 0
    mean: float = 0.0
    spread: float = 0.0
    drift: float = 0.0

    @property
    def usual(self) -> float:
        """How many times longer than predicted the ranks take, by their median.

        The cost model learns one factor for all, so where one is slow it has the others too slow.
        """
        return round(exp(median(mean for _, mean in self.ranks)), 2) if self.ranks else 1.0

    def slowness(self) -> dict[Rank, float]:
        """Ranks that take longer than the others, and how many times."""
        means = [mean for _, mean in self.ranks]
        if not means or max(means) - min(means) < log(SLOW):
            return {}
        usual = median(means)
        found = {rank: exp(mean - usual) for rank, mean in self.ranks}
        return {rank: round(times, 1) for rank, times in found.items() if times >= SLOW}

    def margin(self, chunk_s: float) -> Margin:
        """What to leave before deadlines for work in chunks of `chunk_s`."""
        return Margin(exp(max(0.0, self.mean)) - 1.0 + sqrt(self.drift), self.spread * chunk_s)


def observed(residuals: Residuals, view: View) -> Residuals:
    """With the chunks that have ended since folded in."""
    open_: list[Watched] = []
    ended: list[tuple[Watched, float]] = []
    for watched in residuals.watched:
        job = view.job(watched.job)
        if job is not None and job.chunk is not None and job.launches == watched.launches:
            open_.append(watched)
        elif job is not None and all(rank in view.ranks for rank in watched.group):
            at = _ended_at(view, job, watched)
            if at is not None:
                ended.append((watched, at))
    if len(open_) == len(residuals.watched):
        return residuals
    ranks = {rank: mean for rank, mean in residuals.ranks if rank in view.ranks}
    count, mean, spread, drift = residuals.count, residuals.mean, residuals.spread, residuals.drift
    for watched, at in ended:
        off = min(LIMIT, max(-LIMIT, log(max(1e-9, at - watched.start) / max(1e-9, watched.seconds))))
        if abs(off) < 1e-6:
            off = 0.0  # what adding up floats does
        count = min(WINDOW, count + 1)
        newest = max(1.0 / WINDOW, 1.0 / (count + 1))
        before = mean
        mean += newest * (off - mean)
        spread += newest * ((off - before) * (off - mean) - spread)
        drift += newest * ((mean - before) ** 2 * WINDOW / 2 - drift)
        for rank in watched.group:
            known = ranks.get(rank, 0.0)
            ranks[rank] = known + NEWEST * (off + log(watched.slow) - known)
    return Residuals(
        watched=tuple(open_), ranks=tuple(sorted(ranks.items())), count=count, mean=mean, spread=spread, drift=drift
    )


def _ended_at(view: View, job: Job, watched: Watched) -> float | None:
    """When the chunk ended, if it is the job's last, or the one before that its rank has just gone on from."""
    if job.launches == watched.launches:
        return view.now
    running = None if job.chunk is None else view.running[job.chunk]
    return running.started_at if running is not None and job.launches == watched.launches + 1 else None


def watch(view: View, chunks: Sequence[tuple[Chunk, float]]) -> list[Watched]:
    """What to remember of launches, given with how many times slower their ranks are."""
    found = []
    for chunk, slow in chunks:
        jobs = [job for name in chunk.jobs if (job := view.job(name)) is not None]
        work = view.work(chunk)
        if work.qualities:
            continue  # how much is reused differs from step to step, and says nothing about ranks
        start_s = view.costs.start_s(work, chunk.group, [job.home for job in jobs])
        found.append(
            Watched(
                job=chunk.jobs[0],
                launches=jobs[0].launches + 1,
                group=chunk.group,
                start=view.now,
                seconds=start_s + chunk.units * slow * view.costs.unit_s(work),
                slow=slow,
            )
        )
    return found
