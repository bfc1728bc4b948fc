import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from sfumato.core.commands import Launch
from sfumato.core.cost import Work
from sfumato.core.values import RankInfo, Shape, Stage
from sfumato.cost import Profile, ProfileCosts, read_profile
from sfumato.errors import ConfigError, ProfileError, WorkerError
from sfumato.models.offer import Offer
from sfumato.profiling import Bench, Campaign, Step, grid, hardware, measure, versions
from sfumato.runtime.virtual import VirtualLoop
from tests.profiling.world import GAP_S, IMAGE, KEPT, LOAD_S, REUSED, UNLIKE, VIDEO, FormulaCluster, elastic

SETUP = {"date": "2026-01-02", "command": "sfumato profile", "hardware": "cpu x2", "versions": {"torch": "2"}}


def profiled(
    offer: Offer,
    path: Path,
    cluster: FormulaCluster,
    progress: Callable[[Step], None] = lambda _: None,
    **changes: object,
) -> Profile:
    async def run() -> Profile:
        bench = Bench(cluster, asyncio.get_running_loop().time)
        cluster.start()
        campaign = Campaign(**{"path": str(path), **SETUP, **changes})  # type: ignore[arg-type]
        return await measure(offer, bench, campaign, progress)

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(run())


@pytest.mark.parametrize("offer", [IMAGE, VIDEO])
def test_every_setting_of_the_grid_comes_out_as_the_cluster_took_it(offer: Offer, tmp_path: Path) -> None:
    profile = profiled(offer, tmp_path / "p.json", FormulaCluster(ranks=1))
    assert len(profile.points) == len(grid(offer))
    for point in profile.points:
        size = point.height * point.width * (1 if point.stage is Stage.DECODE else point.frames)
        assert point.seconds == pytest.approx(1e-6 * size * (1 + point.batch))
        assert point.n >= 2
        assert point.p10_s is not None
        assert point.p90_s is not None
        assert point.p10_s <= point.seconds <= point.p90_s
    assert profile.launch_gap_s == pytest.approx(GAP_S)
    assert profile.load_s == {"w": LOAD_S}
    assert profile.part_bytes == {"w": 100}
    assert (profile.kind, profile.device, profile.frame_stride) == ("measured", "cpu", offer.spec.frame_stride)
    assert read_profile(tmp_path / "p.json") == profile


def test_no_rank_rests_while_another_is_measured(tmp_path: Path) -> None:
    cluster = FormulaCluster(ranks=3)  # rank 2 takes a fifth longer than rank 0
    profile = profiled(IMAGE, tmp_path / "p.json", cluster)
    steps = [(at, launch) for at, launch in cluster.launches if launch not in cluster.weighed]
    counts = Counter(launch.chunk.group for _, launch in steps)
    assert counts[(0,)] > counts[(2,)]  # it did not wait
    assert not cluster.tasks  # nothing is left on the workers
    largest = max(profile.points, key=lambda point: point.seconds)
    slow = largest.height * largest.width * 1e-6 * (1 + largest.batch)
    assert largest.p10_s is not None
    assert slow < largest.seconds < 1.2 * slow  # the median rank's


def test_a_slow_spell_of_the_machine_makes_no_setting_dearer_than_another(tmp_path: Path) -> None:
    cluster = FormulaCluster(ranks=1)
    steady = profiled(IMAGE, tmp_path / "steady.json", cluster)
    spell_s = 0.3 * cluster.launches[-1][0]
    drifting = FormulaCluster(ranks=1)
    drifting.pace = lambda at: 1.5 if at < spell_s else 1.0
    profile = profiled(IMAGE, tmp_path / "drifting.json", drifting)
    ratios = [one.seconds / two.seconds for one, two in zip(profile.points, steady.points, strict=True)]
    assert ratios == pytest.approx([1.0] * len(ratios))
    assert any(point.p90_s > 1.3 * point.seconds for point in profile.points if point.p90_s)  # but it shows


def test_a_run_that_was_cut_short_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path, cluster = tmp_path / "p.json", FormulaCluster(ranks=1)
    cluster.fails = lambda launch: launch.chunk.stage is Stage.DECODE
    with pytest.raises(WorkerError, match="profiling stopped: out of memory"):
        profiled(IMAGE, path, cluster)
    before = read_profile(path).points
    assert before
    steps: list[Step] = []
    again = FormulaCluster(ranks=1)
    profile = profiled(IMAGE, path, again, steps.append)
    assert profile.points[: len(before)] == before
    assert [step.point is None for step in steps] == [True] * len(before) + [False] * (len(steps) - len(before))
    assert [step.done for step in steps] == list(range(1, steps[0].total + 1))
    finished = FormulaCluster(ranks=1)
    assert profiled(IMAGE, path, finished) == profile
    assert not finished.launches


