"""Folds a journal's entries, one after the other, into what a Story tells.

What is told is what happened: a chunk begins with its Launch and ends with the event of its end or the loss of a rank;
where a checkpoint and what was read so far differ (a gap in the journal), the checkpoint is believed.
"""

from __future__ import annotations

from typing import Literal

from msgspec.structs import replace

from sfumato.core.commands import Admit, AnyCommand, Halt, Launch, Load, Reply
from sfumato.core.events import (
    AnyEvent,
    Arrived,
    ChunkDone,
    ChunkFailed,
    Loaded,
    LoadFailed,
    WorkerLost,
    WorkerUp,
)
from sfumato.core.journal import Checkpoint, Record
from sfumato.core.policy import Reason, Swap
from sfumato.core.values import Job, PartId, Rank, RankInfo, Running
from sfumato.report.story import Life, LoadSpan, RankLife, Span, Story


class Teller:
    """Folds entries; `story` puts together what it has seen."""

    def __init__(self) -> None:
        self.now = float("-inf")
        self._start: float | None = None
        self._lives: dict[str, Life] = {}
        self._spans: dict[int, Span] = {}
        self._open: dict[int, Span] = {}
        self._ranks: list[RankLife] = []
        self._up: dict[Rank, int] = {}  # rank -> its place in _ranks
        self._loads: dict[tuple[Rank, PartId], LoadSpan] = {}
        self._loaded: list[LoadSpan] = []
        self._broken: list[tuple[float, str]] = []
        self._swaps: list[tuple[float, Swap]] = []
        self._turns: dict[str, list[tuple[float, Reason]]] = {}
        self._records = self._before = self._unseen = 0

    # -- checkpoints --------------------------------------------------------------------------------------------------

    def take_up(self, checkpoint: Checkpoint) -> None:
        """Believe a checkpoint where it and what was read so far differ."""
        self.now = checkpoint.now
        if self._start is None:
            # the clock of a fresh Serving stands at 0, its first event gives the start
            self._start = checkpoint.now if checkpoint.arrived or checkpoint.ranks else None
            self._before = checkpoint.arrived - len(checkpoint.jobs)
        live = {job.id for job in checkpoint.jobs}
        for missing in [name for name, life in self._lives.items() if life.outcome is None and name not in live]:
            del self._lives[missing]
            self._unseen += 1
        for job in checkpoint.jobs:
            self._live(job)
        self._believe_running(checkpoint.running)
        infos = {info.rank: info for info in checkpoint.ranks}
        for rank in [rank for rank in self._up if rank not in infos]:
            self._rank_down(rank, self.now)
        for info in infos.values():
            self._rank_up(info, self.now)

    def _live(self, job: Job) -> None:
        if job.id not in self._lives:
            lowered = (job.shape, job.steps) != (job.request.shape, job.request.steps)
            self._lives[job.id] = Life(
                request=job.request,
                lowered=Admit(job=job.id, shape=job.shape, steps=job.steps) if lowered else None,
                first_launch=job.first_launch,
            )

    def _believe_running(self, running: tuple[Running, ...]) -> None:
        known = {one.seq for one in running}
        for seq in [seq for seq in self._open if seq not in known]:
            self._close(seq, self.now, "open")
        for one in running:
            if one.seq not in self._open:
                self._open[one.seq] = _span(one.seq, one.started_at, one)

    # -- records ------------------------------------------------------------------------------------------------------

    def take(self, record: Record) -> None:
        """Fold a record: its events, then its commands at the time of its last event."""
        self._records += 1
        if self._start is None and record.events:
            self._start = record.events[0].at
        following = {one.seq: one for one in record.commands if isinstance(one, Launch) and one.follows}
        for event in record.events:
            self.now = event.at
            self._event(event)
            if isinstance(event, ChunkDone) and event.seq + 1 in following:
                self._launched(event.seq + 1, following[event.seq + 1])  # it may end in this record too
        for command in record.commands:
            self._command(command)
        self._explain(record)
        self._swaps += [(self.now, swap) for swap in record.swaps]
        if record.broken:
            self._broken.append((self.now, record.broken))

    def _explain(self, record: Record) -> None:
        """Give the chunks that were launched just now their reasons; keep those of no launch."""
        for reason in record.reasons:
            if not reason.degree:
                self._turns.setdefault(reason.job, []).append((self.now, reason))
        why = {reason.job: reason for reason in record.reasons if reason.degree}
        for command in record.commands if why else ():
            if isinstance(command, Launch) and not command.follows and command.chunk.jobs[0] in why:
                self._open[command.seq] = replace(self._open[command.seq], reason=why[command.chunk.jobs[0]])

    def _event(self, event: AnyEvent) -> None:
        match event:
            case Arrived(request=request):
                self._lives[request.id] = Life(request=request)
            case ChunkDone(seq=seq) if seq in self._open:
                gained = {progress.job: progress.units for progress in event.progress}
                failed = bool(event.progress) and all(progress.error for progress in event.progress)
                self._open[seq] = replace(self._open[seq], gained=gained, seconds=event.seconds)
                self._close(seq, event.at, "failed" if failed else "done")
            case ChunkFailed(seq=seq) if seq in self._open:
                self._close(seq, event.at, "failed")
            case WorkerUp(info=info):
                self._rank_up(info, event.at)
            case WorkerLost(rank=rank):
                for seq in [seq for seq, span in self._open.items() if rank in span.group]:
                    self._close(seq, event.at, "lost")
                self._rank_down(rank, event.at)
            case Loaded(rank=rank, part=part):
                self._load_ended(rank, part, event.at)
            case LoadFailed(rank=rank, part=part, reason=reason):
                self._load_ended(rank, part, event.at, reason)
            case _:
                pass  # a cancellation shows in its Reply; drops, drains and wake-ups are not told

    def _command(self, command: AnyCommand) -> None:
        match command:
            case Launch(seq=seq, follows=False):
                self._launched(seq, command)
            case Admit(job=job) if job in self._lives:
                self._lives[job] = replace(self._lives[job], lowered=command)
            case Halt(seq=seq, jobs=()) if seq in self._open:
                self._open[seq] = replace(self._open[seq], halted=True)
            case Load(rank=rank, part=part):
                self._loads[rank, part] = LoadSpan(rank=rank, part=part, start=self.now)
            case Reply(outcome=outcome) if outcome.request in self._lives:
                life = self._lives[outcome.request]
                first = life.first_launch if outcome.first_launch is None else outcome.first_launch
                self._lives[outcome.request] = replace(life, outcome=outcome, first_launch=first)
            case _:
                pass

    def _launched(self, seq: int, launch: Launch) -> None:
        self._open[seq] = _span(seq, self.now, launch)
        first = self._spans.get(seq - 1) if launch.follows else None
        if first is not None and first.reason is not None:
            self._open[seq] = replace(self._open[seq], reason=replace(first.reason, why="goes on by itself"))
        for job in launch.chunk.jobs:
            life = self._lives.get(job)
            if life is not None and life.first_launch is None:
                self._lives[job] = replace(life, first_launch=self.now)

    def _close(self, seq: int, at: float, fate: Literal["done", "failed", "lost", "open"]) -> None:
        self._spans[seq] = replace(self._open.pop(seq), end=at, fate=fate)

    def _rank_up(self, info: RankInfo, at: float) -> None:
        if info.rank not in self._up:
            self._up[info.rank] = len(self._ranks)
            self._ranks.append(RankLife(info=info, up=at))

    def _rank_down(self, rank: Rank, at: float) -> None:
        place = self._up.pop(rank, None)
        if place is not None:
            self._ranks[place] = replace(self._ranks[place], down=at)

    def _load_ended(self, rank: Rank, part: PartId, at: float, error: str = "") -> None:
        load = self._loads.pop((rank, part), None)
        if load is not None:
            self._loaded.append(replace(load, end=at, error=error))

    # -- the whole ----------------------------------------------------------------------------------------------------

    def story(self) -> Story:
        start = 0.0 if self._start is None else self._start
        end = max(start, self.now)
        spans = self._spans | {seq: replace(span, end=end, fate="open") for seq, span in self._open.items()}
        ordered = tuple(spans[seq] for seq in sorted(spans))
        return Story(
            start=start,
            end=end,
            lives=self._with_spans(ordered),
            spans=ordered,
            ranks=tuple(self._ranks),
            loads=tuple(sorted([*self._loaded, *self._loads.values()], key=lambda load: (load.start, load.rank))),
            broken=tuple(self._broken),
            swaps=tuple(self._swaps),
            records=self._records,
            before=self._before,
            unseen=self._unseen,
        )

    def _with_spans(self, spans: tuple[Span, ...]) -> dict[str, Life]:
        own: dict[str, list[Span]] = {name: [] for name in self._lives}
        for span in spans:
            for job in span.jobs:
                if job in own:
                    own[job].append(span)
        lives = sorted(self._lives.values(), key=lambda life: (life.request.arrived_at, life.id))
        turns = {life.id: tuple(self._turns.get(life.id, ())) for life in lives}
        return {life.id: replace(life, spans=tuple(own[life.id]), turns=turns[life.id]) for life in lives}


def _span(seq: int, start: float, source: Launch | Running) -> Span:
    chunk = source.chunk
    moved = isinstance(source, Launch) and any(home is not None and home != chunk.group for home in source.sources)
    return Span(
        seq=seq,
        group=chunk.group,
        jobs=chunk.jobs,
        stage=chunk.stage,
        planned=chunk.units,
        start=start,
        end=start,
        halted=isinstance(source, Running) and source.halted,
        moved=moved,
        cfg=chunk.cfg,
    )
