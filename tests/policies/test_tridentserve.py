"""TridentServe's mechanisms: replicas, quotas, the programme, weights; and the laws where memory is short."""

from __future__ import annotations

from collections import Counter
from itertools import product
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from sfumato.assemble import policy_named
from sfumato.core.commands import Drop, Launch, Load
from sfumato.core.cost import Work
from sfumato.core.events import AnyEvent, Arrived, WorkerUp
from sfumato.core.journal import Entry, Journal, Record
from sfumato.core.policy import Plan
from sfumato.core.serving import Serving
from sfumato.core.values import RankInfo, Request
from sfumato.core.view import View
from sfumato.policies.tridentserve import TridentServe
from sfumato.policies.tridentserve.dispatch import Column, Room, greedy, solved
from sfumato.policies.tridentserve.placement import Demand, imbalance, placed
from sfumato.sim import Simulation
from sfumato.sim.noise import lognormal
from tests.costs import MODELS, SMALL, PlainCosts
from tests.policies.small import image, run, video
from tests.worlds import scripts

ABLATIONS: list[dict[str, Any]] = [
    {},
    {"ilp": False, "batching": False},
    {"adjust": False},
    {"stages": False},
    {"virtual": False, "replan": False},
]
# The weights of a step of video take 2000 bytes, a chunk 100 a job, a job 10.
TIGHT = [3400, 2320, 2150]  # everything; one model at a time; the stages of the video only apart


def without_weights(script: list[AnyEvent], memory: int) -> list[AnyEvent]:
    return [
        replace(event, info=replace(event.info, memory_bytes=memory), parts=())
        if isinstance(event, WorkerUp)
        else event
        for event in script
    ]


class Watched(TridentServe):
    """Plans twice (L11), not for ever, and looks whether weights, held state and chunks are within every memory."""

    plans = 0

    def plan(self, view: View) -> Plan:
        self.plans += 1
        assert self.plans < 3000, "loads and drops go round in circles"
        for running in view.running.values():
            peak = view.costs.peak_bytes(view.work(running.chunk)) if all(map(view.job, running.chunk.jobs)) else 0
            assert all(view.spare_bytes(rank) >= peak for rank in running.chunk.group if rank in view.ranks)
        assert all(view.spare_bytes(rank) >= 0 for rank in view.ranks)
        plan = super().plan(view)
        assert plan == super().plan(view)
        return plan


def simulated(script: list[AnyEvent], options: dict[str, Any], entries: list[Entry]) -> Simulation:
    serving = Serving(
        models=MODELS,
        costs=PlainCosts(),
        policy=Watched(TridentServe.Options(**options)),
        fallback=policy_named("fixed"),
        journal=Journal(entries.append),
        strict=True,
    )
    return Simulation(serving, PlainCosts(), script, lognormal(7, 0.1))


@pytest.mark.parametrize("options", ABLATIONS)
@pytest.mark.parametrize("memory", TIGHT)
@settings(max_examples=12, deadline=None)
@given(script=scripts())
def test_every_request_ends_on_ranks_that_begin_empty(
    options: dict[str, Any], memory: int, script: list[AnyEvent]
) -> None:
    """L2, L5, L12 where weights have to be loaded, and dropped again for others."""
    script = without_weights(script, memory)
    simulation = simulated(script, options, [])
    ended = Counter(outcome.request for outcome in simulation.run())
    assert ended == Counter(event.request.id for event in script if isinstance(event, Arrived))


