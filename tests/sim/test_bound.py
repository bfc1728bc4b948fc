"""The offline bound against every schedule there is (small worlds) and against the registered policies."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import combinations
from math import inf
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from sfumato.assemble import policy_named
from sfumato.core.cost import Work
from sfumato.core.events import AnyEvent, Arrived, WorkerUp
from sfumato.core.journal import Journal
from sfumato.core.serving import Serving
from sfumato.core.values import STAGES, ModelSpec, RankInfo, Request, Shape, Stage, StageSpec
from sfumato.policies import POLICIES
from sfumato.sim import Simulation
from sfumato.sim import bound as bound_module
from sfumato.sim.bound import bound, grid_of, least
from sfumato.sim.bound_demand import Demand
from sfumato.sim.bound_prices import Dual
from sfumato.sim.bound_whole import whole_bound
from tests.costs import MODELS, PlainCosts
from tests.worlds import scripts

UNIT = Shape(height=64, width=64)
DOUBLE = Shape(height=128, width=64)


class RoundCosts(PlainCosts):
    """A step of UNIT takes 1 s on one rank, encode and decode a quarter; a partner adds half; two ranks: 1.6 times."""

    def unit_s(self, work: Work) -> float:
        sizes = sorted(shape.height * shape.width / 4096 for shape in work.shapes)
        seconds = (sizes[-1] + sum(sizes[:-1]) / 2) * (1.0 if work.stage is Stage.DIFFUSE else 0.25)
        return seconds / {1: 1.0, 2: 1.6}[work.degree] * (3.0 if work.device == "slow" else 1.0)


def models(*, degrees: tuple[int, ...] = (1, 2), batch: int = 1, packs: bool = False) -> dict[str, ModelSpec]:
    return {"image": ModelSpec(name="image", diffuse=StageSpec(degrees=degrees, max_batch=batch, packs=packs))}


def ranks(*devices: str) -> list[RankInfo]:
    return [RankInfo(rank=rank, device=device) for rank, device in enumerate(devices)]


def asked(*specs: tuple[float, float, int, Shape]) -> list[Request]:
    """Of (arrival, deadline, steps, shape)."""
    return [
        Request(id=f"r{n}", model="image", shape=shape, steps=steps, arrived_at=at, deadline=deadline)
        for n, (at, deadline, steps, shape) in enumerate(specs)
    ]


# -- all schedules ----------------------------------------------------------------------------------------------------

Ranks = tuple[int, int]  # of the pool's first kind, of its second
At = tuple[int, int]  # (stage, units done of it) of a job in no chunk; stage 3: delivered
Flying = tuple[float, Ranks, tuple[int, ...]]  # (end, ranks, (job, stage, units done before) of each)


class Schedules:
    """All schedules that start a unit when something arrives or ends; no other is better, as it could start sooner."""

    def __init__(self, requests: list[Request], devices: list[str], model: ModelSpec, costs: PlainCosts) -> None:
        self._requests, self._model, self._costs = requests, model, costs
        self._kinds = sorted(set(devices), key=devices.index)
        self._free: Ranks = (devices.count(self._kinds[0]), len(devices) - devices.count(self._kinds[0]))
        self._fastest = [[self._fastest_s(n, stage, devices) for stage in range(3)] for n in range(len(requests))]
        self._step = cache(self._search)

    def _fastest_s(self, n: int, stage: int, devices: list[str]) -> float:
        """Seconds of a unit, in whatever company."""
        spec = self._model.stage(STAGES[stage])
        groups = [(n,), *((n, other) for other in range(len(self._requests)) if spec.max_batch > 1)]
        return min(
            (
                self._unit_s(stage, group, degree, device)
                for group in groups
                for degree in spec.degrees
                if degree <= len(devices)
                for device in self._kinds
            ),
            default=inf,
        )

    def reach(self, target: int) -> bool:
        """Whether some schedule serves this many on time."""
        self._target = target
        self._step.cache_clear()
        return self._step(0.0, self._free, tuple((0, 0) for _ in self._requests), (), 0)

    @property
    def most(self) -> int:
        return max(target for target in range(len(self._requests) + 1) if self.reach(target))

    def _search(
        self, now: float, free: Ranks, jobs: tuple[At | None, ...], flying: tuple[Flying, ...], least: int
    ) -> bool:
        """`jobs` that run or have missed are None; launches of one instant go by their lowest job, from `least` on."""
        if sum(job is not None for job in jobs) + sum(len(held) // 3 for _, _, held in flying) < self._target:
            return False
        return self._wait(now, free, jobs, flying) or any(
            self._launched(now, free, jobs, flying, group, ranks)
            for group, ranks in self._launches(now, free, jobs, least)
        )

    def _launched(
        self,
        now: float,
        free: Ranks,
        jobs: tuple[At | None, ...],
        flying: tuple[Flying, ...],
        group: tuple[int, ...],
        ranks: Ranks,
    ) -> bool:
        stage = (jobs[group[0]] or (0, 0))[0]
        pace = [kind for kind, count in zip(self._kinds, ranks, strict=False) if count]
        end = now + max(self._unit_s(stage, group, sum(ranks), kind) for kind in pace)
        held = tuple(part for n in group for part in (n, *(jobs[n] or (0, 0))))
        after = tuple(None if n in group else job for n, job in enumerate(jobs))
        left = free[0] - ranks[0], free[1] - ranks[1]
        return self._step(now, left, after, tuple(sorted((*flying, (end, ranks, held)))), group[0])

    def _unit_s(self, stage: int, group: tuple[int, ...], degree: int, device: str) -> float:
        shapes = tuple(self._requests[n].shape for n in group)
        return self._costs.unit_s(Work(model="image", stage=STAGES[stage], shapes=shapes, degree=degree, device=device))

    def _launches(
        self, now: float, free: Ranks, jobs: tuple[At | None, ...], least: int
    ) -> Iterator[tuple[tuple[int, ...], Ranks]]:
        ready = [n for n, job in enumerate(jobs) if job and job[0] < 3 and self._requests[n].arrived_at <= now]
        for size in (1, 2):
            for group in combinations(ready, size):
                heads = [jobs[n] for n in group]
                spec = self._model.stage(STAGES[(heads[0] or (0, 0))[0]])
                alike = len({head[0] for head in heads if head}) == 1
                alike = alike and (spec.packs or len({self._requests[n].shape for n in group}) == 1)
                if group[0] >= least and size <= spec.max_batch and alike:
                    for degree in spec.degrees:
                        some = ((first, degree - first) for first in range(min(degree, free[0]) + 1))
                        yield from ((group, ranks) for ranks in some if ranks[1] <= free[1])

    def _wait(self, now: float, free: Ranks, jobs: tuple[At | None, ...], flying: tuple[Flying, ...]) -> bool:
        """Do nothing until something arrives or ends."""
        times = [flight[0] for flight in flying] + [r.arrived_at for r in self._requests if r.arrived_at > now]
        if not times:
            return sum(job == (3, 0) for job in jobs) >= self._target
        then, after = min(times), list(jobs)
        for end, ranks, held in flying:
            if end == then:
                free = free[0] + ranks[0], free[1] + ranks[1]
                for n, stage, done in zip(held[::3], held[1::3], held[2::3], strict=True):
                    after[n] = self._advanced(n, stage, done, then)
        return self._step(then, free, tuple(after), tuple(f for f in flying if f[0] > then), 0)

    def _advanced(self, n: int, stage: int, done: int, now: float) -> At | None:
        """Where a job stands after one more unit; None if it cannot be on time any more."""
        request = self._requests[n]
        units = [self._model.units(each, request.shape, request.steps) for each in STAGES]
        stage, done = (stage + 1, 0) if done + 1 == units[stage] else (stage, done + 1)
        fastest = self._fastest[n]
        left_s = sum(units[each] * fastest[each] for each in range(stage, 3)) - done * (fastest[stage] if done else 0.0)
        return (stage, done) if now + left_s <= (request.deadline or 0.0) else None


class TableCosts(PlainCosts):
    """Whole seconds out of a hat: a batch may be faster than a part of it, a wide group slower than a narrow one."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._seed = seed

    def unit_s(self, work: Work) -> float:
        sizes = sorted(shape.height for shape in work.shapes)
        return float(Random(f"{self._seed} {work.stage} {sizes} {work.degree} {work.device}").choice((1, 1, 2, 3)))


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Request], list[str], ModelSpec, PlainCosts]:
    """2 to 4 requests on 1 to 3 ranks of one or two kinds."""
    count = draw(st.integers(2, 4))
    specs = []
    for _ in range(count):
        at = draw(st.integers(0, 4))
        steps = draw(st.integers(1, {2: 4, 3: 2, 4: 1}[count]))
        specs.append((at, at + draw(st.integers(3, 9)), steps, draw(st.sampled_from([UNIT, DOUBLE]))))
    devices = draw(
        st.sampled_from([["cpu"], ["cpu"] * 2, ["cpu"] * 3, ["cpu", "slow"], ["slow", "cpu"], ["cpu", "slow", "slow"]])
    )
    stages = {
        stage: StageSpec(
            degrees=draw(st.sampled_from([(1,), (1, 2), (2,), (1, 3)])) if stage == "diffuse" else (1,),
            max_batch=draw(st.integers(1, 2)),
            packs=draw(st.booleans()),
        )
        for stage in ("encode", "diffuse", "decode")
    }
    return asked(*specs), devices, ModelSpec(name="image", **stages), TableCosts(draw(st.integers(0, 99)))


