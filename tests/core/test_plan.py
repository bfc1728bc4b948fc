"""An illegal plan is refused whole, named by its law, and the fallback plans that instant."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sfumato.assemble import policy_named
from sfumato.core.commands import Drop, Halt, Launch, Load, Reply
from sfumato.core.events import Arrived, ChunkDone, Progress, WorkerUp
from sfumato.core.journal import Entry, Journal, Record
from sfumato.core.policy import Admission, Plan, Refusal
from sfumato.core.serving import Serving
from sfumato.core.values import Chunk, JobState, RankInfo, Request, Stage
from sfumato.core.view import View
from sfumato.errors import LawError
from tests.costs import LARGE, MODELS, PARTS, SMALL, PlainCosts

Planner = Callable[[View], Plan]


class Scripted:
    """Plans what it is told to once two requests are there."""

    name = "scripted"
    work_conserving = False

    def __init__(self, plan: Plan) -> None:
        self._plan = plan

    def plan(self, view: View) -> Plan:
        return self._plan if len(view.jobs) else Plan()


def world(plan: Plan, *, strict: bool, memory: int = 20_000) -> tuple[Serving, list[Entry]]:
    entries: list[Entry] = []
    serving = Serving(
        models=MODELS,
        costs=PlainCosts(),
        policy=Scripted(plan),
        fallback=policy_named("fixed"),
        journal=Journal(entries.append),
        strict=strict,
    )
    serving.handle(
        [WorkerUp(at=0.0, info=RankInfo(rank=rank, memory_bytes=memory), parts=PARTS[:3]) for rank in (0, 1)]
    )
    return serving, entries


def arrivals() -> list[Arrived]:
    small = Request(id="a", model="image", shape=SMALL, steps=4, arrived_at=1.0)
    large = Request(id="b", model="image", shape=LARGE, steps=4, arrived_at=1.0)
    clip = Request(id="v", model="video", shape=SMALL, steps=4, arrived_at=1.0)
    return [Arrived(at=1.0, request=request) for request in (small, large, clip)]


def encode(
    *jobs: str,
    group: tuple[int, ...] = (0,),
    units: int = 1,
    stage: Stage = Stage.ENCODE,
    cfg: int = 1,
    onward: int = 0,
) -> Chunk:
    return Chunk(jobs=jobs, stage=stage, units=units, group=group, cfg=cfg, onward=onward)


ILLEGAL = {
    "an unknown job": Plan(launches=(encode("zzz"),)),
    "nobody": Plan(launches=(encode(),)),
    "the wrong stage": Plan(launches=(encode("a", stage=Stage.DIFFUSE),)),
    "more units than left": Plan(launches=(encode("a", units=2),)),
    "no units": Plan(launches=(encode("a", units=0),)),
    "a job twice": Plan(launches=(encode("a"), encode("a", group=(1,)))),
    "a rank that is not up": Plan(launches=(encode("a", group=(7,)),)),
    "a degree that the stage does not have": Plan(launches=(encode("a", group=(0, 1)),)),
    "halves of a stage that has none": Plan(launches=(encode("a", group=(0, 1), cfg=2),)),
    "more units of the next stage than it has": Plan(launches=(encode("a", onward=5),)),
    "fewer than no units of the next stage": Plan(launches=(encode("a", onward=-1),)),
    "going on with weights that are not resident": Plan(launches=(encode("v", onward=1),)),
    "going on with weights that are dropped": Plan(
        drops=(Drop(rank=0, part="dit"),), launches=(encode("a", onward=1),)
    ),
    "a batch above the stage's": Plan(launches=(encode("a", "b"),)),
    "weights that are not resident": Plan(launches=(encode("v"), encode("a", group=(1,), stage=Stage.DECODE))),
    "a halt of nothing": Plan(halts=(Halt(seq=9),)),
    "a refusal of nobody": Plan(refusals=(Refusal(job="zzz", reason="no"),)),
    "a lowering that was not allowed": Plan(admissions=(Admission(job="a", shape=SMALL, steps=1),)),
    "a load of what is there": Plan(loads=(Load(rank=0, part="text"),)),
    "a drop of what is not there": Plan(drops=(Drop(rank=0, part="vae-v"),)),
    "a drop of what it launches": Plan(drops=(Drop(rank=0, part="text"),), launches=(encode("a"),)),
}


@pytest.mark.parametrize("what", sorted(ILLEGAL))
def test_a_plan_is_refused_for(what: str) -> None:
    serving, _ = world(ILLEGAL[what], strict=True)
    with pytest.raises(LawError) as raised:
        serving.handle(arrivals())
    assert raised.value.law == "L5"


def test_a_rank_used_twice_breaks_the_fourth_law() -> None:
    serving, _ = world(Plan(launches=(encode("a"), encode("b"))), strict=True)
    with pytest.raises(LawError, match="L4"):
        serving.handle(arrivals())


def test_a_chunk_that_memory_does_not_hold_is_refused() -> None:
    serving, _ = world(Plan(launches=(encode("a"),)), strict=True, memory=1_265)  # weights 1150, chunk 100, state 10
    serving.handle(arrivals())
    serving.policy = Scripted(Plan(launches=(encode("b"),)))
    with pytest.raises(LawError, match="memory"):
        serving.handle([ChunkDone(at=2.0, seq=1, progress=(Progress(job="a", units=1, saved=1),), seconds=1.0)])


@pytest.mark.parametrize(("units", "group"), [(3, (0,)), (4, (0, 1))])
def test_a_rank_goes_on_only_by_itself_and_from_the_end_of_a_stage(units: int, group: tuple[int, ...]) -> None:
    serving, _ = world(Plan(launches=(encode("a"),)), strict=True)
    serving.handle(arrivals())
    steps = encode("a", group=group, stage=Stage.DIFFUSE, units=units, onward=1)
    serving.policy = Scripted(Plan(launches=(steps,)))
    with pytest.raises(LawError, match=r"do not end the stage|on one at most"):
        serving.handle([ChunkDone(at=2.0, seq=1, progress=(Progress(job="a", units=1, saved=1),), seconds=1.0)])


@pytest.mark.parametrize(("guided", "group"), [(False, (0, 1)), (True, (0,))])
def test_halves_take_two_passes_and_an_even_group(guided: bool, group: tuple[int, ...]) -> None:
    serving, _ = world(Plan(launches=(encode("a"),)), strict=True)
    request = Request(id="a", model="image", shape=SMALL, steps=4, arrived_at=1.0, guided=guided)
    serving.handle([Arrived(at=1.0, request=request)])
    serving.policy = Scripted(Plan(launches=(encode("a", group=group, stage=Stage.DIFFUSE, cfg=2),)))
    with pytest.raises(LawError, match=r"side by side|halves"):
        serving.handle([ChunkDone(at=2.0, seq=1, progress=(Progress(job="a", units=1, saved=1),), seconds=1.0)])


def test_a_request_that_no_rank_could_hold_alone_is_refused_at_its_arrival() -> None:
    serving, _ = world(Plan(), strict=True, memory=1_255)
    replies = [command.outcome for command in serving.handle(arrivals()) if isinstance(command, Reply)]
    assert {(outcome.state, outcome.field) for outcome in replies} == {(JobState.REJECTED, "size")}
    assert "ask for a smaller size" in replies[0].reason


def test_what_a_request_keeps_between_steps_counts_as_memory_of_its_home() -> None:
    """Weights 1150, chunk 100, state 10 of an exact one and 25 of a fast one: what fits two of one is too little."""
    exact, *fast = (
        Request(id=name, model="image", shape=SMALL, steps=4, arrived_at=1.0, quality=quality)
        for name, quality in (("e", "exact"), ("f", "fast"), ("g", "fast"))
    )
    for second, legal in ((exact, True), (fast[1], False)):
        serving, _ = world(Plan(launches=(encode("f"),)), strict=True, memory=1_290)
        serving.handle([Arrived(at=1.0, request=request) for request in (fast[0], second)])
        assert serving.view().spare_bytes(0) == 140 - 25
        serving.policy = Scripted(Plan(launches=(encode(second.id),)))
        ended = ChunkDone(at=2.0, seq=1, progress=(Progress(job="f", units=1, saved=1),), seconds=1.0)
        if legal:
            assert serving.handle([ended])
        else:
            with pytest.raises(LawError, match="memory"):
                serving.handle([ended])


def test_a_request_that_only_its_quality_makes_too_large_is_refused_and_told_so() -> None:
    serving, _ = world(Plan(), strict=True, memory=1_265)
    requests = [
        Request(id=quality, model="image", shape=SMALL, steps=4, arrived_at=1.0, quality=quality)
        for quality in ("exact", "fast")
    ]
    commands = serving.handle([Arrived(at=1.0, request=request) for request in requests])
    (reply,) = (command.outcome for command in commands if isinstance(command, Reply))
    assert (reply.request, reply.state, reply.field) == ("fast", JobState.REJECTED, "size")
    assert "or for quality exact" in reply.reason


def test_a_request_that_would_be_too_large_at_any_quality_is_not_told_to_ask_for_another() -> None:
    serving, _ = world(Plan(), strict=True, memory=1_200)
    asked = Request(id="f", model="image", shape=SMALL, steps=4, arrived_at=1.0, quality="fast")
    (reply,) = serving.handle([Arrived(at=1.0, request=asked)])
    assert isinstance(reply, Reply)
    assert reply.outcome.state is JobState.REJECTED
    assert "quality" not in reply.outcome.reason


def test_with_an_illegal_fallback_too_nothing_is_planned_and_the_server_goes_on() -> None:
    serving, entries = world(ILLEGAL["nobody"], strict=False)
    serving._fallback = Scripted(ILLEGAL["an unknown job"])
    assert serving.handle(arrivals()) == ()
    last = entries[-1]
    assert isinstance(last, Record)
    assert last.broken.startswith("L5")


def test_fixed_waits_for_memory_instead_of_overfilling_a_rank() -> None:
    serving, _ = world(Plan(), strict=True, memory=1_265)
    serving.policy = policy_named("fixed")
    small = [
        Arrived(at=1.0, request=Request(id=name, model="image", shape=SMALL, steps=4, arrived_at=1.0)) for name in "abc"
    ]
    serving.handle(small)  # a and b take a rank each; what they hold leaves no room for c until one of them ends
    for seq, job in ((1, "a"), (2, "b")):
        done = ChunkDone(at=2.0 + seq, seq=seq, progress=(Progress(job=job, units=1, saved=1),), seconds=1.0)
        assert [c.chunk.jobs for c in serving.handle([done]) if isinstance(c, Launch)] == [(job,)]


@pytest.mark.parametrize("what", sorted(ILLEGAL))
def test_outside_tests_the_fallback_plans_that_instant_and_the_journal_says_why(what: str) -> None:
    serving, entries = world(ILLEGAL[what], strict=False)
    commands = serving.handle(arrivals())
    assert [command.chunk.jobs for command in commands if isinstance(command, Launch)] == [("a",), ("b",)]
    last = entries[-1]
    assert isinstance(last, Record)
    assert last.broken.startswith("L5")
