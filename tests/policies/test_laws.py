"""The laws of ARCHITECTURE.md, for every registered policy on workloads that hypothesis makes."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest
from hypothesis import given

from sfumato.assemble import policy_named
from sfumato.core.commands import Launch, Reply
from sfumato.core.events import AnyEvent, Arrived, ChunkDone, WorkerLost
from sfumato.core.journal import Checkpoint, Entry, Record, encode
from sfumato.core.lifecycle import ENDS
from sfumato.core.policy import Plan
from sfumato.core.values import Job, Outcome
from sfumato.core.view import View
from sfumato.policies import POLICIES
from sfumato.sim import Simulation
from sfumato.sim.noise import lognormal
from tests.costs import PlainCosts
from tests.worlds import scripts, serving

every_policy = pytest.mark.parametrize("name", sorted(POLICIES))


class Watched:
    """A policy that is watched: plans twice (L11) and says when ranks idle beside work they could do (L7)."""

    def __init__(self, name: str) -> None:
        self._policy = policy_named(name)
        self.name, self.work_conserving = self._policy.name, self._policy.work_conserving
        self.Memo = getattr(self._policy, "Memo", None)

    def plan(self, view: View) -> Plan:
        plan = self._policy.plan(view)
        assert plan == self._policy.plan(view), "L11: equal views gave unlike plans"
        if self.work_conserving:
            used = {rank for chunk in plan.launches for rank in chunk.group}
            taken = {job for chunk in plan.launches for job in chunk.jobs}
            idle = [rank for rank in view.free if rank not in used]
            left = [job for job in view.ready() if job.id not in taken and self._fits(view, job, idle)]
            assert not left, f"L7: ranks {idle} idle while {[job.id for job in left]} could run"
        return plan

    def _fits(self, view: View, job: Job, idle: list[int]) -> bool:
        narrowest = min(view.models[job.request.model].stage(job.stage).degrees)
        return sum(view.can_run(job, rank) for rank in idle) >= narrowest


def run(name: str, script: list[AnyEvent], sigma: float = 0.1) -> tuple[Simulation, list[Entry]]:
    entries: list[Entry] = []
    simulation = Simulation(serving(Watched(name), entries), PlainCosts(), script, lognormal(7, sigma))
    simulation.run()
    return simulation, entries


@every_policy
@given(script=scripts())
def test_every_request_ends_exactly_once_and_the_backlog_empties(name: str, script: list[AnyEvent]) -> None:
    """L1, L2, L12."""
    simulation, _ = run(name, script)
    arrived = {event.request.id for event in script if isinstance(event, Arrived)}
    ended = Counter(outcome.request for outcome in simulation.outcomes)
    assert ended == Counter(arrived)
    backlog = simulation.serving.backlog
    assert backlog.arrived == sum(backlog.ended.values()) == len(arrived)
    assert all(outcome.state in ENDS for outcome in simulation.outcomes)


@every_policy
@given(script=scripts())
def test_causes_come_before_effects_and_time_never_goes_back(name: str, script: list[AnyEvent]) -> None:
    """L3, L8."""
    simulation, entries = run(name, script)
    times = [event.at for entry in entries if isinstance(entry, Record) for event in entry.events]
    assert times == sorted(times)
    for outcome in simulation.outcomes:
        if outcome.first_launch is not None:
            assert outcome.arrived_at <= outcome.first_launch <= outcome.at
        if outcome.met and outcome.deadline is not None:
            assert outcome.at <= outcome.deadline


@every_policy
@given(script=scripts())
def test_a_rank_runs_one_chunk_at_a_time_and_units_add_up(name: str, script: list[AnyEvent]) -> None:
    """L4, L6: replayed from the journal alone, without the core's own books."""
    _, entries = run(name, script)
    busy: dict[int, int] = {}
    chunks: dict[int, Launch] = {}
    for entry in entries:
        if not isinstance(entry, Record):
            continue
        for event in entry.events:
            if isinstance(event, ChunkDone) and event.seq in chunks:
                for rank in chunks.pop(event.seq).chunk.group:
                    assert busy.pop(rank) == event.seq
            elif isinstance(event, WorkerLost):
                for seq in [seq for seq, launch in chunks.items() if event.rank in launch.chunk.group]:
                    for rank in chunks.pop(seq).chunk.group:
                        del busy[rank]
        for command in entry.commands:
            if isinstance(command, Launch):
                for rank in command.chunk.group:
                    assert rank not in busy
                    busy[rank] = command.seq
                chunks[command.seq] = command


@every_policy
@given(script=scripts(trouble=False))
def test_without_loss_no_unit_is_computed_twice(name: str, script: list[AnyEvent]) -> None:
    """L6: the units of every stage that were launched and done are the units that the request has."""
    _, entries = run(name, script)
    stages: dict[int, Launch] = {}
    units: Counter[tuple[str, str]] = Counter()
    for entry in entries:
        if isinstance(entry, Record):
            for event in entry.events:
                if isinstance(event, ChunkDone):
                    for progress in event.progress:
                        units[progress.job, stages[event.seq].chunk.stage] += progress.units
            stages.update({c.seq: c for c in entry.commands if isinstance(c, Launch)})
    for event in script:
        if isinstance(event, Arrived):
            request = event.request
            decode = (request.shape.frames - 1) // 4 + 1 if request.model == "video" else 1
            assert [units[request.id, s] for s in ("encode", "diffuse", "decode")] == [1, request.steps, decode]


@every_policy
@given(script=scripts())
def test_the_same_script_gives_the_same_journal_byte_for_byte(name: str, script: list[AnyEvent]) -> None:
    """L9."""
    first, second = run(name, script)[1], run(name, script)[1]
    assert b"".join(map(encode, first)) == b"".join(map(encode, second))


@every_policy
@given(script=scripts())
def test_every_segment_replays_to_the_same_commands(name: str, script: list[AnyEvent]) -> None:
    """L10, through bytes, from every checkpoint on its own."""
    entries: list[Entry] = []
    Simulation(serving(name, entries, segment=7), PlainCosts(), script, lognormal(3, 0.1)).run()
    decoder = msgspec.json.Decoder(Checkpoint | Record)
    read = [decoder.decode(encode(entry)) for entry in entries]
    assert [encode(entry) for entry in read] == [encode(entry) for entry in entries]
    opens = [place for place, entry in enumerate(read) if isinstance(entry, Checkpoint)]
    for begin, end in zip(opens, [*opens[1:], len(read)], strict=True):
        fresh = serving(name, [])
        checkpoint = read[begin]
        assert isinstance(checkpoint, Checkpoint)
        fresh.restore(checkpoint)
        for record in read[begin + 1 : end]:
            assert isinstance(record, Record)
            assert fresh.handle(record.events) == record.commands


@every_policy
@given(script=scripts())
def test_attainment_never_counts_a_reply_that_was_not_sent(name: str, script: list[AnyEvent]) -> None:
    """L2 at the edge: outcomes of the driver and Reply commands of the journal are the same, in the same order."""
    simulation, entries = run(name, script)
    replies: list[Outcome] = [
        command.outcome
        for entry in entries
        if isinstance(entry, Record)
        for command in entry.commands
        if isinstance(command, Reply)
    ]
    assert replies == simulation.outcomes