@settings(max_examples=40)
@given(case=cases(), cells=st.sampled_from([2, 10, 2000]))
def test_no_schedule_of_a_small_world_beats_the_bound(
    case: tuple[list[Request], list[str], ModelSpec, PlainCosts], cells: int
) -> None:
    requests, devices, model, costs = case
    with pytest.MonkeyPatch.context() as patch:  # also where intervals are merged and time is cut into stretches
        patch.setattr(bound_module, "CELLS", cells)
        patch.setattr(bound_module, "WORK", 3 * cells)
        loose = bound(requests, ranks(*devices), {"image": model}, costs).served
    most = whole_bound(requests, ranks(*devices), {"image": model}, costs).served
    assert most <= loose
    if most < len(requests):
        assert not Schedules(requests, devices, model, costs).reach(most + 1)


@pytest.mark.parametrize(
    ("specs", "count", "options", "most"),
    [
        ([(0.0, 1.5, 1, UNIT)], 1, {}, 1),
        ([(0.0, 1.4, 1, UNIT)], 1, {}, 0),  # 1.5 s are the least on one rank
        ([(0.0, 1.4, 1, UNIT)], 2, {}, 1),  # the step at degree 2
        ([(0.0, 2.9, 1, UNIT)] * 2, 1, {"degrees": (1,)}, 1),
        ([(0.0, 3.0, 1, UNIT)] * 2, 1, {"degrees": (1,)}, 2),
        ([(0.0, 2.9, 1, UNIT)] * 2, 1, {"degrees": (1,), "batch": 2}, 2),  # together 1.5 s for both steps
        ([(0.0, 4.0, 1, UNIT), (0.0, 4.0, 1, DOUBLE)], 1, {"degrees": (1,), "batch": 2}, 1),
        ([(0.0, 4.0, 1, UNIT), (0.0, 4.0, 1, DOUBLE)], 1, {"degrees": (1,), "batch": 2, "packs": True}, 2),
        ([(0.0, 1.5, 1, UNIT), (1.0, 2.5, 1, UNIT)], 1, {"degrees": (1,), "batch": 2}, 1),  # never in a step together
    ],
)
def test_the_bound_is_what_the_best_schedule_reaches_where_nothing_is_relaxed(
    specs: list[tuple[float, float, int, Shape]], count: int, options: dict[str, object], most: int
) -> None:
    world = models(**options)  # type: ignore[arg-type]
    assert Schedules(asked(*specs), ["cpu"] * count, world["image"], RoundCosts()).most == most
    assert bound(asked(*specs), ranks(*["cpu"] * count), world, RoundCosts()).served == most


