"""What a workload file states beside the profiles: launches, switches, moves, loads, and a slow link."""

from __future__ import annotations

import pytest

from sfumato.core.cost import Overheads, Work
from sfumato.core.values import ModelSpec, Shape, Stage
from sfumato.cost import Profile, ProfileCosts, spec_of
from sfumato.cost.profile import Point

STEP = {"stage": Stage.DIFFUSE, "height": 64, "width": 64}
POINTS = (Point(**STEP, seconds=0.8), Point(**STEP, degree=2, seconds=0.5))  # type: ignore[arg-type]
PROFILE = Profile(model="m", device="gpu", kind="modelled", source="test", launch_gap_s=0.01, points=POINTS)


def costs(**stated: float) -> ProfileCosts:
    return ProfileCosts([PROFILE], {"m": ModelSpec(name="m")}, overheads=Overheads(**stated))


def work(degree: int = 1, nodes: int = 1) -> Work:
    shape = Shape(height=64, width=64)
    return Work(model="m", stage=Stage.DIFFUSE, shapes=(shape,), degree=degree, device="gpu", nodes=nodes)


def test_a_stated_launch_replaces_the_profiles_gap() -> None:
    assert costs().start_s(work(), (0,), (None,)) == 0.01
    assert costs(launch_s=0.002).start_s(work(), (0,), (None,)) == 0.002


def test_another_group_is_a_switch_and_ranks_without_the_latent_are_a_move() -> None:
    priced = costs(launch_s=0.0, switch_s=0.1, move_s=1.0, move_bytes_s=1e18)
    assert priced.start_s(work(), (0, 1), ((0, 1),)) == 0.0
    assert priced.start_s(work(), (0,), ((0, 1),)) == 0.1
    assert priced.start_s(work(), (1, 2), ((0, 1),)) == pytest.approx(1.1)


def test_a_weight_part_loads_in_stated_time() -> None:
    assert costs(load_s=1.0, load_bytes_s=100.0).load_s("p", 200, "gpu") == 3.0


def test_across_a_slow_link_what_a_step_loses_to_communication_is_lost_several_times() -> None:
    assert costs(link_slowdown=4.0).unit_s(work(2)) == 0.5
    assert costs(link_slowdown=4.0).unit_s(work(2, nodes=2)) == pytest.approx(0.5 + 3 * (0.5 - 0.4))
    assert costs().unit_s(work(2, nodes=2)) == 0.5


def test_a_profile_may_say_which_weights_a_stage_needs_and_that_it_packs() -> None:
    from msgspec.structs import replace

    batch = Point(**STEP, batch=4, seconds=1.0)  # type: ignore[arg-type]
    spec = spec_of(replace(PROFILE, points=(*POINTS, batch), parts={Stage.DIFFUSE: ("dit",)}, packs=True))
    assert spec.diffuse.parts == ("dit",)
    assert (spec.diffuse.packs, spec.diffuse.max_batch, spec.decode.packs) == (True, 4, False)
