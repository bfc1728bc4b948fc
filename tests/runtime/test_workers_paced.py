"""The process cluster with paced workers: real processes, messages and snapshots, no model."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import numpy as np
import psutil
import pytest

from sfumato.core.commands import Admit, Drop, Halt, Load
from sfumato.core.events import ChunkDone, ChunkFailed, Dropped, Loaded, Progress, WorkerLost, WorkerUp
from sfumato.core.values import Group, Shape, Stage

from .cluster_rig import Rig, cluster_of, task

ENCODE, DIFFUSE, DECODE = Stage


async def up(rig: Rig, count: int) -> None:
    ranks = {(await rig.next(WorkerUp)).info.rank for _ in range(count)}
    assert ranks == set(range(count))


async def encode(rig: Rig, *jobs: str, rank: int = 0, steps: int = 8, frames: int = 1) -> None:
    for number, job in enumerate(jobs):
        rig.cluster.accept("m", task(job, steps=steps, frames=frames, seed=number))
    rig.launch(jobs, ENCODE, 1, (rank,))
    done = await rig.next(ChunkDone)
    assert done.progress == tuple(Progress(job=job, units=1, saved=1) for job in jobs)


def test_a_request_goes_through_its_stages_and_leaves_a_picture(tmp_path: Path) -> None:
    async def scene() -> None:
        async with cluster_of(1, tmp_path) as rig:
            await up(rig, 1)
            await encode(rig, "a")
            seq = rig.launch("a", DIFFUSE, 8)
            done = await rig.next(ChunkDone)
            assert (done.seq, done.progress) == (seq, (Progress(job="a", units=8, saved=8),))
            assert 0.008 <= done.seconds < 0.1
            assert rig.steps == [("a", DIFFUSE, units) for units in range(1, 8)]
            rig.launch("a", DECODE, 1)
            assert (await rig.next(ChunkDone)).progress == (Progress(job="a", units=1, saved=0),)
            pixels = rig.cluster.output("a")
            assert (pixels.shape, pixels.dtype) == ((1, 32, 48, 3), np.uint8)
            assert {file.suffix for file in tmp_path.glob("*/a.*")} == {".pixels"}
            rig.cluster.forget("a")
            assert pixels.max() == pixels[0, 0, 0].max(), "an output that was handed out stays readable"
            with pytest.raises(KeyError):
                rig.cluster.output("a")

    asyncio.run(scene())


def test_a_rank_goes_on_to_the_next_stage_by_itself(tmp_path: Path) -> None:
    async def scene() -> None:
        async with cluster_of(1, tmp_path) as rig:
            await up(rig, 1)
            rig.cluster.accept("m", task("a"))
            rig.launch("a", ENCODE, 1, onward=8)
            assert (await rig.next(ChunkDone)).onward
            await asyncio.sleep(0.2)  # the eight steps are over before the core agrees
            seq = rig.agree()
            done = await rig.next(ChunkDone)
            assert (done.seq, done.progress) == (seq, (Progress(job="a", units=8, saved=8),))
            assert not done.onward
            rig.launch("a", DECODE, 1)
            assert (await rig.next(ChunkDone)).progress[0].units == 1

    asyncio.run(scene())


@pytest.mark.parametrize("late_s", [0.0, 0.5], ids=["it runs", "it has ended"])
def test_what_a_rank_went_on_with_may_be_undone(late_s: float, tmp_path: Path) -> None:
    async def scene() -> None:
        async with cluster_of(1, tmp_path) as rig:
            await up(rig, 1)
            rig.cluster.accept("m", task("a"))
            seq = rig.launch("a", ENCODE, 1, unit_s=0.02, onward=8)
            assert (await rig.next(ChunkDone)).onward
            await asyncio.sleep(late_s)
            rig.cluster.execute(Halt(seq=seq + 1, undone=True))
            if late_s:
                assert (await rig.next(ChunkDone)).seq == seq + 1  # the core does not know of it, and takes no notice
            rig.launch("a", DIFFUSE, 8)  # all of them: none was counted
            assert (await rig.next(ChunkDone)).progress == (Progress(job="a", units=8, saved=8),)
            rig.launch("a", DECODE, 1)
            assert (await rig.next(ChunkDone)).progress[0].units == 1

    asyncio.run(scene())


@pytest.mark.parametrize("halted", [True, False])
def test_who_is_halted_or_given_up_does_not_go_on(halted: bool, tmp_path: Path) -> None:
    async def scene() -> None:
        async with cluster_of(1, tmp_path) as rig:
            await up(rig, 1)
            await encode(rig, "a")
            seq = rig.launch("a", DIFFUSE, 8, unit_s=0.1, onward=1)
            await rig.step("a", 7)
            if halted:
                rig.cluster.execute(Halt(seq=seq))
            else:
                rig.cluster.forget("a")
            done = await rig.next(ChunkDone)
            assert (done.seq, done.onward) == (seq, False)

    asyncio.run(scene())


def test_a_halt_ends_a_chunk_within_one_unit_and_the_rest_runs_later(tmp_path: Path) -> None:
    async def scene() -> None:
        async with cluster_of(1, tmp_path) as rig:
            await up(rig, 1)
            await encode(rig, "a", steps=50)
            seq = rig.launch("a", DIFFUSE, 50, unit_s=0.2)
            await rig.step("a", 1)
            rig.cluster.execute(Halt(seq=seq))
            (progress,) = (await rig.next(ChunkDone)).progress
            assert 1 <= progress.units <= 2
            assert progress.saved == progress.units
            rig.launch("a", DIFFUSE, 50 - progress.units)
            assert (await rig.next(ChunkDone)).progress[0].units == 50 - progress.units

    asyncio.run(scene())


@pytest.mark.parametrize("group", [(0,), (0, 1, 2)])
def test_a_member_halts_and_the_batch_goes_on(group: Group, tmp_path: Path) -> None:
    async def scene() -> None:
        async with cluster_of(len(group), tmp_path) as rig:
            await up(rig, len(group))
            await encode(rig, "a", "b", "c", steps=9)
            seq = rig.launch(("a", "b", "c"), DIFFUSE, 4, group, unit_s=0.2)
            await rig.step("b", 1)
            rig.cluster.execute(Halt(seq=seq, jobs=("b",)))
            a, b, c = (await rig.next(ChunkDone)).progress
            assert (a.units, c.units) == (4, 4)
            assert 1 <= b.units <= 2
            assert b.saved == b.units
            seq = rig.launch(("a", "b", "c"), DIFFUSE, 5, group, unit_s=0.2)
            await rig.step("a", 5)
            rig.cluster.execute(Halt(seq=seq))
            assert {1 <= gain.units <= 2 for gain in (await rig.next(ChunkDone)).progress} == {True}

    asyncio.run(scene())


def test_all_ranks_of_a_group_hold_what_it_has_made(tmp_path: Path) -> None:
    async def scene() -> None:
        async with cluster_of(3, tmp_path) as rig:
            await up(rig, 3)
            await encode(rig, "a", rank=1)
            rig.launch("a", DIFFUSE, 2, (0, 1, 2))
            await rig.next(ChunkDone)
            for file in tmp_path.glob("*/a.*"):
                file.unlink()
            rig.launch("a", DIFFUSE, 2, (2,))
            assert (await rig.next(ChunkDone)).progress == (Progress(job="a", units=2, saved=2),)
            rig.launch("a", DIFFUSE, 4, (0, 2))  # and rank 0 takes it from what rank 2 has written
            assert (await rig.next(ChunkDone)).progress == (Progress(job="a", units=4, saved=4),)

    asyncio.run(scene())


def test_a_cancelled_member_leaves_nothing_behind(tmp_path: Path) -> None:
    async def scene() -> None:
        async with cluster_of(1, tmp_path) as rig:
            await up(rig, 1)
            await encode(rig, "a", "b", steps=4)
            seq = rig.launch(("a", "b"), DIFFUSE, 4, unit_s=0.2)
            await rig.step("b", 1)
            rig.cluster.execute(Halt(seq=seq, jobs=("b",)))
            rig.cluster.forget("b")
            assert (await rig.next(ChunkDone)).progress[1].units <= 2
            assert not list(tmp_path.glob("*/b.*"))
            assert list(tmp_path.glob("*/a.*"))

    asyncio.run(scene())


def test_a_killed_worker_loses_the_chunk_but_not_the_snapshot_and_comes_back(tmp_path: Path) -> None:
    async def scene() -> None:
        async with cluster_of(1, tmp_path, snapshot_every_s=0.05) as rig:
            await up(rig, 1)
            await encode(rig, "a", steps=60)
            rig.launch("a", DIFFUSE, 5)
            await rig.next(ChunkDone)
            rig.launch("a", DIFFUSE, 55, unit_s=0.02)
            await rig.step("a", 20)
            os.kill(rig.cluster.pids()[0], signal.SIGKILL)
            lost = await rig.next(WorkerLost)
            ((job, saved),) = lost.saved
            assert job == "a"
            assert 10 <= saved < 60
            assert (await rig.next(WorkerUp)).parts == ("net",)
            rig.launch("a", DIFFUSE, 60 - saved)
            assert (await rig.next(ChunkDone)).progress == (Progress(job="a", units=60 - saved, saved=60 - saved),)
            rig.launch("a", DECODE, 1)
            await rig.next(ChunkDone)
            await encode(rig, "undisturbed", steps=60)
            rig.cluster.accept("m", task("twin", steps=60))  # the seed of "a"
            for stage, units in ((ENCODE, 1), (DIFFUSE, 60), (DECODE, 1)):
                rig.launch("twin", stage, units)
                await rig.next(ChunkDone)
            assert (rig.cluster.output("twin") == rig.cluster.output("a")).all()

    asyncio.run(scene())


def test_a_request_that_kills_worker_after_worker_fails(tmp_path: Path) -> None:
    async def scene() -> None:
        async with cluster_of(1, tmp_path) as rig:
            await up(rig, 1)
            await encode(rig, "a")
            for attempt in range(3):
                rig.launch("a", DIFFUSE, 8, unit_s=5.0)
                os.kill(rig.cluster.pids()[0], signal.SIGKILL)
                if attempt == 2:
                    assert "3 workers died" in (await rig.next(ChunkDone)).progress[0].error
                await rig.next(WorkerLost)
                await rig.next(WorkerUp)

    asyncio.run(scene())


def test_a_job_moves_to_another_rank_by_its_snapshot(tmp_path: Path) -> None:
    async def scene() -> None:
        async with cluster_of(2, tmp_path) as rig:
            await up(rig, 2)
            await encode(rig, "a", "b", rank=0)
            rig.launch(("a", "b"), DIFFUSE, 3, (0,))
            await rig.next(ChunkDone)
            rig.launch(("a", "b"), DIFFUSE, 5, (1,))
            assert [p.units for p in (await rig.next(ChunkDone)).progress] == [5, 5]
            rig.launch("a", DECODE, 1, (0,))
            rig.launch("b", DECODE, 1, (1,))
            assert {(await rig.next(ChunkDone)).progress[0].error for _ in range(2)} == {""}

    asyncio.run(scene())


def test_a_group_of_four_runs_as_one_and_dissolves_with_its_member(tmp_path: Path) -> None:
    async def scene() -> None:
        async with cluster_of(4, tmp_path, snapshot_every_s=0.05) as rig:
            await up(rig, 4)
            await encode(rig, "a", steps=40)
            for _ in range(5):
                rig.launch("a", DIFFUSE, 2, (0, 1, 2, 3))
                assert (await rig.next(ChunkDone)).progress[0].units == 2
            rig.launch("a", DIFFUSE, 30, (0, 1, 2, 3), unit_s=0.02)
            await rig.step("a", 15)
            os.kill(rig.cluster.pids()[2], signal.SIGKILL)
            ((_, saved),) = (await rig.next(WorkerLost)).saved
            assert saved >= 10
            rig.launch("a", DIFFUSE, 40 - saved, (0, 1))
            done = await rig.next(ChunkDone)
            assert done.progress[0].units == 40 - saved, "the old chunk on rank 0 must not be heard of again"
            assert (await rig.next(WorkerUp)).info.rank == 2
            await encode(rig, "b", rank=2)
            rig.launch("b", DIFFUSE, 8, (0, 1, 2, 3))
            assert (await rig.next(ChunkDone)).progress[0].units == 8, "the new one is in a group at once"

    asyncio.run(scene())


def test_decode_proceeds_by_latent_frames_and_pauses_between_them(tmp_path: Path) -> None:
    async def scene() -> None:
        async with cluster_of(1, tmp_path) as rig:
            await up(rig, 1)
            await encode(rig, "a", steps=1, frames=33)
            rig.launch("a", DIFFUSE, 1)
            await rig.next(ChunkDone)
            seq = rig.launch("a", DECODE, 9, unit_s=0.2)
            await rig.step("a", 1)
            rig.cluster.execute(Halt(seq=seq))
            units = (await rig.next(ChunkDone)).progress[0].units
            assert 1 <= units <= 2
            rig.launch("a", DECODE, 9 - units)
            assert (await rig.next(ChunkDone)).progress[0].units == 9 - units
            assert rig.cluster.output("a").shape == (33, 32, 48, 3)

    asyncio.run(scene())


@pytest.mark.parametrize("group", [(0,), (0, 1)])
def test_a_chunk_that_raises_fails_alone(group: Group, tmp_path: Path) -> None:
    async def scene() -> None:
        async with cluster_of(len(group), tmp_path) as rig:
            await up(rig, len(group))
            await encode(rig, "a")
            rig.launch("a", DIFFUSE, 9, group)  # one more than it has
            failed = await rig.next(ChunkFailed)
            assert "ValueError: a has all its 8 steps" in failed.reason
            await encode(rig, "b")
            rig.launch("b", DIFFUSE, 8, group)
            assert (await rig.next(ChunkDone)).progress[0].units == 8

    asyncio.run(scene())


def test_parts_are_loaded_and_dropped(tmp_path: Path) -> None:
    async def scene() -> None:
        async with cluster_of(1, tmp_path, parts=()) as rig:
            assert (await rig.next(WorkerUp)).parts == ()
            rig.cluster.execute(Load(rank=0, part="net"))
            assert (await rig.next(Loaded)).part == "net"
            rig.cluster.execute(Drop(rank=0, part="net"))
            assert (await rig.next(Dropped)).part == "net"

    asyncio.run(scene())


def test_eight_paced_ranks_keep_time_beside_each_other(tmp_path: Path) -> None:
    async def scene() -> None:
        async with cluster_of(8, tmp_path) as rig:
            await up(rig, 8)
            for rank in range(8):
                await encode(rig, f"job {rank}", rank=rank, steps=20)
            for rank in range(8):
                rig.launch(f"job {rank}", DIFFUSE, 20, (rank,), unit_s=0.02)
            for _ in range(8):
                assert 0.4 <= (await rig.next(ChunkDone)).seconds < 0.6

    asyncio.run(scene())


def test_close_leaves_no_process_and_no_folder(tmp_path: Path) -> None:
    async def scene() -> list[int]:
        async with cluster_of(2, tmp_path) as rig:
            await up(rig, 2)
            await encode(rig, "a")
            rig.launch("a", DIFFUSE, 8, unit_s=30.0)  # a unit that does not end by itself
            pids = list(rig.cluster.pids().values())
            assert all(psutil.pid_exists(pid) for pid in pids)
            assert list(tmp_path.iterdir())
        return pids

    for pid in asyncio.run(scene()):
        assert not psutil.pid_exists(pid)
    assert not list(tmp_path.iterdir())


def test_a_worker_that_falls_silent_is_taken_for_dead(tmp_path: Path) -> None:
    async def scene() -> None:
        async with cluster_of(1, tmp_path, hang_s=0.2) as rig:
            await up(rig, 1)
            await encode(rig, "a")
            rig.launch("a", DIFFUSE, 8, unit_s=0.01)
            os.kill(rig.cluster.pids()[0], signal.SIGSTOP)
            assert (await rig.next(WorkerLost)).saved == (("a", 0),)
            await rig.next(WorkerUp)
            rig.launch("a", DIFFUSE, 8)
            assert (await rig.next(ChunkDone)).progress[0].units == 8

    asyncio.run(scene())


def test_a_lowered_request_is_made_as_it_was_accepted(tmp_path: Path) -> None:
    async def scene() -> None:
        async with cluster_of(1, tmp_path) as rig:
            await rig.next(WorkerUp)
            rig.cluster.accept("m", task("a", steps=8))
            rig.cluster.execute(Admit(job="a", shape=Shape(height=16, width=32), steps=4))
            for stage, units in ((Stage.ENCODE, 1), (Stage.DIFFUSE, 4), (Stage.DECODE, 1)):
                rig.launch("a", stage, units)
                assert (await rig.next(ChunkDone)).progress[0].error == ""
            assert rig.cluster.output("a").shape == (1, 16, 32, 3)

    asyncio.run(scene())
