"""The suite: every file is read, simulates what it says, and calls what is modelled modelled."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from msgspec.structs import replace

from bench.suite import EVALUATION
from profiles.generate import HERE, MIXFUSION, SOURCES, modelled
from sfumato.cli.worlds import scaled, world_of
from sfumato.core.values import Stage
from sfumato.cost.profile import encode_profile, read_profile
from sfumato.workload.load import load, parse
from sfumato.workload.points import swept

FOLDER = Path(__file__).parents[2] / "recipes" / "workloads"
FILES = sorted(FOLDER.glob("*.toml"))
SUITE = [path for path in FILES if path.stem != "demo"]


@pytest.mark.parametrize("path", SUITE, ids=lambda path: path.stem)
def test_every_point_has_three_thousand_requests_that_its_pool_could_serve(path: Path) -> None:
    spec = replace(load(path), seed=EVALUATION)
    for name, workload in swept(spec):
        world = world_of(workload)
        runs = [world.draw(workload, workload.seed + run) for run in range(workload.seeds)]
        assert sum(map(len, runs)) >= 3000, name
        asked = runs[0]
        assert all(request.deadline is not None for request in asked)
        assert any("modelled" in remark for remark in world.remarks(workload))
        for model in world.models.values():
            for stage in Stage:
                assert any(set(model.stage(stage).parts) <= set(parts) for parts in world.resident.values())


def test_what_the_readme_shows_can_be_played() -> None:
    """The workload of one's own as it stands, and with what no profile foretells."""
    own, more = re.findall(r"```toml\n(.*?)```", (FOLDER / "README.md").read_text(), re.DOTALL)
    for text in (
        own,
        more.partition("[[pool")[0] + own.replace("[[models]]", more[more.index("[[pool") :] + "[[models]]"),
    ):
        workload = parse(text, folder=FOLDER)
        assert len(world_of(workload).draw(workload, 0)) == 300
    assert [trouble.rank for trouble in workload.pool.troubles] == [3, 5]
    assert (workload.drift, workload.believed) == (0.05, 1.2)


def test_points_have_names_of_their_own() -> None:
    for path in SUITE:
        names = [name for name, _ in swept(load(path))]
        assert len(set(names)) == len(names), path


@pytest.mark.parametrize("name", [*SOURCES, None])
def test_the_modelled_profiles_are_what_the_generator_writes(name: str | None) -> None:
    table = MIXFUSION if name is None else read_profile(HERE / "published" / f"{name}.json")
    kept = HERE / "modelled" / f"{table.device}-{table.model}.json"
    assert kept.read_bytes() == encode_profile(modelled(table))


def test_a_modelled_factor_leaves_published_steps_alone_and_scales_the_rest() -> None:
    profile = read_profile(HERE / "modelled" / "l20-flux1-dev.json")
    more = scaled(profile, 1.3)
    for before, after in zip(profile.points, more.points, strict=True):
        ratio = after.seconds / before.seconds
        if before.stage is not Stage.DIFFUSE:
            assert ratio == pytest.approx(1.3)
        elif before.batch == 1:
            assert ratio == 1.0
        else:
            assert 1.0 <= ratio < 1.3
    assert more.part_bytes == profile.part_bytes
    assert more.peaks[0].bytes > profile.peaks[0].bytes


def test_a_batch_costs_no_less_than_a_member_and_no_more_than_one_by_one() -> None:
    for path in (HERE / "modelled").glob("*.json"):
        points = read_profile(path).points
        alone = {point.shape: point.seconds for point in points if point.stage is Stage.DIFFUSE and point.degree == 1}
        for point in points:
            if point.batch > 1:
                one_s = next(p.seconds for p in points if p.shape == point.shape and p.batch == p.degree == 1)
                assert one_s <= point.seconds <= point.batch * one_s
        assert alone