# -- the registered policies ------------------------------------------------------------------------------------------


class KindCosts(PlainCosts):
    """A slow rank takes twice as long."""

    def unit_s(self, work: Work) -> float:
        return super().unit_s(work) * (2 if work.device == "slow" else 1)


@pytest.mark.parametrize("name", sorted(POLICIES))
@given(script=scripts(trouble=False), slow=st.integers(0, 3))
def test_no_registered_policy_beats_the_bound(name: str, script: list[AnyEvent], slow: int) -> None:
    script = [_slowed(event) if isinstance(event, WorkerUp) and event.info.rank < slow else event for event in script]
    runner = Serving(
        models=MODELS,
        costs=KindCosts(),
        policy=policy_named(name),
        fallback=policy_named("fixed"),
        journal=Journal([].append),
        strict=True,
    )
    simulation = Simulation(runner, KindCosts(), script)
    on_time = sum(outcome.met and outcome.deadline is not None for outcome in simulation.run())
    requests = [event.request for event in script if isinstance(event, Arrived)]
    pool = [event.info for event in script if isinstance(event, WorkerUp)]
    assert on_time <= bound(requests, pool, MODELS, KindCosts()).served


def _slowed(event: WorkerUp) -> WorkerUp:
    return replace(event, info=replace(event.info, device="slow"))


