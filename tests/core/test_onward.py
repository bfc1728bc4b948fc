"""Two stages in one launch: the core agrees to what a rank has gone on with, or undoes it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sfumato.assemble import policy_named
from sfumato.core.commands import AnyCommand, Halt, Launch, Reply
from sfumato.core.events import AnyEvent, Arrived, Cancelled, ChunkDone, Draining, Progress, WorkerLost, WorkerUp
from sfumato.core.journal import Entry, Journal
from sfumato.core.policy import Admission, Plan
from sfumato.core.serving import Serving
from sfumato.core.values import Chunk, JobState, RankInfo, Request, Stage
from sfumato.core.view import View
from sfumato.errors import LawError
from sfumato.report.journal import tell
from sfumato.sim.heap import Simulation
from tests.costs import MODELS, PARTS, SMALL, PlainCosts


class Merging:
    """One job at a time on rank 0: text with two steps, the last two steps with the decode; halts when told to."""

    name = "merging"
    work_conserving = False
    halts = False
    scripted: Plan | None = None

    def plan(self, view: View) -> Plan:
        if self.scripted is not None:
            return self.scripted
        if self.halts:
            return Plan(halts=tuple(Halt(seq=seq) for seq in view.running))
        job = next(view.ready(), None)
        if job is None or 0 not in view.free:
            return Plan()
        units = view.units_left(job)
        onward = {Stage.ENCODE: 2, Stage.DIFFUSE: 1, Stage.DECODE: 0}[job.stage]
        return Plan(launches=(Chunk(jobs=(job.id,), stage=job.stage, units=units, group=(0,), onward=onward),))


# when the text of what arrives at 1 is done
END = 1.0 + 2**-10 + SMALL.height * SMALL.width * 2**-22


def started(write: Callable[[Entry], object] = lambda _: None, *, alone: bool = False) -> tuple[Serving, Merging]:
    """With rank 0, and "a" on it unless `alone`."""
    policy = Merging()
    world = Serving(
        models=MODELS,
        costs=PlainCosts(),
        policy=policy,
        fallback=policy_named("fixed"),
        journal=Journal(write),
        strict=True,
    )
    world.handle([WorkerUp(at=0.0, info=RankInfo(rank=0), parts=PARTS)])
    if alone:
        return world, policy
    (launch,) = world.handle([arrived("a")])
    assert isinstance(launch, Launch)
    assert (launch.chunk.onward, launch.onward_s) == (2, PlainCosts().unit_s(world.view().work(launch.chunk.following)))
    return world, policy


def arrived(name: str) -> Arrived:
    return Arrived(at=1.0, request=Request(id=name, model="image", shape=SMALL, steps=4, arrived_at=1.0))


def done(seq: int, at: float, units: int, *, onward: bool = True) -> ChunkDone:
    progress = Progress(job="a", units=units, saved=units)
    return ChunkDone(at=at, seq=seq, progress=(progress,), seconds=0.5, onward=onward)


def test_a_rank_that_has_gone_on_counts_as_launched_with_nothing_to_start() -> None:
    world, _ = started()
    (follows,) = world.handle([done(1, 2.0, 1)])
    assert isinstance(follows, Launch)
    assert (follows.seq, follows.follows, follows.start_s) == (2, True, 0.0)
    assert (follows.chunk.stage, follows.chunk.units, follows.sources) == (Stage.DIFFUSE, 2, ((0,),))
    assert not world.view().running[2].stays, "nothing is learnt of how launches begin from what was not launched"
    (rest,) = world.handle([done(2, 3.0, 2, onward=False)])
    assert isinstance(rest, Launch)
    assert (rest.seq, rest.chunk.units, rest.chunk.onward) == (3, 2, 1)
    (decode,) = world.handle([done(3, 4.0, 2)])
    assert isinstance(decode, Launch)
    assert (decode.seq, decode.chunk.stage) == (4, Stage.DECODE)
    (reply,) = world.handle([done(4, 5.0, 1, onward=False)])
    assert isinstance(reply, Reply)
    assert (reply.outcome.state, reply.outcome.stage_s) == (JobState.DONE, (1.0, 2.0, 1.0))


def test_a_rank_that_has_not_gone_on_is_planned_for_under_the_number_after() -> None:
    world, _ = started()
    (launch,) = world.handle([done(1, 2.0, 1, onward=False)])
    assert isinstance(launch, Launch)
    assert (launch.seq, launch.follows, launch.chunk.stage) == (3, False, Stage.DIFFUSE)


@pytest.mark.parametrize(
    "before", [Cancelled(at=1.5, request="a"), Draining(at=1.5)], ids=["its job was cancelled", "the rank drains"]
)
def test_what_has_changed_meanwhile_undoes_it(before: AnyEvent) -> None:
    world, _ = started()
    world.handle([before])
    assert undone(world.handle([done(1, 2.0, 1)])) == [2]
    assert not world.pool.running


def test_a_chunk_that_was_halted_does_not_go_on() -> None:
    world, policy = started()
    policy.halts = True
    assert world.handle([arrived("b")]) == (Halt(seq=1),)
    assert undone(world.handle([done(1, 2.0, 1)])) == [2]


def test_a_rank_that_dies_after_it_went_on_gives_its_job_back() -> None:
    world, _ = started()
    world.handle([done(1, 2.0, 1)])
    world.handle([WorkerLost(at=2.5, rank=0, saved=(("a", 1),))])
    (job,) = world.view().ready()
    assert (job.stage, job.done, job.state) == (Stage.DIFFUSE, 1, JobState.PAUSED)
    (again,) = world.handle([WorkerUp(at=3.0, info=RankInfo(rank=0), parts=PARTS)])
    assert isinstance(again, Launch)
    assert (again.seq, again.chunk.units) == (3, 3)


def undone(commands: tuple[AnyCommand, ...]) -> list[int]:
    return [command.seq for command in commands if isinstance(command, Halt) and command.undone]


def test_what_a_rank_went_on_with_begins_where_the_first_ended_however_late_the_core_hears_of_it() -> None:
    world, _ = started()
    world.handle([done(1, 2.0, 1), done(2, 2.5, 2, onward=False), Draining(at=3.0)])
    assert world.backlog.live["a"].stage_s == (1.0, 0.5, 0.0)


def test_both_ends_in_one_record_are_told_in_their_order() -> None:
    entries: list[Entry] = []
    world, _ = started(entries.append)
    world.handle([done(1, 2.0, 1), done(2, 2.5, 2, onward=False)])
    world.handle([done(3, 4.0, 2)])
    world.handle([done(4, 5.0, 1, onward=False)])
    story = tell(entries)
    assert [(span.seq, span.start, span.end, span.units, span.fate) for span in story.spans] == [
        (1, 1.0, 2.0, 1, "done"),
        (2, 2.0, 2.5, 2, "done"),
        (3, 2.5, 4.0, 2, "done"),
        (4, 4.0, 5.0, 1, "done"),
    ]


def test_no_more_units_follow_than_a_request_was_admitted_with() -> None:
    low = Admission(job="a", shape=SMALL, steps=2)
    plan = Plan(admissions=(low,), launches=(Chunk(jobs=("a",), stage=Stage.ENCODE, units=1, group=(0,), onward=4),))
    world, policy = started(alone=True)
    policy.scripted = plan
    asked = Request(id="a", model="image", shape=SMALL, steps=4, arrived_at=1.0, degradable=True)
    with pytest.raises(LawError, match="L5"):
        world.handle([Arrived(at=1.0, request=asked)])


@pytest.mark.parametrize(
    "trouble", [Cancelled(at=END, request="a"), WorkerLost(at=END, rank=0)], ids=["cancelled", "its rank dies"]
)
def test_what_happens_at_the_instant_at_which_a_rank_goes_on_is_simulated(trouble: Cancelled | WorkerLost) -> None:
    world, _ = started(alone=True)
    back = WorkerUp(at=3.0, info=RankInfo(rank=0), parts=PARTS)
    script = [arrived("a")]
    dies = isinstance(trouble, WorkerLost)
    simulation = Simulation(
        world,
        PlainCosts(),
        [*script, back] if dies else [*script, trouble],
        deaths=[trouble] if isinstance(trouble, WorkerLost) else [],
    )
    (outcome,) = simulation.run()
    assert outcome.state is (JobState.DONE if dies else JobState.CANCELLED)
    assert not world.pool.running
