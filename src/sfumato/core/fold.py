"""What each event does to the state, and what it makes the core say at once: ends of requests, halts of their chunks.

An event about a chunk that has ended, a rank that is gone or a request that is over changes nothing: it was on its way
when that happened. One that contradicts the state is a LawError.
"""

from __future__ import annotations

from sfumato.core.commands import AnyCommand, Halt
from sfumato.core.enact import follow
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
    WorkerLost,
    WorkerUp,
)
from sfumato.core.lifecycle import Move
from sfumato.core.state import State
from sfumato.core.values import Job, PartId, Rank, Request, Running
from sfumato.errors import LawError


def fold(state: State, event: AnyEvent, commands: list[AnyCommand]) -> None:
    """Change the state by an event; append what is to be done for it. Raises LawError for an event that cannot be."""
    pool = state.pool
    match event:
        case ChunkDone():
            _chunk_done(state, event, commands)
        case Arrived(request=request):
            _arrived(state, request, commands)
        case ChunkFailed(seq=seq, reason=reason):
            _chunk_failed(state, seq, reason, commands)
        case Cancelled(request=request_id):
            _cancelled(state, request_id, commands)
        case Loaded(rank=rank, part=part):
            if rank in pool.ranks:
                pool.loaded(rank, part)
        case LoadFailed(rank=rank, part=part, reason=reason):
            if rank in pool.ranks:
                pool.load_failed(rank, part)
                if pool.tries_in_vain(rank, part):
                    _give_up(state, part, reason, commands)
        case Dropped():
            pass  # the plan that dropped it has already taken it off the books
        case WorkerUp(info=info, parts=parts):
            if info.rank in pool.ranks:
                raise LawError("L4", f"rank {info.rank} joined twice")
            pool.join(info, {part: state.part_bytes(part) for part in parts})
        case WorkerLost(rank=rank, saved=saved):
            _worker_lost(state, rank, dict(saved))
        case Draining(ranks=ranks):
            pool.drain(ranks)


def _arrived(state: State, request: Request, commands: list[AnyCommand]) -> None:
    if request.model not in state.models:
        raise LawError("L5", f"request {request.id} wants unknown model {request.model}")
    state.backlog.arrive(request)
    job = state.backlog.live[request.id]
    reason = state.room.too_large(state.view(), job)
    if reason:
        commands.append(state.end(job, Move.REFUSE, reason, "size"))


def _chunk_done(state: State, event: ChunkDone, commands: list[AnyCommand]) -> None:
    if event.seq not in state.pool.running:
        return  # it ended with a lost worker
    running = state.pool.end(event.seq)
    chunk = running.chunk
    units = max((gain.units for gain in event.progress), default=0)
    if units:
        _observe(state, running, units, event)
    spent = event.at - running.started_at, event.seconds * len(chunk.group) / len(chunk.jobs)
    for gain in event.progress:
        job = state.backlog.get(gain.job)
        if job is None or job.chunk != event.seq:
            continue
        if gain.error:
            commands.append(state.end(job, Move.FAIL, gain.error))
            continue
        outcome = state.backlog.advance(job, state.models[job.request.model], gain, spent, state.now)
        if outcome:
            commands.append(state.told(outcome))
    if event.onward:
        commands.append(follow(state, running, event.at))


def _chunk_failed(state: State, seq: int, reason: str, commands: list[AnyCommand]) -> None:
    if seq not in state.pool.running:
        return
    for job_id in state.pool.end(seq).chunk.jobs:
        job = state.backlog.get(job_id)
        if job is not None and job.chunk == seq:
            commands.append(state.end(job, Move.FAIL, reason))


def _cancelled(state: State, request_id: str, commands: list[AnyCommand]) -> None:
    job = state.backlog.get(request_id)
    if job is None:
        return  # it ended while the cancellation was on its way
    if job.chunk is not None:
        running = state.pool.running[job.chunk]
        others = [j for j in running.chunk.jobs if j != job.id and state.backlog.get(j)]
        commands.append(Halt(seq=job.chunk, jobs=(job.id,) if others else ()))
    commands.append(state.end(job, Move.CANCEL))


def _give_up(state: State, part: PartId, reason: str, commands: list[AnyCommand]) -> None:
    """End as failed who waits, in this or a later stage, for a part that no rank can load.

    That is so where every rank that could hold the request has failed the part `pool.TRIES` times in a row. Who asks
    for it later has each rank try once more: when its files are mended the model serves again by itself, and until then
    nobody waits longer than for one load a rank. Arrivals that were refused instead would take a restart to end it.
    """
    view, pool = state.view(), state.pool
    up = [rank for rank in pool.ranks if rank not in pool.draining]
    if any(part in pool.resident[rank] for rank in up):
        return
    vain = [rank for rank in up if pool.tries_in_vain(rank, part)]
    left = [rank for rank in up if not pool.tries_in_vain(rank, part)]

    def held_by(job: Job, ranks: list[Rank]) -> bool:
        return any(state.room.holds(view, job, rank) for rank in ranks)

    def hopeless(job: Job) -> bool:
        stages = (state.models[job.request.model].stage(stage) for stage, _ in view.stages_left(job))
        wants = any(part in stage.parts for stage in stages)
        return wants and held_by(job, vain) and not held_by(job, left)

    ended = [job for job in view.ready() if hopeless(job)]
    commands.extend(state.end(job, Move.FAIL, f"its weights cannot be loaded: {reason}") for job in ended)
    if ended:
        pool.try_once_more(part)


def _worker_lost(state: State, rank: int, saved: dict[str, int]) -> None:
    pool = state.pool
    if rank not in pool.ranks:
        return
    homes = {job for job, (home, _) in pool.held.items() if rank in home}
    for running in pool.leave(rank):
        homes.update(running.chunk.jobs)
    for job_id in sorted(homes):
        job = state.backlog.get(job_id)
        if job is not None:
            state.backlog.lose(job, saved.get(job_id, 0))


def _observe(state: State, running: Running, units: int, event: ChunkDone) -> None:
    """Tell the cost model, unless a member was cancelled: the batch is then not what was priced."""
    chunk = running.chunk
    if all(job in state.backlog.live for job in chunk.jobs):
        start_s = event.at - running.started_at - event.seconds if running.stays else None
        state.costs.observe(state.view().work(chunk), chunk.group[0], units, event.seconds, start_s)
