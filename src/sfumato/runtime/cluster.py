"""The ranks as the controller sees them: commands of the core in, events of the core out, one process a rank.

Decided here: where the state of each job is, and so whether a launch must fetch its snapshot; what a lost worker takes
with it, and from where its jobs go on; when it is started again. Nothing here plans, and nothing waits for a worker.
Torch-free. A group has one state, on its first rank; the others keep time (paced workers only).
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sfumato.core.commands import Admit, Drop, Halt, Launch, Load, Order
from sfumato.core.events import (
    AnyEvent,
    ChunkDone,
    ChunkFailed,
    Dropped,
    Loaded,
    LoadFailed,
    Progress,
    WorkerLost,
    WorkerUp,
)
from sfumato.core.values import Group, PartId, Rank, RankInfo, Stage
from sfumato.errors import WorkerError
from sfumato.models.family import Task
from sfumato.models.offer import Offer
from sfumato.runtime import wire
from sfumato.runtime.crew import ClusterConfig, Crew
from sfumato.runtime.kept import Kept
from sfumato.runtime.snapshots import OwnSnapshots, claim

# A request whose chunks lose this many workers is taken to be the cause, and fails.
_MAX_LOSSES = 3


class Pacing(Protocol):
    """The seconds that paced workers take."""

    def chunk_s(self, launch: Launch) -> tuple[float, float]:
        """(start_s, unit_s) of a chunk."""
        ...

    def load_s(self, load: Load) -> float:
        """Seconds of a load."""
        ...


class AsPredicted:
    """Paced workers take what the planner predicted.

    With an online correction in the planner pass a Pacing of the bare profile instead: the correction would follow its
    own echo.
    """

    def chunk_s(self, launch: Launch) -> tuple[float, float]:
        return launch.start_s, launch.unit_s

    def load_s(self, load: Load) -> float:  # noqa: ARG002
        return 0.0


class ProcessCluster:
    """Starts workers, runs commands on them, reports by callback. All methods are called on one event loop."""

    def __init__(
        self,
        offers: Iterable[Offer],
        clock: Callable[[], float],
        config: ClusterConfig | None = None,
        pacing: Pacing | None = None,
    ) -> None:
        self.config = config or ClusterConfig()
        self.gaps: deque[tuple[float, float]] = deque(maxlen=10_000)  # (idle_s, gap_s) of the last chunks
        self.most_bytes = 0  # of memory that a worker has taken; 0 is unknown, as of paced ones
        self._offers = {offer.name: offer for offer in offers}
        self._clock = clock
        self._pacing = pacing or AsPredicted()
        self._crew = Crew(self.config, self._offers.values(), came=self._came, heard=self._heard, lost=self._lost)
        self._kept: dict[str, Kept] = {}
        self._running: dict[int, Launch] = {}
        self._heard_at: dict[int, float] = {}  # when a running chunk was last heard of
        self._watch: asyncio.TimerHandle | None = None
        self._store: OwnSnapshots | None = None
        self._post: Callable[[AnyEvent], None] = lambda _: None
        self._progress: Callable[[str, Stage, int], None] = lambda *_: None
        self._weight: Callable[[int, int, int], None] = lambda *_: None

    # -- what the engine asks -----------------------------------------------------------------------------------------

    def on_event(self, callback: Callable[[AnyEvent], None]) -> None:
        """Where events go. Set it before `start`, which brings the first WorkerUps."""
        self._post = callback

    def on_progress(self, callback: Callable[[str, Stage, int], None]) -> None:
        """Called after every unit but a chunk's last, with the job, its stage and the units of it that are done."""
        self._progress = callback

    def on_weight(self, callback: Callable[[int, int, int], None]) -> None:
        """Called before the event of a chunk that was to be weighed: its number, its peak bytes, bytes held a job.

        Peak bytes are beyond what was there before; 0 is unknown. Paced workers know neither and call nobody.
        """
        self._weight = callback

    async def start(self, count: int) -> None:
        """Start `count` workers and wait until all are up. Raises WorkerError with the worker's own reason."""
        self._store = claim(Path(self.config.snapshots) if self.config.snapshots else None)
        try:
            await self._crew.start(count, self._store.folder)
        except BaseException:
            await self.close()
            raise
        self._look()

    def accept(self, model: str, task: Task) -> None:
        """Take a job's task, before its Arrived event."""
        self._kept[task.id] = Kept(model, task, self._offers[model].spec)

    def execute(self, command: Order, *, weigh: bool = False) -> None:
        """Do what the core asks; what comes of it is reported by events. `weigh`: see `on_weight`."""
        match command:
            case Admit(job=job, shape=shape, steps=steps):
                self._kept[job].lower(shape, steps)
            case Launch():
                self._launch(command, weigh=weigh)
            case Halt(seq=seq, jobs=jobs):
                launch = self._running.get(seq)
                for rank in launch.chunk.group if launch else ():
                    self._crew.send(rank, wire.Stop(seq=seq, jobs=jobs))
            case Load(rank=rank, part=part):
                self._load(command, rank, part)
            case Drop(rank=rank, part=part):
                self._crew.send(rank, wire.DropPart(part=part))

    def forget(self, job: str) -> None:
        """Free everything that is held for a job, its output included."""
        kept = self._kept.pop(job, None)
        if kept is not None:
            for rank in kept.home or ():
                self._crew.send(rank, wire.Forget(job=job, ended=True))
            self._files.forget(job)

    def output(self, job: str) -> NDArray[np.uint8]:
        """The finished output: uint8 [frames, height, width, 3]. Raises KeyError if there is none."""
        return self._files.read_output(job)

    @property
    def broken(self) -> Mapping[Rank, str]:
        """Ranks that did not come back, and why."""
        return self._crew.broken

    def pids(self) -> Mapping[Rank, int]:
        """The processes of the workers that are up."""
        return {rank: worker.process.pid for rank, worker in self._crew.up.items() if worker.process is not None}

    async def close(self) -> None:
        """End all workers and remove their snapshots. Safe to call twice."""
        if self._watch is not None:
            self._watch.cancel()
        await self._crew.close()
        if self._store is not None:
            self._store.close()

    # -- commands -----------------------------------------------------------------------------------------------------

    def _launch(self, launch: Launch, *, weigh: bool) -> None:
        chunk = launch.chunk
        if len(chunk.group) > 1 and self.config.kind != "paced":
            raise WorkerError(f"launch {launch.seq} is for ranks {chunk.group}: real workers run on one rank each")
        if any(rank not in self._crew.up for rank in chunk.group):
            reason = f"launch {launch.seq}: not all of the ranks {chunk.group} are up"
            self._post(ChunkFailed(at=self._clock(), seq=launch.seq, reason=reason))
            return
        self._running[launch.seq] = launch
        self._heard_at[launch.seq] = time.monotonic()
        assignments = tuple(self._assignment(job, chunk.stage, chunk.group) for job in chunk.jobs)
        pace = None
        if self.config.kind == "paced":
            start_s, unit_s = self._pacing.chunk_s(launch)
            pace = wire.Pace(sent_at=time.monotonic(), start_s=start_s, unit_s=unit_s)
        model = self._kept[chunk.jobs[0]].model
        for rank in chunk.group:
            lead = rank == chunk.group[0]
            run = wire.Run(
                seq=launch.seq,
                model=model,
                stage=chunk.stage,
                units=chunk.units,
                jobs=assignments if lead else (),
                pace=pace,
                lead=lead,
                weigh=weigh,
            )
            self._crew.send(rank, run)

    def _assignment(self, job: str, stage: Stage, group: Group) -> wire.Assignment:
        kept = self._kept[job]
        fetch = stage is not Stage.ENCODE and kept.rank != group[0]
        if kept.rank is not None and kept.rank != group[0]:
            self._crew.send(kept.rank, wire.Forget(job=job, ended=False))
        kept.home = group
        task = kept.task if stage is Stage.ENCODE else None
        return wire.Assignment(job=job, begin=kept.begin(stage), task=task, fetch=fetch)

    def _load(self, load: Load, rank: Rank, part: PartId) -> None:
        if self.config.kind != "paced":
            self._crew.send(rank, wire.LoadPart(part=part))
            return
        seconds = self._pacing.load_s(load)
        message = wire.LoadPart(part=part, pace_s=seconds)
        asyncio.get_running_loop().call_later(seconds, self._crew.send, rank, message)

    # -- what workers say ---------------------------------------------------------------------------------------------

    def _heard(self, rank: Rank, message: wire.FromWorker) -> None:
        at = self._clock()
        match message:
            case wire.Stepped(seq=seq, done=done):
                launch = self._running.get(seq)
                if launch is not None:
                    self._heard_at[seq] = time.monotonic()
                    for job, units in zip(launch.chunk.jobs, done, strict=True):
                        self._progress(job, launch.chunk.stage, units)
            case wire.Done():
                self._chunk_done(message, at)
            case wire.Failed(seq=seq, reason=reason):
                launch = self._end(seq)
                if launch is not None:
                    self._dissolve(launch.chunk.jobs)
                    self._stop_others(launch, rank)
                    self._post(ChunkFailed(at=at, seq=seq, reason=reason))
            case wire.PartLoaded(part=part, seconds=seconds):
                self._post(Loaded(at=at, rank=rank, part=part, seconds=seconds))
            case wire.PartLoadFailed(part=part, reason=reason):
                self._post(LoadFailed(at=at, rank=rank, part=part, reason=reason))
            case wire.PartDropped(part=part):
                self._post(Dropped(at=at, rank=rank, part=part))

    def _chunk_done(self, done: wire.Done, at: float) -> None:
        launch = self._end(done.seq)
        if launch is None:
            return  # it ended when another rank of its group was lost
        self.gaps.append((done.idle_s, done.gap_s))
        self.most_bytes = max(self.most_bytes, done.most_bytes)
        for progress in done.progress:
            kept = self._kept.get(progress.job)
            if kept is not None and not progress.error:
                kept.advance(launch.chunk.stage, progress.units)
        if done.peak_bytes or done.held_bytes:
            self._weight(done.seq, done.peak_bytes, done.held_bytes)
        seconds = _measured_s(launch, done)
        self._post(ChunkDone(at=at, seq=done.seq, progress=done.progress, seconds=seconds))

    # -- loss and return ----------------------------------------------------------------------------------------------

    def _came(self, rank: Rank, up: wire.Up) -> None:
        kind = self.config.device_kind or self.config.device
        info = RankInfo(rank=rank, device=kind, node=self.config.node, memory_bytes=up.memory_bytes)
        self._post(WorkerUp(at=self._clock(), info=info, parts=up.parts))

    def _lost(self, rank: Rank) -> None:
        at = self._clock()
        running = [launch for launch in self._running.values() if rank in launch.chunk.group]
        for launch in running:
            self._stop_others(launch, rank)
            self._blame(launch, at)
        saved = []
        for job, kept in self._kept.items():
            if kept.home is not None and rank in kept.home:
                self._dissolve((job,))
                kept.lose(self._files.saved_units(job))
                saved.append((job, kept.done))
        self._post(WorkerLost(at=at, rank=rank, saved=tuple(saved)))

    def _stop_others(self, launch: Launch, rank: Rank) -> None:
        self._end(launch.seq)
        for other in launch.chunk.group:
            if other != rank:
                self._crew.send(other, wire.Stop(seq=launch.seq, discard=True))

    def _dissolve(self, jobs: Iterable[str]) -> None:
        """Nobody holds these jobs' states from now on; their snapshots stay."""
        for job in jobs:
            kept = self._kept.get(job)
            if kept is not None and kept.rank is not None:
                self._crew.send(kept.rank, wire.Forget(job=job, ended=False))
                kept.home = None

    def _blame(self, launch: Launch, at: float) -> None:
        """End jobs that took one worker after the other with them."""
        culprits = []
        for job in launch.chunk.jobs:
            kept = self._kept.get(job)
            if kept is not None:
                kept.losses += 1
                culprits += [job] * (kept.losses >= _MAX_LOSSES)
        if culprits:
            error = f"{_MAX_LOSSES} workers died while they ran this request"
            progress = tuple(
                Progress(job=job, units=0, saved=0, error=error if job in culprits else "") for job in launch.chunk.jobs
            )
            self._post(ChunkDone(at=at, seq=launch.seq, progress=progress, seconds=0.0))

    def _look(self) -> None:
        """Kill the workers that are silent for too long; their loss takes the ordinary way."""
        now, limit_s = time.monotonic(), self.config.hang_s
        for seq, launch in self._running.items():
            if now - self._heard_at[seq] > limit_s + 20 * (launch.start_s + launch.unit_s):
                self._crew.kill(launch.chunk.group[0])
        self._watch = asyncio.get_running_loop().call_later(limit_s / 8, self._look)

    def _end(self, seq: int) -> Launch | None:
        self._heard_at.pop(seq, None)
        return self._running.pop(seq, None)

    @property
    def _files(self) -> OwnSnapshots:
        assert self._store is not None, "start the cluster first"
        return self._store


def _measured_s(launch: Launch, done: wire.Done) -> float:
    """The seconds of all units that a chunk is credited with, though some were already in a newer snapshot."""
    units = max((progress.units for progress in done.progress), default=0)
    if done.computed >= units:
        return done.seconds
    return done.seconds * units / done.computed if done.computed else launch.unit_s * units
