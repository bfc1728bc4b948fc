"""`sfumato` counts on what reuse between steps is expected to save, and relies on none of it."""

from __future__ import annotations

from msgspec.structs import replace

from sfumato.assemble import policy_named
from sfumato.core.commands import Launch
from sfumato.core.events import AnyEvent, Arrived, WorkerUp
from sfumato.core.journal import Entry, Journal, Record
from sfumato.core.serving import Serving
from sfumato.core.values import JobState, Outcome, RankInfo, Request, Stage
from sfumato.sim import Simulation
from tests.costs import MODELS, PARTS, PlainCosts
from tests.policies.small import image


class Disappointing(PlainCosts):
    """Nothing is saved."""

    left = {}


def fast(request: Request) -> Request:
    return replace(request, quality="fast")


def run(
    *requests: Request, truth: PlainCosts, ranks: int = 1, admission: str = "accept"
) -> tuple[dict[str, Outcome], list[tuple[int, ...]]]:
    """How requests ended, and the groups of all steps; the planner expects a `fast` step to take half."""
    entries: list[Entry] = []
    serving = Serving(
        models=MODELS,
        costs=PlainCosts(),
        policy=policy_named("sfumato", {"admission": admission}),
        fallback=policy_named("fixed"),
        journal=Journal(entries.append),
        strict=True,
    )
    script: list[AnyEvent] = [WorkerUp(at=0.0, info=RankInfo(rank=rank), parts=PARTS) for rank in range(ranks)]
    script += [Arrived(at=request.arrived_at, request=request) for request in requests]
    ended = {outcome.request: outcome for outcome in Simulation(serving, truth, script).run()}
    commands = [command for entry in entries if isinstance(entry, Record) for command in entry.commands]
    launches = [c.chunk for c in commands if isinstance(c, Launch) and c.chunk.stage is Stage.DIFFUSE]
    return ended, [chunk.group for chunk in launches]


def test_a_request_that_only_reuse_can_save_is_admitted_and_an_exact_one_refused() -> None:
    asked = image("a", 1.5)  # 8 steps of 1/4 s
    ended, _ = run(asked, truth=PlainCosts(), admission="feasible")
    assert ended["a"].state is JobState.REJECTED
    ended, _ = run(fast(asked), truth=PlainCosts(), admission="feasible")
    assert ended["a"].met


def test_what_is_expected_to_be_saved_makes_room_for_others() -> None:
    """Two requests of 2 s within 3 s: one rank does both if they save half."""
    both = [fast(image(name, 3.0)) for name in "ab"]
    ended, _ = run(*both, truth=PlainCosts(), admission="feasible")
    assert all(outcome.met for outcome in ended.values())
    ended, _ = run(*(replace(one, quality="exact") for one in both), truth=PlainCosts(), admission="feasible")
    assert [outcome.met for outcome in ended.values()].count(True) == 1


def test_a_deadline_that_needs_a_second_rank_without_reuse_gets_it_and_is_kept_if_nothing_is_saved() -> None:
    ended, groups = run(fast(image("a", 1.8)), truth=Disappointing(), ranks=2)
    assert ended["a"].met
    assert groups[0] == (0, 1), "not on one rank in the hope of saving half"


def test_who_has_saved_goes_on_with_fewer_ranks() -> None:
    others = [image(name, 60.0, at=0.01) for name in "bcd"]
    ended, groups = run(fast(image("a", 1.8)), *others, truth=PlainCosts(), ranks=2)
    assert ended["a"].met
    assert (0,) in groups[:8] or (1,) in groups[:8]