@pytest.mark.parametrize("offer", [IMAGE, VIDEO])
def test_every_setting_is_weighed_after_its_times_and_the_largest_rank_counts(offer: Offer, tmp_path: Path) -> None:
    cluster = FormulaCluster(ranks=2)
    profile = profiled(offer, tmp_path / "p.json", cluster)
    assert [peak.key for peak in profile.peaks] == [point.key for point in profile.points]
    for peak in profile.peaks:
        size = peak.height * peak.width * peak.frames
        assert peak.bytes == 100 * size * peak.batch * 2 * 2  # guided, on rank 1
    stepped = {point.shape for point in profile.points if point.stage is Stage.DIFFUSE}
    held = {(held.stage, held.shape): held.bytes for held in profile.held}
    assert set(held) == {(stage, shape) for stage in (Stage.DIFFUSE, Stage.DECODE) for shape in stepped}
    for (stage, shape), size in held.items():
        guided = 2 * shape.height * shape.width * shape.frames
        assert size == guided + (1000 if stage is Stage.DECODE else 0)


def test_groups_and_unlike_shapes_are_measured_and_the_planner_knows_what_they_take(tmp_path: Path) -> None:
    offer, cluster = elastic(IMAGE, 1, 2), FormulaCluster(ranks=3)
    profile = profiled(offer, tmp_path / "p.json", cluster)
    groups = {launch.chunk.group for _, launch in cluster.launches}
    assert groups == {(0,), (1,), (2,), (0, 1)}, "a rank that is left over is kept busy by itself"
    assert read_profile(tmp_path / "p.json") == profile
    (mixed,) = profile.mixed
    assert mixed.n >= 2
    costs = ProfileCosts([profile], {"image": offer.spec})

    def step(*sides: int, degree: int = 1) -> Work:
        shapes = tuple(Shape(height=side, width=side) for side in sides)
        return Work(model="image", stage=Stage.DIFFUSE, shapes=shapes, degree=degree, guided=True)

    measured = step(160, 64, 128)
    assert costs.unit_s(measured) == mixed.seconds
    assert not costs.estimated(measured)
    other = step(64, 160)
    assert costs.unit_s(other) == pytest.approx(1.1 * 1e-6 * (64**2 + 160**2) / 2 * 3 * UNLIKE, rel=0.1)
    assert costs.estimated(other)
    assert costs.unit_s(step(64, degree=2)) == pytest.approx(1e-6 * 64**2 * 2 / 2**0.5)
    halves = replace(step(64, degree=2), cfg=2)
    assert costs.unit_s(halves) == pytest.approx(1e-6 * 64**2 * 2 / 2**0.75)
    assert not costs.estimated(halves)
    assert all(peak.cfg == 1 for peak in profile.peaks)
    assert profile.packs

    again = FormulaCluster(ranks=3)
    assert profiled(offer, tmp_path / "p.json", again) == profile
    assert not again.launches


def test_what_each_quality_leaves_of_a_step_is_measured_once_and_the_planner_counts_on_it(tmp_path: Path) -> None:
    offer, cluster = replace(IMAGE, qualities=("exact", "fast")), FormulaCluster(ranks=2)
    profile = profiled(offer, tmp_path / "p.json", cluster)
    assert profile.reuse == {"fast": pytest.approx(REUSED)}
    step = Work(model="image", stage=Stage.DIFFUSE, shapes=(IMAGE.default_shape,), guided=True)
    costs = ProfileCosts([profile], {"image": offer.spec})
    assert costs.unit_s(replace(step, qualities=("fast",))) == pytest.approx(REUSED * costs.unit_s(step))
    again = FormulaCluster(ranks=2)
    assert profiled(offer, tmp_path / "p.json", again) == profile
    assert not again.launches


