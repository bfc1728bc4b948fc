"""What the Serving makes of events that are rare in simulations: losses, failures, late messages, loads, draining."""

from __future__ import annotations

import pytest

from sfumato.assemble import policy_named
from sfumato.core.commands import Admit, Halt, Launch, Load, Reply
from sfumato.core.cost import Work
from sfumato.core.events import (
    Arrived,
    Cancelled,
    ChunkDone,
    ChunkFailed,
    Draining,
    Loaded,
    LoadFailed,
    Progress,
    Woke,
    WorkerLost,
    WorkerUp,
)
from sfumato.core.journal import Journal
from sfumato.core.policy import Admission, Plan
from sfumato.core.serving import Serving
from sfumato.core.values import Chunk, RankInfo, Request, Stage
from sfumato.core.view import View
from sfumato.errors import LawError
from tests.costs import CLIP, MODELS, PARTS, SMALL, PlainCosts
from tests.worlds import serving


def started(policy: str = "fixed", ranks: int = 1) -> Serving:
    world = serving(policy, [])
    world.handle([WorkerUp(at=0.0, info=RankInfo(rank=rank), parts=PARTS) for rank in range(ranks)])
    return world


def request(name: str = "a", **changes: object) -> Arrived:
    fields = {"id": name, "model": "image", "shape": SMALL, "steps": 10, "arrived_at": 1.0, **changes}
    return Arrived(at=1.0, request=Request(**fields))  # type: ignore[arg-type]


def done(seq: int, at: float, units: int, *, job: str = "a", saved: int | None = None, error: str = "") -> ChunkDone:
    progress = Progress(job=job, units=units, saved=units if saved is None else saved, error=error)
    return ChunkDone(at=at, seq=seq, progress=(progress,), seconds=0.5)


def gains(jobs: tuple[str, ...], units: int) -> tuple[Progress, ...]:
    return tuple(Progress(job=job, units=units, saved=units) for job in jobs)


class Pairs:
    """Denoises everything together once all is encoded; encodes and decodes one by one."""

    name = "pairs"
    work_conserving = False

    def plan(self, view: View) -> Plan:
        jobs = list(view.ready())
        if not view.free or not jobs:
            return Plan()
        steps = [job.id for job in jobs if job.stage is Stage.DIFFUSE]
        lead = next((job for job in jobs if job.stage is Stage.ENCODE), jobs[0])
        chosen = tuple(steps) if lead.stage is Stage.DIFFUSE else (lead.id,)
        return Plan(launches=(Chunk(jobs=chosen, stage=lead.stage, units=view.units_left(lead), group=(0,)),))


def test_a_lost_worker_sends_its_job_back_to_the_snapshot_that_the_driver_knows_of() -> None:
    world = started(ranks=2)
    world.handle([request()])
    (launch,) = world.handle([done(1, 2.0, 1)])
    assert isinstance(launch, Launch)
    assert launch.chunk.units == 10
    (again,) = world.handle([WorkerLost(at=3.0, rank=0, saved=(("a", 7),))])
    assert isinstance(again, Launch)
    assert (again.chunk.units, again.chunk.group, again.sources) == (3, (1,), (None,))


def test_the_cost_model_is_told_how_late_a_chunk_began() -> None:
    world, told = started(), []

    class Listening(PlainCosts):
        def observe(self, work: Work, rank: int, units: int, seconds: float, late_s: float = 0.0) -> None:
            told.append(late_s)

    world._state.costs = Listening()
    (launch,) = world.handle([request()])
    assert isinstance(launch, Launch)
    world.handle([done(1, 1.0 + 0.5 + launch.start_s + 0.25, 1)])
    assert told == [0.25]


def test_a_message_of_a_chunk_that_ended_with_its_worker_is_ignored() -> None:
    world = started(ranks=2)
    world.handle([request()])
    world.handle([done(1, 2.0, 1)])
    world.handle([WorkerLost(at=3.0, rank=0)])
    assert world.handle([done(2, 4.0, 10)]) == ()
    job = world.backlog.get("a")
    assert job is not None
    assert job.done == 0


def test_an_interrupted_decode_restarts_and_denoising_is_not_lost() -> None:
    world = started("edf")
    world.handle([request(model="video", shape=CLIP, steps=1)])
    world.handle([done(1, 2.0, 1)])
    world.handle([done(2, 3.0, 1)])
    world.handle([done(3, 4.0, 2, saved=0)])
    assert (world.backlog.live["a"].stage, world.backlog.live["a"].done) == (Stage.DECODE, 2)
    world.handle([done(4, 4.5, 1, saved=0)])
    assert (world.backlog.live["a"].done, world.backlog.live["a"].saved) == (3, 0)
    world.handle([WorkerLost(at=5.0, rank=0)])
    job = world.backlog.live["a"]
    assert (job.stage, job.done, job.home) == (Stage.DECODE, 0, None)


def test_a_decode_under_way_stays_at_its_home() -> None:
    world = started("edf", ranks=2)
    world.handle([request(model="video", shape=CLIP, steps=1)])
    world.handle([done(1, 2.0, 1)])
    world.handle([done(2, 3.0, 1)])
    world.handle([done(3, 4.0, 2, saved=0)])
    view = world.view()
    assert [view.can_run(view.jobs.__iter__().__next__(), rank) for rank in (0, 1)] == [True, False]


def test_one_job_of_a_chunk_can_fail_with_its_reason() -> None:
    world = started()
    world.handle([request(), request("b")])
    reply, launch = world.handle([done(1, 2.0, 0, error="out of memory")])
    assert isinstance(reply, Reply)
    assert (reply.outcome.state, reply.outcome.reason) == ("failed", "out of memory")
    assert isinstance(launch, Launch)
    assert launch.chunk.jobs == ("b",)


