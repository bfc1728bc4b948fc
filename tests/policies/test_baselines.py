"""The published baselines, each by what it is known for, in worlds small enough to follow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from msgspec.structs import replace

from sfumato.assemble import policy_named
from sfumato.core.commands import Launch
from sfumato.core.cost import Work
from sfumato.core.events import AnyEvent, Arrived, Draining, WorkerUp
from sfumato.core.journal import Entry, Journal, Record
from sfumato.core.serving import Serving
from sfumato.core.values import ModelSpec, RankInfo, Request, Shape, Stage, StageSpec
from sfumato.errors import ConfigError
from sfumato.policies.bucketed import split
from sfumato.policies.sizes import degree_for
from sfumato.sim import Simulation
from tests.costs import PlainCosts


class EfficientCosts(PlainCosts):
    """Steps keep all of their speed-up to degree 4, and gain nothing beyond."""

    def unit_s(self, work: Work) -> float:
        alone_s = super().unit_s(replace(work, degree=1))
        return alone_s / min(work.degree, 4)


def world(*, packs: bool = False, batch: int = 4) -> dict[str, ModelSpec]:
    """Pictures at degrees 1 to 8; PlainCosts takes 1/64 s a step of 64 x 64."""
    return {"image": ModelSpec(name="image", diffuse=StageSpec(degrees=(1, 2, 4, 8), max_batch=batch, packs=packs))}


def asked(name: str, at: float, side: int, *, steps: int = 4, slo_s: float | None = None) -> Request:
    deadline = None if slo_s is None else at + slo_s
    shape = Shape(height=side, width=side)
    return Request(id=name, model="image", shape=shape, steps=steps, arrived_at=at, deadline=deadline)


def play(
    policy: str,
    requests: Iterable[Request],
    *,
    ranks: int = 1,
    models: dict[str, ModelSpec] | None = None,
    drained: tuple[int, ...] = (),
    costs: type[PlainCosts] = PlainCosts,
    **options: Any,
) -> tuple[list[Launch], list[str]]:
    """(launches in their order, ids in order of their ends)."""
    entries: list[Entry] = []
    serving = Serving(
        models=models or world(),
        costs=costs(),
        policy=policy_named(policy, options),
        fallback=policy_named("fixed"),
        journal=Journal(entries.append),
        strict=True,
    )
    script: list[AnyEvent] = [WorkerUp(at=0.0, info=RankInfo(rank=rank), parts=()) for rank in range(ranks)]
    script += [Draining(at=0.0, ranks=drained)] * bool(drained)
    script += [Arrived(at=request.arrived_at, request=request) for request in requests]
    outcomes = Simulation(serving, costs(), script).run()
    launches = [c for e in entries if isinstance(e, Record) for c in e.commands if isinstance(c, Launch)]
    return launches, [outcome.request for outcome in outcomes]


def steps_of(launches: Iterable[Launch], job: str) -> list[Launch]:
    return [one for one in launches if job in one.chunk.jobs and one.chunk.stage is Stage.DIFFUSE]


# -- static -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("side", "degree"), [(256, 1), (512, 1), (768, 2), (1024, 2), (2048, 8)])
def test_rssp_fixes_a_pictures_degree_by_its_size(side: int, degree: int) -> None:
    assert degree_for(Shape(height=side, width=side), "rssp") == degree
    (launch,) = steps_of(play("static", [asked("a", 0.0, side)], ranks=8)[0], "a")
    assert (len(launch.chunk.group), launch.chunk.units) == (degree, 4)


@pytest.mark.parametrize(("height", "degree"), [(256, 1), (480, 2), (720, 4)])
def test_rasp_fixes_a_videos_degree_by_its_shorter_side_and_gives_pictures_one_rank(height: int, degree: int) -> None:
    assert degree_for(Shape(height=height, width=1280, frames=81), "rasp") == degree
    assert degree_for(Shape(height=height, width=1280), "rasp") == 1


def test_a_request_that_waits_for_a_wide_group_blocks_those_behind_it() -> None:
    line = [asked("busy", 0.0, 512, steps=9), asked("wide", 0.1, 2048, steps=1), asked("small", 5.0, 256, steps=1)]
    launches, ended = play("static", line, ranks=8)
    small = next(one for one in launches if "small" in one.chunk.jobs)
    assert small.seq > steps_of(launches, "wide")[0].seq  # though seven ranks were free when it came
    assert ended[0] == "busy"


def test_a_drained_rank_is_not_waited_for() -> None:
    (launch,) = steps_of(play("static", [asked("a", 0.0, 2048)], ranks=8, drained=(3,))[0], "a")
    assert launch.chunk.group == (0, 1, 2, 4)


def test_an_unknown_rule_is_an_error_that_names_the_option() -> None:
    with pytest.raises(ConfigError, match="static"):
        policy_named("static", {"rule": "best"})


# -- fixed and srtf --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("degree", [1, 2, 4, 8])
def test_a_fixed_degree_is_kept_for_steps_whatever_the_size(degree: int) -> None:
    line = [asked("a", 0.0, 256), asked("b", 0.0, 2048)]
    launches, _ = play("fixed", line, ranks=8, degree=degree)
    assert {len(one.chunk.group) for job in ("a", "b") for one in steps_of(launches, job)} == {degree}


def test_srtf_looks_at_the_whole_request_and_by_stages_at_the_stage_alone() -> None:
    """When `deep` has 1 s of decode left, `brief` has 1/64 s of encode, and 1.6 s in all."""
    line = [asked("deep", 0.0, 1024, steps=1), asked("brief", 1.0, 256, steps=6)]
    for name, first in (("srtf", "deep"), ("srtf_stages", "brief")):
        launches, _ = play(name, line)
        after = [one.chunk.jobs[0] for one in launches if one.seq > steps_of(launches, "deep")[0].seq]
        assert after[0] == first


def test_by_stages_steps_get_the_widest_efficient_degree_and_decode_one_rank() -> None:
    launches, _ = play("srtf_stages", [asked("a", 0.0, 256)], ranks=8, costs=EfficientCosts)
    assert {len(one.chunk.group) for one in steps_of(launches, "a")} == {4}
    assert {len(one.chunk.group) for one in launches if one.chunk.stage is Stage.DECODE} == {1}


# -- bucketed ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ranks", "degrees"), [(1, [(1, 1)]), (2, [(1, 2)]), (4, [(2, 2), (1, 2)]), (8, [(4, 4), (2, 2), (1, 2)])]
)
def test_the_widest_bucket_has_half_of_the_ranks(ranks: int, degrees: list[tuple[int, int]]) -> None:
    assert [(bucket.degree, len(bucket.ranks)) for bucket in split(range(ranks))] == degrees


def test_a_request_stays_in_the_bucket_of_its_size_and_is_not_blocked_by_another() -> None:
    line = [asked("wide-1", 0.0, 2048), asked("wide-2", 0.0, 2048), asked("small", 0.1, 256)]
    launches, ended = play("bucketed", line, ranks=8)
    assert {launch.chunk.group for launch in launches if "wide-1" in launch.chunk.jobs} <= {(0,), (1,), (0, 1, 2, 3)}
    assert {launch.chunk.group for launch in launches if "small" in launch.chunk.jobs} == {(6,)}
    assert ended == ["small", "wide-1", "wide-2"]


def test_buckets_can_be_told() -> None:
    (launch,) = steps_of(play("bucketed", [asked("a", 0.0, 1024)], ranks=4, buckets=((2, 4),))[0], "a")
    assert launch.chunk.group == (0, 1)


# -- sjf --------------------------------------------------------------------------------------------------------------


def test_the_shortest_job_goes_first_but_nobody_who_has_begun_is_paused() -> None:
    line = [asked("first", 0.0, 256, steps=20), asked("long", 0.1, 256, steps=9), asked("short", 0.2, 64, steps=1)]
    launches, ended = play("sjf", line)
    assert ended == ["first", "short", "long"]
    assert len(launches) == 9  # three stages each, whole


# -- same size --------------------------------------------------------------------------------------------------------


def test_new_arrivals_go_before_requests_under_way_and_equals_share_a_chunk() -> None:
    line = [asked("old", 0.0, 64, steps=40), asked("new", 0.1, 128, steps=2), asked("like-old", 0.1, 64, steps=2)]
    launches, ended = play("same_size", line, quantum_s=0.01)
    assert ended == ["like-old", "old", "new"]  # new until its first step
    assert steps_of(launches, "new")[0].seq < steps_of(launches, "old")[20].seq
    assert {frozenset(one.chunk.jobs) for one in steps_of(launches, "like-old")} == {frozenset({"like-old", "old"})}


@pytest.mark.parametrize(("policy", "together"), [("same_size", False), ("mixed", True)])
def test_only_mixed_batches_put_unlike_sizes_together_where_the_stage_packs(policy: str, together: bool) -> None:
    line = [asked("a", 0.0, 64), asked("b", 0.0, 128)]
    launches, _ = play(policy, line, models=world(packs=True))
    assert any(set(one.chunk.jobs) == {"a", "b"} for one in launches) is together


# -- mixed ------------------------------------------------------------------------------------------------------------


def test_mixed_batches_fall_back_to_equals_where_the_stage_does_not_pack() -> None:
    line = [asked("a", 0.0, 64), asked("b", 0.0, 128), asked("c", 0.0, 64)]
    launches, _ = play("mixed", line)
    assert {frozenset(one.chunk.jobs) for one in steps_of(launches, "a")} == {frozenset({"a", "c"})}
    assert {one.chunk.jobs for one in steps_of(launches, "b")} == {("b",)}


def test_who_arrived_first_stays_in_the_batch_and_later_ones_join_where_there_is_room() -> None:
    line = [asked("a", 0.0, 64, steps=30), asked("b", 0.1, 128, steps=30), asked("c", 0.2, 64, steps=2)]
    launches, ended = play("mixed", line, models=world(packs=True, batch=2), quantum_s=0.01)
    assert ended == ["a", "c", "b"]
    together = {one.chunk.jobs for one in launches if one.chunk.stage is Stage.DIFFUSE}
    assert together == {("a",), ("a", "b"), ("b", "c"), ("b",)}


def test_new_requests_go_to_the_rank_with_the_fewest_and_stay_there() -> None:
    line = [asked(f"r{n}", 0.0, 64, steps=20) for n in range(4)]
    launches, _ = play("mixed", line, ranks=2, quantum_s=0.05)
    homes = {job: {one.chunk.group for one in launches if job in one.chunk.jobs} for job in ("r0", "r1", "r2", "r3")}
    assert homes == {"r0": {(0,)}, "r1": {(1,)}, "r2": {(0,)}, "r3": {(1,)}}