def test_what_each_quality_keeps_is_weighed_and_a_file_from_before_gets_it(tmp_path: Path) -> None:
    path, cluster = tmp_path / "p.json", FormulaCluster(ranks=2)
    before = profiled(IMAGE, path, cluster)
    assert b"quality" not in path.read_bytes(), "files of exact jobs alone are as they were"
    offer = replace(IMAGE, qualities=("exact", "high", "fast"))
    profile = profiled(offer, path, FormulaCluster(ranks=2))
    exact, others = [h for h in profile.held if h.quality == "exact"], [h for h in profile.held if h.quality != "exact"]
    assert (tuple(exact), profile.peaks) == (before.held, before.peaks)
    shapes = (IMAGE.default_shape, Shape(height=160, width=160))
    assert {(held.shape, held.quality, held.bytes) for held in others} == {
        (shape, quality, 2 * shape.height * shape.width * (1 + KEPT[quality]))
        for shape in shapes
        for quality in ("high", "fast")
    }
    again = FormulaCluster(ranks=2)
    assert profiled(offer, path, again) == profile
    assert not again.launches


def test_a_file_that_was_timed_but_not_weighed_is_weighed_alone(tmp_path: Path) -> None:
    path, cluster = tmp_path / "p.json", FormulaCluster(ranks=1)
    cluster.weighs = False  # as paced workers do not
    timed = profiled(IMAGE, path, cluster)
    assert (timed.peaks, timed.held) == ((), ())
    again = FormulaCluster(ranks=1)
    profile = profiled(IMAGE, path, again)
    assert profile.points == timed.points
    assert len(profile.peaks) == len(profile.points)
    steps = [launch for _, launch in again.launches if launch.chunk.stage is Stage.DIFFUSE]
    assert steps == [launch for launch in again.weighed if launch.chunk.stage is Stage.DIFFUSE]


def test_a_worker_that_dies_ends_the_run_with_its_rank(tmp_path: Path) -> None:
    cluster = FormulaCluster(ranks=2)
    cluster.fails, cluster.loses = _on_rank_1, True
    with pytest.raises(WorkerError, match="worker 1 died"):
        profiled(IMAGE, tmp_path / "p.json", cluster)


def _on_rank_1(launch: Launch) -> bool:
    return launch.chunk.group == (1,)


@pytest.mark.parametrize("field", ["hardware", "versions"])
def test_a_file_of_something_else_is_not_written_over(tmp_path: Path, field: str) -> None:
    path = tmp_path / "p.json"
    profiled(IMAGE, path, FormulaCluster(ranks=1))
    other: dict[str, object] = {"hardware": {"hardware": "gpu"}, "versions": {"versions": {"torch": "3"}}}[field]  # type: ignore[assignment]
    with pytest.raises(ProfileError, match="remove the file or write to another") as caught:
        profiled(IMAGE, path, FormulaCluster(ranks=1), **other)  # type: ignore[arg-type]
    assert caught.value.field == field
    with pytest.raises(ProfileError, match="model"):
        profiled(VIDEO, path, FormulaCluster(ranks=1))


def test_workers_of_two_kinds_are_refused(tmp_path: Path) -> None:
    cluster = FormulaCluster(ranks=2)
    start = cluster.start

    def mixed() -> None:
        start()
        bench_rank = cluster._post.__self__.ranks  # type: ignore[attr-defined]
        bench_rank[1] = replace(bench_rank[1], device="h100")

    cluster.start = mixed  # type: ignore[method-assign]
    with pytest.raises(ConfigError, match="one kind at a time"):
        profiled(IMAGE, tmp_path / "p.json", cluster)


def test_the_measured_profile_answers_the_planner(tmp_path: Path) -> None:
    costs = ProfileCosts([profiled(IMAGE, tmp_path / "p.json", FormulaCluster(ranks=1))], {"image": IMAGE.spec})
    for stage in Stage:
        work = Work(model="image", stage=stage, shapes=(IMAGE.default_shape,), guided=True)
        assert costs.unit_s(work) == pytest.approx(2e-6 * 128 * 128)
        assert not costs.estimated(work)
        assert costs.peak_bytes(work) == 100 * 128 * 128 * 2


def test_the_hardware_and_the_versions_are_said_in_words() -> None:
    ranks = [RankInfo(rank=rank) for rank in range(2)]
    assert hardware(ranks, 1) == "cpu x2, 1 thread a worker"
    assert hardware(ranks[:1], 4) == "cpu x1, 4 threads a worker"
    assert set(versions()) == {"torch", "diffusers", "sfumato"}
