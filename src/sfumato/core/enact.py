"""What a plan does to the state, as commands in the order in which drivers are to execute them.

The plan has been checked: nothing is refused here. Launches come last, so that they see everything else of the plan.
"""

from __future__ import annotations

from msgspec.structs import replace

from sfumato.core.commands import Admit, AnyCommand, Halt, Launch, WakeAt
from sfumato.core.lifecycle import Move
from sfumato.core.policy import Plan
from sfumato.core.state import State
from sfumato.core.values import Chunk, Running
from sfumato.core.view import View


def enact(state: State, plan: Plan, view: View, commands: list[AnyCommand]) -> None:
    """Change the state by a legal plan for `view`; append what is to be done for it."""
    for admission in plan.admissions:
        state.backlog.admit(admission.job, admission.shape, admission.steps)
        commands.append(Admit(job=admission.job, shape=admission.shape, steps=admission.steps))
    for refusal in plan.refusals:
        commands.append(state.end(state.backlog.live[refusal.job], Move.REFUSE, refusal.reason))
    for halt in plan.halts:
        running = state.pool.running[halt.seq]
        if not halt.jobs and not running.halted:
            state.pool.running[halt.seq] = replace(running, halted=True)
        commands.append(halt)
    for drop in plan.drops:
        state.pool.drop(drop.rank, drop.part)
        commands.append(drop)
    for load in plan.loads:
        state.pool.load(load.rank, load.part, state.part_bytes(load.part))
        commands.append(load)
    for chunk in plan.launches:
        commands.append(_launch(state, chunk, view))
    if plan.wake_at is not None:
        commands.append(WakeAt(at=max(plan.wake_at, state.now)))


def follow(state: State, ended: Running, at: float) -> Launch | Halt:
    """What the rank of a chunk that ended `at` goes on with by itself; where things have changed it is to stop that.

    It begins then, not when the batch is handled, which may tell of its end too.
    """
    chunk, seq, view = ended.chunk.following, ended.seq + 1, state.view()
    jobs = [state.backlog.get(job) for job in chunk.jobs]
    stands = not ended.halted and chunk.group[0] in state.pool.free
    if not stands or not all(job and job.stage is chunk.stage and view.can_run(job, chunk.group[0]) for job in jobs):
        return Halt(seq=seq, undone=True)
    return _begin(state, chunk, view, seq, at, follows=True) if view.fits(chunk) else Halt(seq=seq, undone=True)


def _launch(state: State, chunk: Chunk, view: View) -> Launch:
    state.seq += 1
    launch = _begin(state, chunk, view, state.seq, state.now)
    if not chunk.onward:
        return launch
    state.seq += 1  # kept for what follows
    return replace(launch, onward_s=state.costs.unit_s(view.work(chunk.following)))


def _begin(state: State, chunk: Chunk, view: View, seq: int, at: float, *, follows: bool = False) -> Launch:
    work = view.work(chunk)
    jobs = [state.backlog.live[job] for job in chunk.jobs]
    sources = tuple(job.home for job in jobs)
    start_s = 0.0 if follows else state.costs.start_s(work, chunk.group, sources)
    unit_s = state.costs.unit_s(work)
    stays = not follows and all(source in (None, chunk.group) for source in sources)
    for job in jobs:
        state.backlog.launch(job.id, seq, chunk.group, at)
        state.pool.hold(job.id, chunk.group, state.costs.held_bytes(job, state.models[job.request.model]))
    state.pool.start(Running(seq=seq, chunk=chunk, started_at=at, start_s=start_s, unit_s=unit_s, stays=stays))
    return Launch(seq=seq, chunk=chunk, sources=sources, start_s=start_s, unit_s=unit_s, follows=follows)
