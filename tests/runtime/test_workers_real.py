"""The process cluster with real workers, on a random Flux made from configuration alone."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from msgspec.structs import replace

from sfumato.core.commands import Drop, Load
from sfumato.core.events import ChunkDone, ChunkFailed, Dropped, Loaded, WorkerLost, WorkerUp
from sfumato.core.values import Stage
from sfumato.errors import WorkerError
from sfumato.models import Offer, describe, load_model
from sfumato.runtime.readahead import files_of, read_ahead

from .cluster_rig import cluster_of, task

ENCODE, DIFFUSE, DECODE = Stage
STEPS, LONG = 6, 80


@pytest.fixture(scope="module")
def offer(tmp_path_factory: pytest.TempPathFactory) -> Offer:
    from tests.models import checkpoints

    return describe(str(checkpoints.flux(tmp_path_factory.mktemp("flux") / "m")), name="m")


def test_a_job_that_moves_between_ranks_makes_the_picture_of_one_that_stays(offer: Offer, tmp_path: Path) -> None:
    """Encoded and begun on rank 0 beside a stranger, gone on with on rank 1, finished on rank 0: bit for bit."""

    async def scene() -> None:
        async with cluster_of(2, tmp_path, [offer], kind="real") as rig:
            for _ in range(2):
                assert set((await rig.next(WorkerUp)).parts) == set(offer.components.values())
            for seed, job in enumerate(("mover", "stranger")):
                rig.cluster.accept("m", task(job, steps=STEPS, seed=seed))
            rig.launch(("mover", "stranger"), ENCODE, 1, (0,))
            await rig.next(ChunkDone)
            for units, group in ((2, (0,)), (3, (1,)), (1, (0,))):
                rig.launch("mover", DIFFUSE, units, group)
                assert (await rig.next(ChunkDone)).progress[0].units == units
            rig.launch("mover", DECODE, 1, (1,))
            assert (await rig.next(ChunkDone)).progress[0].error == ""
            assert (rig.cluster.output("mover") == straight(offer)).all()
            rig.launch("stranger", DIFFUSE, STEPS + 1, (0,))
            assert "ValueError" in (await rig.next(ChunkFailed)).reason

    asyncio.run(scene())


def test_a_job_on_ever_other_ranks_makes_the_same_picture_and_outlives_one_of_them(
    offer: Offer, tmp_path: Path
) -> None:
    """Steps on one rank, on two, on the other, beside a stranger on both, guided with a pass on each; decoded by both;
    and one is killed under the stranger."""

    async def scene() -> None:
        async with cluster_of(2, tmp_path, [offer], kind="real", snapshot_every_s=0.0) as rig:
            for _ in range(2):
                await rig.next(WorkerUp)
            for seed, (job, steps) in enumerate((("mover", STEPS), ("stranger", LONG))):
                rig.cluster.accept("m", task(job, steps=steps, seed=seed))
            rig.launch(("mover", "stranger"), ENCODE, 1, (0, 1))
            await rig.next(ChunkDone)
            for jobs, group in (("mover", (0,)), ("mover", (0, 1)), (("mover", "stranger"), (0, 1)), ("mover", (1,))):
                rig.launch(jobs, DIFFUSE, 1, group)
                assert {(gain.units, gain.error) for gain in (await rig.next(ChunkDone)).progress} == {(1, "")}
            rig.launch("mover", DIFFUSE, STEPS - 4, (0, 1))
            await rig.next(ChunkDone)
            rig.launch("mover", DECODE, 1, (0, 1))
            assert (await rig.next(ChunkDone)).progress[0].error == ""
            assert off(rig.cluster.output("mover"), straight(offer)) <= 1, "the last bit of a float may round a pixel"

            rig.cluster.accept("m", task("guided", steps=STEPS, guidance=3.0))
            rig.launch("guided", ENCODE, 1, (0,))
            await rig.next(ChunkDone)
            for units, group, passes in ((1, (0, 1), 2), (1, (1,), 1), (STEPS - 2, (0, 1), 2)):
                rig.launch("guided", DIFFUSE, units, group, cfg=passes)
                assert (await rig.next(ChunkDone)).progress[0].units == units
            rig.launch("guided", DECODE, 1, (1,))
            await rig.next(ChunkDone)
            assert off(rig.cluster.output("guided"), straight(offer, guidance=3.0)) <= 1

            rig.launch("stranger", DIFFUSE, LONG - 1, (0, 1))
            await rig.step("stranger", 2)
            os.kill(rig.cluster.pids()[1], signal.SIGKILL)
            ((_, saved),) = (await rig.next(WorkerLost)).saved
            rig.launch("stranger", DIFFUSE, LONG - saved, (0,))
            assert (await rig.next(ChunkDone)).progress[0].units == LONG - saved
            rig.launch("stranger", DECODE, 1, (0,))
            await rig.next(ChunkDone)
            assert off(rig.cluster.output("stranger"), straight(offer, seed=1, steps=LONG)) <= 1

    asyncio.run(scene())


def test_parts_that_come_and_go_during_a_chunk_leave_its_picture_alone(offer: Offer, tmp_path: Path) -> None:
    async def scene() -> None:
        async with cluster_of(1, tmp_path, [offer], kind="real") as rig:
            await rig.next(WorkerUp)
            for seed, job in enumerate(("mover", "stranger")):
                rig.cluster.accept("m", task(job, steps=STEPS, seed=seed))
            rig.launch(("mover", "stranger"), ENCODE, 1, (0,))
            await rig.next(ChunkDone)
            part = offer.components["text_encoder"]
            rig.launch("mover", DIFFUSE, STEPS, (0,))
            rig.cluster.execute(Drop(rank=0, part=part))
            rig.cluster.execute(Load(rank=0, part=part))
            assert (await rig.next(ChunkDone)).progress[0].units == STEPS
            assert (await rig.next(Dropped)).part == part
            assert (await rig.next(Loaded)).part == part
            rig.launch("mover", DECODE, 1, (0,))
            await rig.next(ChunkDone)
            assert (rig.cluster.output("mover") == straight(offer)).all()

    asyncio.run(scene())


@pytest.mark.skipif(not hasattr(os, "posix_fadvise"), reason="nobody to ask")
def test_the_system_is_asked_for_the_files_of_a_part_alone(offer: Offer, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(os, "posix_fadvise", lambda fd, *_: asked.append(os.readlink(f"/proc/self/fd/{fd}")))
    files = files_of(offer, offer.components["transformer"])
    read_ahead(files).join()
    assert asked == [str(file) for file in files]
    assert {file.parent.name for file in files} == {"transformer"}
    read_ahead([Path("/nowhere")]).join()  # the load will say so


def straight(offer: Offer, seed: int = 0, steps: int = STEPS, guidance: float = 1.0) -> np.ndarray:
    """A picture made in this process, without a stop; its prompt is encoded beside another."""
    model = load_model(offer)
    model.load(offer.components.values())
    state = model.encode([task(str(each), steps=steps, seed=each, guidance=guidance) for each in (0, 1)])[seed]
    for _ in range(steps):
        model.step([state])
    assert model.decode(state)
    return model.output(state)


def off(one: np.ndarray, other: np.ndarray) -> int:
    """The largest difference of two pictures, of 255."""
    return int(np.abs(one.astype(int) - other.astype(int)).max())


GPU = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")]


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=GPU)])
def test_stages_that_are_merged_make_the_same_picture(device: str, offer: Offer, tmp_path: Path) -> None:
    """Three launches instead of five; on a GPU but for a rounding."""

    async def scene() -> None:
        async with cluster_of(1, tmp_path, [offer], kind="real", device=device) as rig:
            await rig.next(WorkerUp)
            rig.cluster.accept("m", task("a", steps=STEPS))
            for stage, units, onward in ((ENCODE, 1, 3), (DIFFUSE, STEPS - 3, 1)):
                rig.launch("a", stage, units, onward=onward)
                first = await rig.next(ChunkDone)
                assert (first.onward, first.progress[0].units) == (True, units)
                seq, done = rig.agree(), await rig.next(ChunkDone)
                assert (done.seq, done.progress[0].units, done.onward) == (seq, onward, False)
            assert off(rig.cluster.output("a"), straight(offer)) <= (0 if device == "cpu" else 2)

    asyncio.run(scene())


def test_a_worker_that_cannot_start_says_why(offer: Offer, tmp_path: Path) -> None:
    async def scene() -> None:
        broken = replace(offer, path=str(tmp_path / "nowhere"))
        with pytest.raises(WorkerError, match=r"worker 0 could not start: CheckpointError: .*nowhere"):
            async with cluster_of(1, tmp_path / "snapshots", [broken], kind="real"):
                pass
        assert not list((tmp_path / "snapshots").iterdir())

    asyncio.run(scene())