# -- what it counts ---------------------------------------------------------------------------------------------------


def test_a_kind_of_device_is_not_lent_to_more_groups_than_it_has_ranks() -> None:
    pair = asked((0.0, 1.6, 1, UNIT), (0.0, 1.6, 1, UNIT))  # too little time for the slow kind
    narrow = models(degrees=(1,))
    assert bound(pair, ranks("fast", "slow"), narrow, RoundCosts()).served == 1
    assert bound(pair, ranks("fast", "fast"), narrow, RoundCosts()).served == 2


def test_encode_and_decode_are_held_to_the_ranks_of_their_kind() -> None:
    ends = models(degrees=(1,))["image"]
    trio = asked(*[(0.0, 1.5, 1, UNIT)] * 2, (0.0, 4.6, 1, UNIT))
    assert bound(trio, ranks("fast", "slow"), {"image": ends}, RoundCosts()).served == 2
    assert bound(trio[1:], ranks("slow"), {"image": ends}, RoundCosts()).served == 1


def test_a_fast_group_is_of_fast_ranks_alone() -> None:
    requests = asked(*[(0.0, 1.2, 1, UNIT)] * 2)  # encode 0.25 s, a step 0.625 s at degree 2, decode 0.25 s
    wide = models(degrees=(2,))
    assert bound(requests[:1], ranks("fast", "fast"), wide, RoundCosts()).served == 1
    assert bound(requests[:1], ranks("fast", "slow"), wide, RoundCosts()).relaxed < 1
    assert bound(requests, ranks("fast", "fast", "slow"), wide, RoundCosts()).served == 1
    capacity = Demand(requests, ranks("fast", "fast", "slow"), wide, RoundCosts()).capacity
    assert capacity.tolist() == [3.0, 2.0, 1.0, 2.0, 1.0]


def test_a_group_that_no_node_holds_pays_for_its_link() -> None:
    class Linked(RoundCosts):
        def unit_s(self, work: Work) -> float:
            return super().unit_s(work) * work.nodes

    requests = asked((0.0, 1.2, 1, UNIT))
    apart = [RankInfo(rank=0, node="a"), RankInfo(rank=1, node="b")]
    assert bound(requests, apart, models(degrees=(2,)), Linked()).served == 0
    assert bound(requests, ranks("cpu", "cpu"), models(degrees=(2,)), Linked()).served == 1


