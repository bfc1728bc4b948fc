"""The offline bound against every schedule there is (small worlds) and against the registered policies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sfumato.core.cost import Work
from sfumato.core.events import AnyEvent, Arrived, WorkerUp
from sfumato.core.values import STAGES, ModelSpec, RankInfo, Request, Shape, Stage, StageSpec
from sfumato.policies import POLICIES
from sfumato.sim import Simulation
from sfumato.sim import bound as bound_module
from sfumato.sim.bound import bound
from tests.costs import MODELS, PlainCosts
from tests.worlds import scripts, serving

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

At = tuple[int, int]  # (stage, units done of it) of a job in no chunk; stage 3: delivered
Flying = tuple[float, int, tuple[int, ...]]  # (end, ranks, jobs)


class Schedules:
    """The most requests on time over all schedules that start a unit when something arrives or ends."""

    def __init__(self, requests: list[Request], ranks: int, model: ModelSpec) -> None:
        self._requests, self._model, self._costs = requests, model, RoundCosts()
        self._best = cache(self._search)
        self.most = self._best(0.0, ranks, tuple((0, 0) for _ in requests), (), 0)

    def _search(
        self, now: float, free: int, jobs: tuple[At | None, ...], flying: tuple[Flying, ...], least: int
    ) -> int:
        """`jobs` that run or have missed are None; launches of one instant go by their lowest job, from `least` on."""
        most = self._wait(now, free, jobs, flying)
        for group, degree in self._launches(now, free, jobs, least):
            stage = STAGES[(jobs[group[0]] or (0, 0))[0]]
            shapes = tuple(self._requests[n].shape for n in group)
            end = now + self._costs.unit_s(Work(model="image", stage=stage, shapes=shapes, degree=degree))
            held = tuple((n, *(jobs[n] or (0, 0))) for n in group)
            after = tuple(None if n in group else job for n, job in enumerate(jobs))
            flights = tuple(sorted((*flying, (end, degree, tuple(n for one in held for n in one)))))
            most = max(most, self._best(now, free - degree, after, flights, group[0]))
        return most

    def _launches(
        self, now: float, free: int, jobs: tuple[At | None, ...], least: int
    ) -> Iterator[tuple[tuple[int, ...], int]]:
        ready = [n for n, job in enumerate(jobs) if job and job[0] < 3 and self._requests[n].arrived_at <= now]
        for size in (1, 2):
            for group in combinations(ready, size):
                heads = [jobs[n] for n in group]
                spec = self._model.stage(STAGES[(heads[0] or (0, 0))[0]])
                alike = len({head[0] for head in heads if head}) == 1
                alike = alike and (spec.packs or len({self._requests[n].shape for n in group}) == 1)
                if group[0] >= least and size <= spec.max_batch and alike:
                    yield from ((group, degree) for degree in spec.degrees if degree <= free)

    def _wait(self, now: float, free: int, jobs: tuple[At | None, ...], flying: tuple[Flying, ...]) -> int:
        """Do nothing until something arrives or ends."""
        times = [flight[0] for flight in flying] + [r.arrived_at for r in self._requests if r.arrived_at > now]
        if not times:
            return sum(job == (3, 0) for job in jobs)
        then, after = min(times), list(jobs)
        for end, degree, held in flying:
            if end == then:
                free += degree
                for n, stage, done in zip(held[::3], held[1::3], held[2::3], strict=True):
                    after[n] = self._advanced(n, stage, done, then)
        return self._best(then, free, tuple(after), tuple(f for f in flying if f[0] > then), 0)

    def _advanced(self, n: int, stage: int, done: int, now: float) -> At | None:
        request = self._requests[n]
        if now > (request.deadline or 0.0):
            return None
        last = done + 1 == self._model.units(STAGES[stage], request.shape, request.steps)
        return (stage + 1, 0) if last else (stage, done + 1)


QUARTERS = st.integers(0, 8).map(lambda n: n / 4)


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Request], int, Mapping[str, ModelSpec]]:
    specs = []
    for _ in range(draw(st.integers(2, 3))):
        at = draw(QUARTERS)
        slo_s = 1 + draw(st.integers(0, 14)) / 4
        specs.append((at, at + slo_s, draw(st.integers(1, 2)), draw(st.sampled_from([UNIT, DOUBLE]))))
    batch = draw(st.integers(1, 2))
    return asked(*specs), draw(st.integers(1, 2)), models(batch=batch, packs=draw(st.booleans()))


@given(case=cases())
def test_no_schedule_of_a_small_world_beats_the_bound(
    case: tuple[list[Request], int, Mapping[str, ModelSpec]],
) -> None:
    requests, count, specs = case
    most = Schedules(requests, count, specs["image"]).most
    assert most <= bound(requests, ranks(*["cpu"] * count), specs, RoundCosts()).served


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
    ],
)
def test_the_bound_is_what_the_best_schedule_reaches_where_nothing_is_relaxed(
    specs: list[tuple[float, float, int, Shape]], count: int, options: dict[str, object], most: int
) -> None:
    world = models(**options)  # type: ignore[arg-type]
    assert Schedules(asked(*specs), count, world["image"]).most == most
    assert bound(asked(*specs), ranks(*["cpu"] * count), world, RoundCosts()).served == most


# -- the registered policies ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(POLICIES))
@given(script=scripts(trouble=False))
def test_no_registered_policy_beats_the_bound(name: str, script: list[AnyEvent]) -> None:
    simulation = Simulation(serving(name, []), PlainCosts(), script)
    on_time = sum(outcome.met and outcome.deadline is not None for outcome in simulation.run())
    requests = [event.request for event in script if isinstance(event, Arrived)]
    pool = [event.info for event in script if isinstance(event, WorkerUp)]
    assert on_time <= bound(requests, pool, MODELS, PlainCosts()).served


# -- what it counts ---------------------------------------------------------------------------------------------------


def test_a_kind_of_device_is_not_lent_to_more_groups_than_it_has_ranks() -> None:
    pair = asked((0.0, 1.6, 1, UNIT), (0.0, 1.6, 1, UNIT))  # too little time for the slow kind
    narrow = models(degrees=(1,))
    assert bound(pair, ranks("fast", "slow"), narrow, RoundCosts()).served == 1
    assert bound(pair, ranks("fast", "fast"), narrow, RoundCosts()).served == 2


def test_merged_intervals_only_raise_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    requests = asked(*[(n / 4, n / 4 + 2, 1, UNIT) for n in range(20)])
    exact = bound(requests, ranks("cpu"), models(), RoundCosts())
    monkeypatch.setattr(bound_module, "CELLS", 60)
    merged = bound(requests, ranks("cpu"), models(), RoundCosts())
    assert exact.relaxed <= merged.relaxed + 1e-6
    assert 0 < exact.served < merged.judged == 20


def test_best_effort_requests_are_outside_the_bound() -> None:
    free = [Request(id="r", model="image", shape=UNIT, steps=1, arrived_at=0.0)]
    found = bound(free, ranks("cpu"), models(), RoundCosts())
    assert (found.served, found.judged, found.attainment) == (0, 0, None)


def test_a_pool_that_is_too_small_for_the_model_serves_nobody() -> None:
    assert bound(asked((0.0, 9.0, 1, UNIT)), ranks("cpu"), models(degrees=(2,)), RoundCosts()).served == 0
    assert bound(asked((0.0, 9.0, 1, UNIT)), [], models(), RoundCosts()).served == 0