def test_a_chunk_that_raised_ends_its_jobs_and_frees_its_rank() -> None:
    world = started()
    world.handle([request(), request("b")])
    reply, launch = world.handle([ChunkFailed(at=2.0, seq=1, reason="ValueError: no")])
    assert isinstance(reply, Reply)
    assert reply.outcome.state == "failed"
    assert isinstance(launch, Launch)


def test_cancelling_a_running_job_halts_its_chunk_and_the_rank_is_free_when_that_has_ended() -> None:
    world = started()
    world.handle([request(), request("b")])
    halt, reply = world.handle([Cancelled(at=2.0, request="a")])
    assert halt == Halt(seq=1)
    assert isinstance(reply, Reply)
    assert reply.outcome.state == "cancelled"
    (launch,) = world.handle([done(1, 2.5, 1)])
    assert isinstance(launch, Launch)
    assert launch.chunk.jobs == ("b",)


def test_a_deadline_met_to_the_instant_is_met_and_one_passed_is_late() -> None:
    for deadline, state in ((4.0, "done"), (3.999, "late")):
        world = started()
        world.handle([request(steps=1, deadline=deadline)])
        world.handle([done(1, 2.0, 1)])
        world.handle([done(2, 3.0, 1)])
        (reply,) = world.handle([done(3, 4.0, 1)])
        assert isinstance(reply, Reply)
        assert reply.outcome.state == state


def test_an_outcome_tells_seconds_in_chunks_and_the_share_of_rank_seconds_of_each_stage() -> None:
    world = serving(Pairs(), [])
    world.handle([WorkerUp(at=0.0, info=RankInfo(rank=0), parts=PARTS)])
    world.handle([request(steps=2), request("b", steps=2)])
    pair = ("a", "b")
    world.handle([ChunkDone(at=2.0, seq=1, progress=gains(("a",), 1), seconds=0.9)])
    world.handle([ChunkDone(at=4.0, seq=2, progress=gains(("b",), 1), seconds=1.0)])
    world.handle([ChunkDone(at=8.0, seq=3, progress=gains(pair, 2), seconds=3.0)])
    (reply, _) = world.handle([ChunkDone(at=9.0, seq=4, progress=gains(("a",), 1), seconds=0.5)])
    assert isinstance(reply, Reply)
    assert reply.outcome.stage_s == (1.0, 4.0, 1.0)
    assert reply.outcome.busy_s == (0.9, 1.5, 0.5)
    assert (reply.outcome.first_launch, reply.outcome.at) == (1.0, 9.0)  # so it was paused for 2 s


def test_a_draining_rank_ends_its_chunk_and_gets_no_other() -> None:
    world = started(ranks=2)
    world.handle([request()])
    world.handle([Draining(at=1.5, ranks=(0,))])
    (launch,) = world.handle([done(1, 2.0, 1)])
    assert isinstance(launch, Launch)
    assert launch.chunk.group == (1,)


def test_time_that_goes_back_is_an_error() -> None:
    world = started()
    world.handle([request()])
    with pytest.raises(LawError, match="L8"):
        world.handle([Cancelled(at=0.5, request="a")])


class Loader:
    """Loads whatever the first job lacks on rank 0."""

    name = "loader"
    work_conserving = False

    def plan(self, view: View) -> Plan:
        for job in view.ready():
            parts = view.models[job.request.model].stage(job.stage).parts
            missing = [p for p in parts if p not in view.resident(0) and p not in view.loading(0)]
            return Plan(loads=tuple(Load(rank=0, part=part) for part in missing))
        return Plan()


def test_weights_on_their_way_count_as_memory_and_a_failed_load_gives_it_back() -> None:
    world = Serving(
        models=MODELS,
        costs=PlainCosts(),
        policy=Loader(),
        fallback=policy_named("fixed"),
        journal=Journal(lambda _: None),
        strict=True,
    )
    world.handle([WorkerUp(at=0.0, info=RankInfo(rank=0, memory_bytes=500))])
    assert world.handle([request()]) == (Load(rank=0, part="text"),)
    assert world.view().spare_bytes(0) == 400
    assert world.handle([LoadFailed(at=2.0, rank=0, part="text", reason="disk")]) == (Load(rank=0, part="text"),)
    world.handle([Loaded(at=3.0, rank=0, part="text", seconds=1.0)])
    assert list(world.view().resident(0)) == ["text"]
    assert world.view().spare_bytes(0) == 400


class Lowering:
    """Accepts every request with half of its steps."""

    name = "lowering"
    work_conserving = False

    def plan(self, view: View) -> Plan:
        for job in view.ready():
            if job.state == "waiting" and job.steps == job.request.steps:
                return Plan(admissions=(Admission(job=job.id, shape=job.shape, steps=job.steps // 2),))
            return Plan(launches=(Chunk(jobs=(job.id,), stage=job.stage, units=view.units_left(job), group=(0,)),))
        return Plan()


def test_a_lowered_request_is_announced_and_then_runs_with_what_was_accepted() -> None:
    world = serving(Lowering(), [])
    world.handle([WorkerUp(at=0.0, info=RankInfo(rank=0), parts=PARTS)])
    assert world.handle([request(degradable=True)]) == (Admit(job="a", shape=SMALL, steps=5),)
    world.handle([Woke(at=1.5)])
    (launch,) = world.handle([done(1, 2.0, 1)])
    assert isinstance(launch, Launch)
    assert launch.chunk.units == 5