def test_nothing_runs_beside_a_group_of_all_ranks() -> None:
    """Neither is encoded or decoded beside the other's steps: that there are rank-seconds for both is not enough."""
    pair, world = asked((0.0, 1.4, 1, UNIT), (0.0, 2.5, 2, UNIT)), models(degrees=(2,))
    assert bound(pair, ranks("cpu", "cpu"), world, RoundCosts()).served == 2
    assert whole_bound(pair, ranks("cpu", "cpu"), world, RoundCosts()).served == 1
    assert not Schedules(pair, ["cpu", "cpu"], world["image"], RoundCosts()).reach(2)


def test_a_batch_needs_as_many_requests_about() -> None:
    together = asked((0.0, 2.9, 1, UNIT), (0.0, 2.9, 1, UNIT))
    apart = asked((0.0, 1.5, 1, UNIT), (1.5, 2.9, 1, UNIT))
    world = models(degrees=(1,), batch=2)
    assert bound(together, ranks("cpu"), world, RoundCosts()).served == 2
    assert bound(apart, ranks("cpu"), world, RoundCosts()).served == 1


@given(seed=st.integers(0, 99), scale=st.floats(0.0, 2.0))
def test_whatever_the_prices_what_they_prove_is_a_bound(seed: int, scale: float) -> None:
    demand = Demand(crowd(6), ranks("cpu", "slow"), models(batch=2), RoundCosts())
    edges = grid_of(demand).edges
    generator = np.random.default_rng(seed)
    prices = scale * generator.random((len(demand.capacity), len(edges) - 1))
    worths = scale * generator.random((3, len(demand)))
    assert least(demand, edges, Dual(prices, worths)) >= best_of_six() - 1e-9


@cache
def best_of_six() -> float:
    found = bound(crowd(6), ranks("cpu", "slow"), models(batch=2), RoundCosts())
    assert 1 < found.relaxed < 6
    return found.relaxed


def crowd(count: int) -> list[Request]:
    return asked(*[(n / 4, n / 4 + 2, 1, UNIT) for n in range(count)])


def test_merged_intervals_and_stretches_only_raise_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = bound(crowd(100), ranks("cpu"), models(), RoundCosts())
    monkeypatch.setattr(bound_module, "CELLS", 400)
    apart = bound(crowd(100), ranks("cpu"), models(), RoundCosts())
    monkeypatch.setattr(bound_module, "CELLS", 60)
    monkeypatch.setattr(bound_module, "WORK", 60)
    merged = bound(crowd(100), ranks("cpu"), models(), RoundCosts())
    assert exact.relaxed <= apart.relaxed + 1e-6 <= 1.01 * exact.relaxed
    assert exact.relaxed <= merged.relaxed + 1e-6
    assert 0 < exact.served < merged.judged == 100


def test_best_effort_requests_are_outside_the_bound() -> None:
    free = [Request(id="r", model="image", shape=UNIT, steps=1, arrived_at=0.0)]
    found = bound(free, ranks("cpu"), models(), RoundCosts())
    assert (found.served, found.judged, found.attainment) == (0, 0, None)


def test_a_pool_that_is_too_small_for_the_model_serves_nobody() -> None:
    assert bound(asked((0.0, 9.0, 1, UNIT)), ranks("cpu"), models(degrees=(2,)), RoundCosts()).served == 0
    assert bound(asked((0.0, 9.0, 1, UNIT)), [], models(), RoundCosts()).served == 0


def test_a_stage_that_takes_no_time_is_no_hindrance() -> None:
    class Instant(RoundCosts):
        def unit_s(self, work: Work) -> float:
            return super().unit_s(work) if work.stage is Stage.DIFFUSE else 0.0

    assert bound(asked((0.0, 1.0, 1, UNIT)), ranks("cpu"), models(degrees=(1,)), Instant()).served == 1
    assert bound(asked((0.0, 0.9, 1, UNIT)), ranks("cpu"), models(degrees=(1,)), Instant()).served == 0
