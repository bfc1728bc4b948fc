"""The ranks as the controller sees them: commands of the core in, events of the core out, one process a rank.

Decided here: what each rank is told for a command, and what of their reports is an event. Who holds the state of a job
is in `kept`, what groups are called in `names`, how chunks end that go wrong in `losses`; processes come and go in
`crew`. Nothing here plans, and nothing waits for a worker. Torch-free.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from sfumato.core.commands import Admit, Drop, Halt, Launch, Load, Order
from sfumato.core.events import (
    AnyEvent,
    ChunkDone,
    ChunkFailed,
    Dropped,
    Loaded,
    WorkerUp,
)
from sfumato.core.values import PartId, Rank, RankInfo, Stage
from sfumato.models.family import Task
from sfumato.models.offer import Offer
from sfumato.runtime import wire
from sfumato.runtime.crew import ClusterConfig, Crew
from sfumato.runtime.kept import Keeping
from sfumato.runtime.losses import Losses
from sfumato.runtime.names import Names
from sfumato.runtime.onward import Onward
from sfumato.runtime.pacing import AsPredicted, Pacing
from sfumato.runtime.reloads import Reloads
from sfumato.runtime.snapshots import OwnSnapshots, claim
from sfumato.runtime.watch import Watch, measured_s


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
        self._kept = Keeping(self._crew.send)
        self._names = Names(self._crew.send)
        self._watch = Watch()
        self._losses = Losses(
            self._watch,
            self._kept,
            self._names,
            send=self._crew.send,
            post=lambda event: self._post(event),  # noqa: PLW0108  it is set later
            clock=clock,
        )
        self._onward = Onward(self._watch, self._kept, send=self._crew.send, credit=self._credit)
        self._reloads = Reloads(lambda event: self._post(event), clock)  # noqa: PLW0108  as above
        self._look_again: asyncio.TimerHandle | None = None
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
        if self.config.kind == "real":  # paced ones are up in 1 ms
            self._names.warm_up(count, max(self._degrees()))
        self._look()

    def accept(self, model: str, task: Task) -> None:
        """Take a job's task, before its Arrived event."""
        self._kept.accept(model, task, self._offers[model].spec)

    def execute(self, command: Order, *, weigh: bool = False) -> None:
        """Do what the core asks; what comes of it is reported by events. `weigh`: see `on_weight`."""
        match command:
            case Admit(job=job, shape=shape, steps=steps):
                self._kept[job].lower(shape, steps)
            case Launch(follows=False):
                self._launch(command, weigh=weigh)
            case Launch(seq=seq):
                self._onward.agreed(seq)
            case Halt(seq=seq, undone=True):
                self._onward.undo(seq)
            case Halt(seq=seq, jobs=jobs):
                launch = self._watch.get(seq)
                for rank in launch.chunk.group if launch else ():
                    self._crew.send(rank, wire.Stop(seq=seq, jobs=jobs))
            case Load(rank=rank, part=part):
                self._load(command, rank, part)
            case Drop(rank=rank, part=part):
                self._crew.send(rank, wire.DropPart(part=part))

    def forget(self, job: str) -> None:
        """Free everything that is held for a job, its output included."""
        if self._kept.forget(job):
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
        if self._look_again is not None:
            self._look_again.cancel()
        self._reloads.close()
        await self._crew.close()
        if self._store is not None:
            self._store.close()

    # -- commands -----------------------------------------------------------------------------------------------------

    def _launch(self, launch: Launch, *, weigh: bool) -> None:
        chunk = launch.chunk
        if any(rank not in self._crew.up for rank in chunk.group):
            reason = f"launch {launch.seq}: not all of the ranks {chunk.group} are up"
            self._post(ChunkFailed(at=self._clock(), seq=launch.seq, reason=reason))
            return
        self._watch.begin(launch)
        group, pace = self._names.of(chunk.group), self._pace(launch)
        for rank, assignments in self._kept.assign(chunk).items():
            run = wire.Run(
                seq=launch.seq,
                model=self._kept[chunk.jobs[0]].model,
                stage=chunk.stage,
                units=chunk.units,
                jobs=assignments,
                ranks=chunk.group,
                group=group,
                cfg=chunk.cfg,
                pace=pace,
                weigh=weigh,
            )
            self._crew.send(rank, replace(run, then=self._then(run, launch)) if chunk.onward else run)

    def _then(self, run: wire.Run, launch: Launch) -> wire.Run:
        """What a rank is to go on with after a run: at once."""
        after = launch.following
        jobs = tuple(wire.Assignment(job=job, begin=0) for job in after.chunk.jobs)
        pace = self._pace(after)
        pace = replace(pace, sent_at=0.0, start_s=0.0) if pace else None
        return replace(run, seq=after.seq, stage=after.chunk.stage, units=after.chunk.units, jobs=jobs, pace=pace)

    def _degrees(self) -> list[int]:
        """How many ranks a group of the models may have."""
        stages = [offer.spec.stage(stage) for offer in self._offers.values() for stage in Stage]
        return [1, *(ranks for stage in stages for ranks, _ in stage.layouts(guided=True))]

    def _pace(self, launch: Launch) -> wire.Pace | None:
        if self.config.kind != "paced":
            return None
        start_s, unit_s = self._pacing.chunk_s(launch)
        return wire.Pace(sent_at=time.monotonic(), start_s=start_s, unit_s=unit_s)

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
                self._stepped(self._watch.heard(seq), done)
            case wire.Done():
                self._chunk_done(message, at)
            case wire.Failed():
                self._losses.failed(rank, message)
            case wire.Severed(seq=seq):
                self._losses.severed(seq)
            case wire.PartLoaded(part=part, seconds=seconds):
                self._post(Loaded(at=at, rank=rank, part=part, seconds=seconds))
            case wire.PartLoadFailed(part=part, reason=reason):
                self._reloads.failed(rank, part, reason)
            case wire.PartDropped(part=part):
                self._post(Dropped(at=at, rank=rank, part=part))

    def _stepped(self, launch: Launch | None, done: tuple[int, ...]) -> None:
        if launch is not None:
            for job, units in zip(launch.chunk.jobs, done, strict=True):
                self._progress(job, launch.chunk.stage, units)

    def _chunk_done(self, done: wire.Done, at: float) -> None:
        launch = self._watch.end(done.seq)
        if launch is None:
            return  # it ended when another rank of its group was lost
        if not launch.follows:
            self.gaps.append((done.idle_s, done.gap_s))
        if done.onward:
            self._onward.begin(launch.following)
        self.most_bytes = max(self.most_bytes, done.most_bytes)
        self._onward.ended(launch, done)
        if done.peak_bytes or done.held_bytes:
            self._weight(done.seq, done.peak_bytes, done.held_bytes)
        seconds = measured_s(launch, done)
        self._post(ChunkDone(at=at, seq=done.seq, progress=done.progress, seconds=seconds, onward=done.onward))

    def _credit(self, launch: Launch, done: wire.Done) -> None:
        for progress in done.progress:
            kept = self._kept.get(progress.job)
            if kept is not None and not progress.error:
                kept.advance(launch.chunk.stage, progress.units)
                if kept.delivered:  # only now: had a rank died before, the job would have to be decoded again
                    self._files.drop_snapshot(progress.job)

    def _came(self, rank: Rank, up: wire.Up) -> None:
        kind = self.config.device_kind or self.config.device
        info = RankInfo(rank=rank, device=kind, node=self.config.node, memory_bytes=up.memory_bytes)
        self._post(WorkerUp(at=self._clock(), info=info, parts=up.parts))

    def _lost(self, rank: Rank) -> None:
        self._reloads.lose(rank)
        self._losses.lost(rank, self._files.saved_units)

    def _look(self) -> None:
        """Kill the workers that are silent for too long; their loss takes the ordinary way.

        Of a group all: nothing tells which of its ranks the others wait for.
        """
        for launch in self._watch.silent(self.config.hang_s):
            for rank in launch.chunk.group:
                self._crew.kill(rank)
        self._look_again = asyncio.get_running_loop().call_later(self.config.hang_s / 8, self._look)

    @property
    def _files(self) -> OwnSnapshots:
        assert self._store is not None, "start the cluster first"
        return self._store
