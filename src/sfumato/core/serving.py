"""The one place where state changes: `handle(batch)` folds events, asks the policy once, and returns commands.

Rules: all events of a batch are folded in their written order before the policy plans; the plan is checked against the
laws before any of it takes effect; an illegal plan is refused whole, the journal says which law it broke, and the
fallback policy plans that instant (`strict` raises instead: tests). No clock, no I/O, no randomness: the same batches
give the same commands, which is what replay and the simulator rest on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from sfumato.core.backlog import Backlog
from sfumato.core.commands import Admit, AnyCommand, Halt, Launch, Reply, WakeAt
from sfumato.core.cost import Costs
from sfumato.core.events import (
    AnyEvent,
    Arrived,
    Cancelled,
    ChunkDone,
    ChunkFailed,
    Draining,
    Dropped,
    Loaded,
    LoadFailed,
    Progress,
    WorkerLost,
    WorkerUp,
    sort_key,
)
from sfumato.core.journal import Checkpoint, Journal, Record
from sfumato.core.lifecycle import Move
from sfumato.core.plan import check
from sfumato.core.policy import Plan, Policy
from sfumato.core.pool import Pool
from sfumato.core.room import Room
from sfumato.core.values import Chunk, Job, ModelSpec, Outcome, Request, Running
from sfumato.core.view import View
from sfumato.errors import LawError


class Serving:
    """The state of a server or of a simulated one, and the policy that plans for it."""

    def __init__(
        self,
        *,
        models: Mapping[str, ModelSpec],
        costs: Costs,
        policy: Policy,
        fallback: Policy,
        journal: Journal,
        setup: Any = None,
        strict: bool = False,
    ) -> None:
        self.models = models
        self.costs = costs
        self.policy = policy
        self.backlog = Backlog()
        self.pool = Pool()
        self.now = 0.0
        self._room = Room()
        self._fallback = fallback
        self._journal = journal
        self._setup = setup
        self._strict = strict
        self._seq = 0
        self._memo: Any = None

    def handle(self, batch: Sequence[AnyEvent]) -> tuple[AnyCommand, ...]:
        """Fold a batch, plan once, and return what to do, in order. Raises LawError for an event that cannot be."""
        if self._journal.wants_checkpoint:
            self._journal.open_segment(self.checkpoint())
        events = tuple(sorted(batch, key=sort_key)) if len(batch) > 1 else tuple(batch)
        if events[0].at < self.now:
            raise LawError("L8", f"an event of {events[0].at} came at {self.now}")
        self.now = events[-1].at
        commands: list[AnyCommand] = []
        for event in events:
            self._fold(event, commands)
        broken = self._plan(commands)
        record = Record(events=events, commands=tuple(commands), broken=broken)
        self._journal.append(record)
        return record.commands

    def view(self) -> View:
        """What the policy sees now."""
        return View(self.now, self.backlog, self.pool, self.models, self.costs, self._memo)

    # -- events ---------------------------------------------------------------------------------------------------

    def _fold(self, event: AnyEvent, commands: list[AnyCommand]) -> None:
        pool = self.pool
        match event:
            case ChunkDone():
                self._chunk_done(event, commands)
            case Arrived(request=request):
                if request.model not in self.models:
                    raise LawError("L5", f"request {request.id} wants unknown model {request.model}")
                self._arrive(request, commands)
            case ChunkFailed(seq=seq, reason=reason):
                self._chunk_failed(seq, reason, commands)
            case Cancelled(request=request_id):
                self._cancel(request_id, commands)
            case Loaded(rank=rank, part=part):
                if rank in pool.ranks:
                    pool.loaded(rank, part)
            case LoadFailed(rank=rank, part=part):
                if rank in pool.ranks:
                    pool.load_failed(rank, part)
            case Dropped():
                pass  # the plan that dropped it has already taken it off the books
            case WorkerUp(info=info, parts=parts):
                if info.rank in pool.ranks:
                    raise LawError("L4", f"rank {info.rank} joined twice")
                pool.join(info, {part: self._part_bytes(part) for part in parts})
            case WorkerLost(rank=rank, saved=saved):
                self._worker_lost(rank, dict(saved))
            case Draining(ranks=ranks):
                pool.drain(ranks)

    def _arrive(self, request: Request, commands: list[AnyCommand]) -> None:
        self.backlog.arrive(request)
        job = self.backlog.live[request.id]
        reason = self._room.too_large(self.view(), job)
        if reason:
            self._reply(self.backlog.end(job, Move.REFUSE, self.now, reason), commands)

    def _chunk_done(self, event: ChunkDone, commands: list[AnyCommand]) -> None:
        if event.seq not in self.pool.running:
            return  # it ended with a lost worker
        running = self.pool.end(event.seq)
        chunk = running.chunk
        units = max((progress.units for progress in event.progress), default=0)
        if units:
            self._observe(chunk, units, event.seconds)
        share = event.seconds * len(chunk.group) / len(chunk.jobs)
        for progress in event.progress:
            job = self.backlog.get(progress.job)
            if job is not None and job.chunk == event.seq:
                self._credit(job, progress, share, commands)

    def _credit(self, job: Job, progress: Progress, share: float, commands: list[AnyCommand]) -> None:
        if progress.error:
            self._reply(self.backlog.end(job, Move.FAIL, self.now, progress.error), commands)
            return
        model = self.models[job.request.model]
        outcome = self.backlog.advance(job, model, progress.units, progress.saved, share, self.now)
        if outcome:
            self._reply(outcome, commands)

    def _chunk_failed(self, seq: int, reason: str, commands: list[AnyCommand]) -> None:
        if seq not in self.pool.running:
            return
        for job_id in self.pool.end(seq).chunk.jobs:
            job = self.backlog.get(job_id)
            if job is not None and job.chunk == seq:
                self._reply(self.backlog.end(job, Move.FAIL, self.now, reason), commands)

    def _cancel(self, request_id: str, commands: list[AnyCommand]) -> None:
        job = self.backlog.get(request_id)
        if job is None:
            return  # it ended while the cancellation was on its way
        if job.chunk is not None:
            running = self.pool.running[job.chunk]
            others = [j for j in running.chunk.jobs if j != job.id and self.backlog.get(j)]
            commands.append(Halt(seq=job.chunk, jobs=(job.id,) if others else ()))
        self._reply(self.backlog.end(job, Move.CANCEL, self.now), commands)

    def _worker_lost(self, rank: int, saved: dict[str, int]) -> None:
        if rank not in self.pool.ranks:
            return
        homes = {job for job, (home, _) in self.pool.held.items() if rank in home}
        for running in self.pool.leave(rank):
            homes.update(running.chunk.jobs)
        for job_id in sorted(homes):
            job = self.backlog.get(job_id)
            if job is not None:
                self.backlog.lose(job, saved.get(job_id, 0))

    def _observe(self, chunk: Chunk, units: int, seconds: float) -> None:
        """Tell the cost model, unless a member was cancelled: the batch is then not what was priced."""
        if all(job in self.backlog.live for job in chunk.jobs):
            self.costs.observe(self.view().work(chunk), chunk.group[0], units, seconds)

    def _reply(self, outcome: Outcome, commands: list[AnyCommand]) -> None:
        self.pool.forget(outcome.request)
        commands.append(Reply(outcome=outcome))

    # -- the plan -------------------------------------------------------------------------------------------------

    def _plan(self, commands: list[AnyCommand]) -> str:
        view = self.view()
        broken = ""
        plan = self.policy.plan(view)
        try:
            check(plan, view)
        except LawError as error:
            if self._strict:
                raise
            broken = str(error)
            plan = self._second_plan(view)
        else:
            self._memo = plan.memo
        self._apply(plan, view, commands)
        return broken

    def _second_plan(self, view: View) -> Plan:
        """The fallback's plan; nothing if that is illegal too: a server that waits is better than one that ended."""
        plan = self._fallback.plan(view)
        try:
            check(plan, view)
        except LawError:
            return Plan()
        return plan

    def _apply(self, plan: Plan, view: View, commands: list[AnyCommand]) -> None:
        for admission in plan.admissions:
            self.backlog.admit(admission.job, admission.shape, admission.steps)
            commands.append(Admit(job=admission.job, shape=admission.shape, steps=admission.steps))
        for refusal in plan.refusals:
            job = self.backlog.live[refusal.job]
            self._reply(self.backlog.end(job, Move.REFUSE, self.now, refusal.reason), commands)
        for halt in plan.halts:
            running = self.pool.running[halt.seq]
            if not halt.jobs and not running.halted:
                self.pool.running[halt.seq] = replace(running, halted=True)
            commands.append(halt)
        for drop in plan.drops:
            self.pool.drop(drop.rank, drop.part)
            commands.append(drop)
        for load in plan.loads:
            self.pool.load(load.rank, load.part, self._part_bytes(load.part))
            commands.append(load)
        for chunk in plan.launches:
            commands.append(self._launch(chunk, view))
        if plan.wake_at is not None:
            commands.append(WakeAt(at=max(plan.wake_at, self.now)))

    def _launch(self, chunk: Chunk, view: View) -> Launch:
        self._seq += 1
        work = view.work(chunk)
        jobs = [self.backlog.live[job] for job in chunk.jobs]
        sources = tuple(job.home for job in jobs)
        start_s = self.costs.start_s(work, chunk.group, sources)
        unit_s = self.costs.unit_s(work)
        for job in jobs:
            self.backlog.launch(job.id, self._seq, chunk.group, self.now)
            self.pool.hold(job.id, chunk.group, self.costs.held_bytes(job, self.models[job.request.model]))
        running = Running(seq=self._seq, chunk=chunk, started_at=self.now, start_s=start_s, unit_s=unit_s)
        self.pool.start(running)
        return Launch(seq=self._seq, chunk=chunk, sources=sources, start_s=start_s, unit_s=unit_s)

    def _part_bytes(self, part: str) -> int:
        for model in self.models.values():
            if part in model.part_bytes:
                return model.part_bytes[part]
        return 0

    # -- checkpoints ----------------------------------------------------------------------------------------------

    def checkpoint(self) -> Checkpoint:
        """Everything that decides what this Serving does next."""
        pool = self.pool
        return Checkpoint(
            now=self.now,
            seq=self._seq,
            setup=self._setup,
            memo=msgspec.to_builtins(self._memo),
            costs=self.costs.state(),
            jobs=tuple(self.backlog.live.values()),
            running=tuple(pool.running.values()),
            ranks=tuple(pool.ranks.values()),
            draining=tuple(sorted(pool.draining)),
            resident={rank: dict(parts) for rank, parts in pool.resident.items()},
            loading={rank: dict(parts) for rank, parts in pool.loading.items()},
            held=dict(pool.held),
            arrived=self.backlog.arrived,
            ended=dict(self.backlog.ended),
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Take up the state of a checkpoint, whoever wrote it."""
        self.now, self._seq = checkpoint.now, checkpoint.seq
        memo_type = getattr(self.policy, "Memo", None)
        raw = checkpoint.memo
        self._memo = raw if raw is None or memo_type is None else msgspec.convert(raw, memo_type)
        self.costs.restore(checkpoint.costs)
        self.backlog = Backlog()
        self.backlog.restore(checkpoint.jobs, checkpoint.arrived, checkpoint.ended)
        self.pool = Pool()
        self.pool.restore(checkpoint)