@given(
    st.lists(
        st.tuples(st.integers(0, 4), st.integers(0, 1), st.sampled_from([1, 2, 4]), st.integers(1, 1000)), max_size=9
    ),
    st.lists(st.lists(st.integers(0, 5), min_size=1, max_size=3), min_size=2, max_size=2),
)
def test_the_programme_finds_the_best_dispatch(found: list[tuple[int, int, int, int]], free: list[list[int]]) -> None:
    """Against every choice; `free` is how many ranks are free in each node of two sites."""
    unique = {(entry, site, degree): float(worth) for entry, site, degree, worth in found}
    columns = [Column(entry=e, site=s, degree=k, worth=w) for (e, s, k), w in sorted(unique.items())]
    rooms = [
        Room(site=site, degree=k, groups=sum(ranks // k for ranks in nodes))
        for site, nodes in enumerate(free)
        for k in (1, 2, 4)
    ]

    def possible(choice: tuple[Column, ...]) -> bool:
        entries = [column.entry for column in choice]
        return len(set(entries)) == len(entries) and all(_packs(choice, site, nodes) for site, nodes in enumerate(free))

    best = max(
        sum(column.worth for column in choice)
        for picks in product([False, True], repeat=len(columns))
        if possible(choice := tuple(column for column, pick in zip(columns, picks, strict=True) if pick))
    )
    chosen = tuple(solved(columns, rooms))
    assert possible(chosen)
    assert sum(column.worth for column in chosen) == best
    assert possible(tuple(greedy(columns, rooms)))


def _packs(choice: tuple[Column, ...], site: int, nodes: list[int]) -> bool:
    """Whether groups fit into nodes, the widest first; enough for degrees that divide each other."""
    left = sorted(nodes)
    for column in sorted(choice, key=lambda c: -c.degree):
        if column.site == site:
            place = next((n for n, ranks in enumerate(left) if ranks >= column.degree), None)
            if place is None:
                return False
            left[place] -= column.degree
    return True


def ranks(count: int, nodes: int = 1) -> list[RankInfo]:
    return [RankInfo(rank=rank, node=f"n{rank * nodes // count}") for rank in range(count)]


def demand(model: str, replica: int, *works: float, width: int = 1, shared: bool = False) -> Demand:
    encode, diffuse, decode = works
    return Demand(model=model, replica=replica, works=(encode, diffuse, decode), width=width, shared=shared)


def hosted(demands: list[Demand], count: int) -> Counter[str]:
    return Counter(letters for post in placed(demands, ranks(count), ()) for _, letters in post.duties)


def test_primaries_and_auxiliaries_share_the_ranks_by_their_work() -> None:
    assert hosted([demand("a", 1, 1.0, 6.0, 1.0)], 8) == {"DC": 7, "E": 1}
    assert hosted([demand("a", 2, 1.0, 3.0, 4.0)], 8) == {"ED": 4, "C": 4}
    assert hosted([demand("a", 3, 2.0, 4.0, 2.0)], 8) == {"D": 4, "E": 2, "C": 2}
    assert hosted([demand("a", 1, 1.0, 1.0, 1.0, width=4)], 5) == {"DC": 4, "E": 1}


def test_models_that_fit_together_are_everywhere_and_else_share_the_ranks_by_demand() -> None:
    together = [demand("a", 0, 1.0, 6.0, 1.0, shared=True), demand("b", 0, 0.0, 1.0, 0.0, shared=True)]
    assert {post.duties for post in placed(together, ranks(4), ())} == {(("a", "EDC"), ("b", "EDC"))}
    apart = [demand("a", 0, 1.0, 4.0, 1.0), demand("b", 0, 0.0, 2.0, 0.0)]
    assert Counter(post.duties for post in placed(apart, ranks(8), ())) == {(("a", "EDC"),): 6, (("b", "EDC"),): 2}


def test_a_new_plan_keeps_ranks_in_their_roles_and_lowers_the_imbalance() -> None:
    before = placed([demand("a", 0, 0.0, 6.0, 0.0), demand("b", 0, 0.0, 2.0, 0.0)], ranks(8), ())
    shifted = [demand("a", 0, 0.0, 4.0, 0.0), demand("b", 0, 0.0, 4.0, 0.0)]
    after = placed(shifted, ranks(8), before)
    assert imbalance(shifted, before) == pytest.approx(3.0)
    assert imbalance(shifted, after) == pytest.approx(1.0)
    assert sum(one != other for one, other in zip(before, after, strict=True)) == 2


def events_of(memory: int, *requests: Request, count: int = 4, **options: Any) -> tuple[list[Record], dict[str, str]]:
    """What happened on ranks that begin empty, and the ends by request."""
    entries: list[Entry] = []
    script: list[AnyEvent] = [WorkerUp(at=0.0, info=RankInfo(rank=rank, memory_bytes=memory)) for rank in range(count)]
    script += [Arrived(at=request.arrived_at, request=request) for request in requests]
    outcomes = simulated(script, options, entries).run()
    return [entry for entry in entries if isinstance(entry, Record)], {o.request: o.state for o in outcomes}


def commands(records: list[Record], kind: type[Load] | type[Drop] | type[Launch]) -> list[Any]:
    return [command for record in records for command in record.commands if isinstance(command, kind)]


def test_stages_that_no_rank_holds_together_run_on_ranks_of_their_own() -> None:
    """2,150 bytes hold the transformer of the video and a chunk, and nothing beside: each rank keeps to its stage."""
    records, ends = events_of(2150, *(video(f"v{n}", 600.0, at=float(n)) for n in range(3)))
    assert set(ends.values()) == {"done"}
    stages: dict[int, set[str]] = {}
    for launch in commands(records, Launch):
        for rank in launch.chunk.group:
            stages.setdefault(rank, set()).add(launch.chunk.stage)
    assert all(len(found) == 1 for found in stages.values())
    assert not commands(records, Drop)


def test_weights_come_when_a_dispatch_needs_them_and_without_adjust_before() -> None:
    lone = image("a", 600.0)
    records, _ = events_of(20_000, lone)
    assert {load.rank for load in commands(records, Load)} == {0}
    records, _ = events_of(20_000, lone, adjust=False)
    assert {load.rank for load in commands(records, Load)} == {0, 1, 2, 3}


def test_weights_that_stand_in_the_way_are_dropped_for_those_that_are_needed() -> None:
    records, ends = events_of(2320, image("a", 600.0), video("v", 600.0, at=30.0), count=1)
    assert set(ends.values()) == {"done"}
    assert "dit" in {drop.part for drop in commands(records, Drop)}


def test_a_tight_deadline_gets_a_degree_below_the_efficiency_and_a_relaxed_one_does_not() -> None:
    """Two ranks speed steps up by 1.5: three quarters a rank, below the 0.8 asked for."""
    assert run("tridentserve", 4, image("a", 60.0)).degrees("a") == [1]
    assert run("tridentserve", 4, image("a", 1.7)).degrees("a") == [2]
    assert run("tridentserve", 4, image("a", 60.0), efficiency=0.5).degrees("a") == [4]


def test_who_could_still_be_on_time_on_ranks_that_come_free_is_not_started_as_late() -> None:
    """`tight` needs two ranks; one is busy until 0.8 s, and from then on there is just time."""
    busy, tight = image("busy", 60.0, shape=SMALL, steps=48), image("tight", 4.2, at=0.1, steps=20)
    found = run("tridentserve", 2, busy, tight)
    assert len(found.of("busy")) == 1
    assert found.degrees("tight") == [2]
    assert found.met == {"busy", "tight"}


def test_encoded_equals_share_a_chunk_where_a_batch_pays() -> None:
    line = [image(f"r{n}", 60.0, shape=SMALL, steps=60) for n in range(4)]
    assert max(len(launch.chunk.jobs) for _, launch in run("tridentserve", 1, *line, costs=FlatCosts()).starts) > 1
    apart = run("tridentserve", 1, *line, costs=FlatCosts(), batching=False)
    assert {len(launch.chunk.jobs) for _, launch in apart.starts} == {1}


class FlatCosts(PlainCosts):
    """A batch takes as long as one."""

    def unit_s(self, work: Work) -> float:
        return super().unit_s(replace(work, shapes=work.shapes[:1]))
