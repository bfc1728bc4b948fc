"""What the Serving makes of events that are rare in simulations: losses, failures, late messages, loads, draining."""

from __future__ import annotations

import msgspec
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
from sfumato.core.journal import Checkpoint, Journal, decode, encode
from sfumato.core.policy import Admission, Plan
from sfumato.core.serving import Serving
from sfumato.core.values import Chunk, JobState, RankInfo, Request, Stage
from sfumato.core.view import View
from sfumato.errors import LawError
from tests.costs import CLIP, MODELS, PARTS, SMALL, PlainCosts
from tests.worlds import serving


def started(policy: str = "fixed", ranks: int = 1) -> Serving:
    world = serving(policy, [])
    world.handle([WorkerUp(at=0.0, info=RankInfo(rank=rank), parts=PARTS) for rank in range(ranks)])
    return world


def request(name: str = "a", at: float = 1.0, **changes: object) -> Arrived:
    fields = {"id": name, "model": "image", "shape": SMALL, "steps": 10, "arrived_at": at, **changes}
    return Arrived(at=at, request=Request(**fields))  # type: ignore[arg-type]


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


class Wanderer:
    """Two chunks of a unit on each rank in turn."""

    name = "wanderer"
    work_conserving = False

    def plan(self, view: View) -> Plan:
        jobs = list(view.ready())
        chunks = [Chunk(jobs=(job.id,), stage=job.stage, units=1, group=(job.launches // 2 % 2,)) for job in jobs]
        return Plan(launches=tuple(chunks))


def test_the_cost_model_is_told_what_control_takes_and_not_what_a_move_does() -> None:
    world, told = serving(Wanderer(), []), []
    world.handle([WorkerUp(at=0.0, info=RankInfo(rank=rank), parts=PARTS) for rank in range(2)])

    class Listening(PlainCosts):
        def observe(self, work: Work, rank: int, units: int, seconds: float, start_s: float | None = None) -> None:
            told.append(start_s)

    world._state.costs = Listening()
    world.handle([request()])
    for seq in range(1, 5):
        world.handle([done(seq, 1.0 + seq * 0.75, 1)])  # of which the unit takes 0.5
    assert told == [0.25, 0.25, None, 0.25]


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
    """Loads on every rank whatever the first job lacks there."""

    name = "loader"
    work_conserving = False

    def plan(self, view: View) -> Plan:
        for job in view.ready():
            parts = view.models[job.request.model].stage(job.stage).parts
            places = [(rank, part) for rank in view.free for part in parts]
            missing = [(r, p) for r, p in places if p not in view.resident(r) and p not in view.loading(r)]
            return Plan(loads=tuple(Load(rank=rank, part=part) for rank, part in missing))
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


def hopeful(*memory: int) -> Serving:
    """Empty ranks of so much memory each, which load whatever the first request lacks."""
    world = serving(Loader(), [])
    world.handle([WorkerUp(at=0.0, info=RankInfo(rank=n, memory_bytes=size)) for n, size in enumerate(memory)])
    return world


def fails(world: Serving, *ranks: int, at: float, part: str = "text", times: int = 1) -> list[str]:
    """Which requests end when a part cannot be loaded on some ranks, several times."""
    ended = []
    for n in range(times):
        events = [LoadFailed(at=at + n / 10, rank=rank, part=part, reason="no such file") for rank in ranks]
        for command in world.handle(events):
            if isinstance(command, Reply):
                assert command.outcome.state is JobState.FAILED
                assert command.outcome.reason == "its weights cannot be loaded: no such file"
                ended.append(command.outcome.request)
    return ended


@pytest.mark.parametrize(("part", "ended"), [("text", ["a", "v"]), ("vae", ["a"]), ("dit-v", ["v"])])
def test_who_needs_weights_now_or_later_that_every_rank_failed_to_load_three_times_ends_with_the_reason(
    part: str, ended: list[str]
) -> None:
    world = hopeful(9000, 9000)
    world.handle([request("a"), request("v", model="video", shape=CLIP)])
    assert not fails(world, 0, part=part, at=2.0, times=5)
    assert not fails(world, 1, part=part, at=3.0, times=2)
    assert fails(world, 1, part=part, at=4.0) == ended
    assert [job.id for job in world.view().jobs] == [name for name in "av" if name not in ended]


def test_a_success_or_a_new_worker_makes_a_rank_count_from_none_again() -> None:
    world = hopeful(9000)
    world.handle([request()])
    assert not fails(world, 0, at=2.0, times=2)
    world.handle([Loaded(at=3.0, rank=0, part="text", seconds=1.0)])
    assert not world.view().failed(0)
    assert not fails(world, 0, at=4.0, part="dit", times=2)
    world.handle([WorkerLost(at=5.0, rank=0)])
    world.handle([WorkerUp(at=5.0, info=RankInfo(rank=0))])
    assert not fails(world, 0, at=6.0, part="dit", times=2)
    assert fails(world, 0, at=7.0, part="dit") == ["a"]


def test_ranks_that_are_too_small_or_drain_are_not_waited_for_and_one_that_has_the_weights_is() -> None:
    """An image takes 110 bytes beside its weights; rank 1 has too few, rank 2 drains."""
    world = hopeful(9000, 100, 9000)
    world.handle([request()])
    world.handle([Draining(at=1.5, ranks=(2,))])
    assert fails(world, 0, at=2.0, times=3) == ["a"]

    there = hopeful(9000, 9000)
    there.handle([request()])
    there.handle([Loaded(at=1.5, rank=1, part="text", seconds=0.5)])
    assert not fails(there, 0, at=2.0, times=9)


def test_a_later_arrival_has_every_rank_try_once_more() -> None:
    world = hopeful(9000, 9000)
    world.handle([request("a")])
    assert fails(world, 0, 1, at=2.0, times=3) == ["a"]
    loads = world.handle([request("b", at=3.0)])
    assert loads == (Load(rank=0, part="text"), Load(rank=1, part="text"))
    assert not fails(world, 0, at=4.0)
    assert fails(world, 1, at=5.0) == ["b"]


def test_who_is_in_a_chunk_is_told_of_weights_that_cannot_be_loaded_once_it_has_ended() -> None:
    world = serving("fixed", [])
    world.handle([WorkerUp(at=0.0, info=RankInfo(rank=0), parts=("text", "vae"))])
    world.handle([request()])
    assert not fails(world, 0, at=2.0, part="dit", times=3)
    world.handle([done(1, 3.0, 1)])
    assert fails(world, 0, at=4.0, part="dit") == ["a"]


def test_failed_loads_are_part_of_a_checkpoint_and_leave_it_as_it_was_where_there_are_none() -> None:
    world = hopeful(9000, 9000)
    assert "failed" not in msgspec.json.decode(encode(world.checkpoint()))
    world.handle([request()])
    assert not fails(world, 0, 1, at=2.0, times=2)
    (checkpoint,) = decode([encode(world.checkpoint())])
    assert isinstance(checkpoint, Checkpoint)
    again = serving(Loader(), [])
    again.restore(checkpoint)
    for one in (world, again):
        assert not fails(one, 0, at=3.0)
        assert fails(one, 1, at=3.0) == ["a"]
    assert again.checkpoint() == world.checkpoint()


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
