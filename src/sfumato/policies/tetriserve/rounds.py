"""`tetriserve`: TetriServe ("Efficiently Serving Mixed DiT Workloads", arXiv 2510.01565, ASPLOS'26), as its text reads.

Time goes in rounds of `granularity` steps. At the start of a round (section 4, algorithm 1): every request is allocated
the degrees of the fewest GPU-seconds that meet its deadline (`allocate`); a knapsack chooses who runs at which of them
so that the most requests survive the round (`pack`); requests keep their ranks where they can; left-over ranks widen
whoever gains most. What can no longer be on time goes on at one rank, best effort. Small requests of one shape share
a chunk if no deadline suffers (section 5).

Where the paper leaves a choice, the one that serves more requests was taken: a round is `granularity` of the longest
step at its fastest degree among the live requests, so that everyone gets some steps done in it; it ends early when
nothing runs; it waits a tenth of itself for chunks that overrun. A request keeps its ranks for the round, so encode,
steps (also beyond its share at that degree) and decode follow each other in it, and arrivals are encoded on idle
ranks. A degree is priced at what whole rounds of it yield. Requests that the knapsack put off
get left-over ranks at a narrower degree. Late work whose step on one rank outlasts a round runs at the narrowest degree
whose step does not, as it would block the wide. A small request is one that two ranks speed up by less than 1.5.

Ablations (table 5, granularity) are options; `rounds=False` plans at every event with the free ranks instead, each
chunk at most a round long. Not known here: loads of weights; every job runs where `can_run` says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sfumato.core.policy import Plan
from sfumato.core.values import Chunk, Group, Rank, Stage, Value
from sfumato.core.view import View
from sfumato.policies.pace import Standing, narrowest, pick, standings
from sfumato.policies.tetriserve.board import Board, Choices, Seat, batch_steps

GRACE = 0.1  # share of a round that its successor waits for chunks that overrun


class Slot(Value, frozen=True, kw_only=True):
    """The ranks that `jobs` (a batch) have for the rest of the round."""

    jobs: tuple[str, ...]
    group: Group


class Memo(Value, frozen=True, kw_only=True):
    """The round under way: when it ends, its length, and who has which ranks in it."""

    until: float = 0.0
    length_s: float = 0.0
    slots: tuple[Slot, ...] = ()


class TetriServe:
    """`tetriserve` in the table of policies."""

    name = "tetriserve"
    work_conserving = False  # ranks that come free within a round wait for its end
    Memo = Memo
    Options = Choices

    def __init__(self, options: Choices | None = None) -> None:
        self._options = options or Choices()

    def plan(self, view: View) -> Plan:
        memo: Memo = view.memo or Memo()
        everyone = standings(view)
        ready = [s for s in everyone if s.job.chunk is None]
        if not ready or not view.free:
            return Plan(memo=memo)
        rounds = self._options.rounds
        starts_at = _next_start(view, memo) if rounds else view.now
        if starts_at > view.now:
            return Plan(launches=tuple(_within(view, memo, ready)), memo=memo, wake_at=starts_at)
        length_s = max(self._options.granularity * s.pace.fastest_s + s.pace.start_s for s in everyone)
        board = Board(view, self._options, length_s)
        seats = board.seated(ready)
        launches = tuple(_opening(view, seat, board.steps(seat)) for seat in seats)
        if not rounds:
            return Plan(launches=launches, memo=memo)
        slots = tuple(Slot(jobs=tuple(s.job.id for s in (seat.s, *seat.with_it)), group=seat.group) for seat in seats)
        begun = Memo(until=view.now + length_s, length_s=length_s, slots=slots)
        return Plan(launches=launches, memo=begun, wake_at=begun.until)


def _next_start(view: View, memo: Memo) -> float:
    """When the next round may begin: now, if nothing runs; else the end of this one and of chunks that just overran."""
    if not view.running:
        return view.now
    if view.now < memo.until:
        return memo.until
    patience = memo.until + GRACE * memo.length_s
    return patience if any(running.ends_at <= patience for running in view.running.values()) else view.now


def _opening(view: View, seat: Seat, steps: int) -> Chunk:
    """The first chunk of a seat."""
    job = seat.s.job
    if job.stage is not Stage.DIFFUSE:
        return _stage_chunk(view, seat.s, seat.group[: narrowest(view, job)])
    units = batch_steps(view, seat, steps) if seat.with_it else steps
    jobs = (job.id, *(s.job.id for s in seat.with_it))
    return Chunk(jobs=jobs, stage=Stage.DIFFUSE, units=units, group=seat.group)


def _within(view: View, memo: Memo, ready: Sequence[Standing]) -> list[Chunk]:
    """Inside a round: whoever has a slot goes on in it; others are encoded or decoded on ranks that nobody has."""
    by_id = {s.job.id: s for s in ready}
    free = list(view.free)
    chunks: list[Chunk] = []
    slotted: set[str] = set()
    for slot in memo.slots:
        slotted.update(slot.jobs)
        for chunk in _continued(view, memo, slot, by_id, free):
            free = [rank for rank in free if rank not in chunk.group]
            chunks.append(chunk)
    taken = {rank for slot in memo.slots if any(view.job(job) for job in slot.jobs) for rank in slot.group}
    for s in ready:
        if s.job.id in slotted or s.stage is Stage.DIFFUSE:
            continue
        if s.stage is Stage.ENCODE and view.now + s.pace.start_s + s.pace.encode_s > memo.until:
            continue
        group = pick(view, s.job, [rank for rank in free if rank not in taken], narrowest(view, s.job))
        if group:
            free = [rank for rank in free if rank not in group]
            chunks.append(_stage_chunk(view, s, group))
    return [chunk for chunk in chunks if view.fits(chunk)]


def _continued(view: View, memo: Memo, slot: Slot, ready: Mapping[str, Standing], free: Sequence[Rank]) -> list[Chunk]:
    """What the jobs of a slot do next on its ranks, before the round ends; a decode may outlast it."""
    own = [rank for rank in slot.group if rank in free]
    chunks = []
    for job_id in slot.jobs:
        s = ready.get(job_id)
        if s is None or (s.stage is Stage.DIFFUSE and len(slot.jobs) > 1):
            continue
        if s.stage is Stage.DIFFUSE:
            step_s = s.pace.step_s(len(slot.group)) if len(own) == len(slot.group) else 0.0
            units = int((memo.until - view.now - s.pace.start_s) / step_s + 1e-6) if step_s > 0 else 0
            if units > 0 and all(view.can_run(s.job, rank) for rank in own):
                chunks.append(Chunk(jobs=(job_id,), stage=s.stage, units=min(units, s.steps), group=slot.group))
                own = []
        elif group := pick(view, s.job, own, narrowest(view, s.job)):
            chunks.append(_stage_chunk(view, s, group))
            own = [rank for rank in own if rank not in group]
    return chunks


def _stage_chunk(view: View, s: Standing, group: Group) -> Chunk:
    """All that is left of an encode or a decode."""
    return Chunk(jobs=(s.job.id,), stage=s.stage, units=view.units_left(s.job), group=group)
