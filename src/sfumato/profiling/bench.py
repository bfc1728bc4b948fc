"""Runs chunks on a cluster by hand, without a planner: all groups start together, and all are waited for.

That keeps every rank busy while it is measured, as it is when it serves: two workers on one machine share its memory
and caches, and a rank measured alone would promise too much.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import count
from typing import Protocol

from sfumato.core.commands import Drop, Launch, Load, Order
from sfumato.core.events import AnyEvent, ChunkDone, ChunkFailed, Dropped, Loaded, LoadFailed, WorkerLost, WorkerUp
from sfumato.core.values import Chunk, Group, PartId, Rank, RankInfo, Stage, Value
from sfumato.errors import WorkerError
from sfumato.models.family import Task


class Cluster(Protocol):
    """What is needed of `runtime.cluster.ProcessCluster`."""

    def on_event(self, callback: Callable[[AnyEvent], None]) -> None:
        """Where events go."""

    def accept(self, model: str, task: Task) -> None:
        """Take a job's task before its first launch."""

    def on_weight(self, callback: Callable[[int, int, int], None]) -> None:
        """Where the peak bytes and the bytes a job go of a chunk that was weighed, before its event."""

    def execute(self, command: Order, *, weigh: bool = False) -> None:
        """Start doing it."""

    def forget(self, job: str) -> None:
        """Free everything that is held for a job."""


class Timed(Value, frozen=True, kw_only=True):
    """A chunk that ran: seconds of a unit, of all units, and of what is around them as the controller sees it.

    If it was weighed: bytes of its peak, and those that a job held; 0 is unknown.
    """

    unit_s: float
    total_s: float
    gap_s: float
    peak_bytes: int = 0
    held_bytes: int = 0


class Bench:
    """The ranks of a cluster, ready to be told what to run. Make it before the cluster starts."""

    def __init__(self, cluster: Cluster, clock: Callable[[], float]) -> None:
        self.ranks: dict[Rank, RankInfo] = {}
        self._cluster = cluster
        self._clock = clock
        self._seqs = count(1)
        self._names = count(1)
        self._waiting: dict[object, asyncio.Future[AnyEvent]] = {}
        self._weights: dict[int, tuple[int, int]] = {}
        cluster.on_event(self._hear)
        cluster.on_weight(self._weighed)

    def groups(self, degree: int) -> tuple[Group, ...]:
        """As many groups of `degree` neighbours as there are ranks for."""
        ranks = sorted(self.ranks)
        return tuple(tuple(ranks[i : i + degree]) for i in range(0, len(ranks) - degree + 1, degree))

    def accept(self, model: str, task: Task) -> str:
        """Take a task under a name of its own."""
        job = f"profile-{next(self._names)}"
        self._cluster.accept(
            model, Task(id=job, shape=task.shape, steps=task.steps, seed=task.seed, payload=task.payload)
        )
        return job

    def forget(self, jobs: Sequence[str]) -> None:
        """Free what the ranks hold for jobs."""
        for job in jobs:
            self._cluster.forget(job)

    async def run(
        self,
        stage: Stage,
        units: int,
        crews: Sequence[tuple[Group, tuple[str, ...]]],
        *,
        cfg: int = 1,
        weigh: bool = False,
    ) -> list[Timed]:
        """The same chunk on every (group, its jobs) at once. Raises WorkerError for whatever goes wrong there."""
        launched: list[tuple[float, asyncio.Future[AnyEvent]]] = []
        for group, jobs in crews:
            chunk = Chunk(jobs=jobs, stage=stage, units=units, group=group, cfg=cfg)
            sources = (None if stage is Stage.ENCODE else group,) * len(jobs)
            launch = Launch(seq=next(self._seqs), chunk=chunk, sources=sources, start_s=0.0, unit_s=0.0)
            launched.append((self._clock(), self._expect(launch.seq)))
            self._cluster.execute(launch, weigh=weigh)
        done = [(at, await event) for at, event in launched]
        return [self._timed(at, event) for at, event in done if isinstance(event, ChunkDone)]

    async def load_s(self, rank: Rank, part: PartId) -> float:
        """Seconds to make a part resident that was just dropped (so from warm files)."""
        dropped = self._expect((rank, part))
        self._cluster.execute(Drop(rank=rank, part=part))
        await dropped
        loaded = self._expect((rank, part))
        self._cluster.execute(Load(rank=rank, part=part))
        event = await loaded
        assert isinstance(event, Loaded)
        return event.seconds

    def _timed(self, at: float, done: ChunkDone) -> Timed:
        units = max(progress.units for progress in done.progress)
        peak_bytes, held_bytes = self._weights.pop(done.seq, (0, 0))
        return Timed(
            unit_s=done.seconds / units,
            total_s=done.seconds,
            gap_s=max(0.0, done.at - at - done.seconds),
            peak_bytes=peak_bytes,
            held_bytes=held_bytes,
        )

    def _weighed(self, seq: int, peak_bytes: int, held_bytes: int) -> None:
        self._weights[seq] = peak_bytes, held_bytes

    def _expect(self, key: object) -> asyncio.Future[AnyEvent]:
        future = self._waiting[key] = asyncio.get_running_loop().create_future()
        return future

    def _hear(self, event: AnyEvent) -> None:
        match event:
            case WorkerUp(info=info):
                self.ranks[info.rank] = info
            case ChunkDone(seq=seq):
                error = next((progress.error for progress in event.progress if progress.error), "")
                self._answer(seq, event, error)
            case ChunkFailed(seq=seq, reason=reason):
                self._answer(seq, event, reason)
            case Loaded(rank=rank, part=part) | Dropped(rank=rank, part=part):
                self._answer((rank, part), event, "")
            case LoadFailed(rank=rank, part=part, reason=reason):
                self._answer((rank, part), event, reason)
            case WorkerLost(rank=rank):
                self.ranks.pop(rank, None)
                for key in tuple(self._waiting):
                    self._answer(key, event, f"worker {rank} died")

    def _answer(self, key: object, event: AnyEvent, error: str) -> None:
        future = self._waiting.pop(key, None)
        if future is None or future.done():
            return
        if not error:
            future.set_result(event)
            return
        future.set_exception(WorkerError(f"profiling stopped: {error}"))
        future.exception()  # the first one is raised; those of the other groups have been seen with it
