"""What a chunk takes of the memory: on this process, on states made of plain arrays, and through worker processes."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from sfumato.core.commands import Launch
from sfumato.core.events import ChunkDone, WorkerUp
from sfumato.core.values import Chunk, Stage
from sfumato.models import Offer, describe
from sfumato.runtime import weighing
from sfumato.runtime.weighing import Scale, state_bytes

from .cluster_rig import Rig, cluster_of, task

ENCODE, DIFFUSE, DECODE = Stage
MIB = 1 << 20

linux = pytest.mark.skipif(not weighing.CLEAR.exists(), reason="only Linux's kernel can be told to forget a peak")


@linux
def test_a_peak_is_seen_after_it_has_passed_and_forgotten_by_the_next_scale() -> None:
    scale = Scale("cpu")
    passing = np.ones(64 * MIB, np.uint8)
    del passing
    assert 60 * MIB < scale.peak_bytes() < 80 * MIB
    assert Scale("cpu").peak_bytes() < 8 * MIB


@linux
def test_what_was_there_before_is_not_counted() -> None:
    before = np.ones(64 * MIB, np.uint8)
    assert Scale("cpu").peak_bytes() < 8 * MIB
    assert before.all()


def test_where_the_system_keeps_no_peak_it_is_unknown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(weighing, "CLEAR", tmp_path / "none" / "clear_refs")
    monkeypatch.setattr(weighing, "STATUS", tmp_path / "none" / "status")
    scale = Scale("cpu")
    passing = np.ones(16 * MIB, np.uint8)
    del passing
    assert scale.peak_bytes() == 0
    assert weighing.most_bytes("cpu") == 0


def test_on_a_gpu_the_allocator_of_its_own_device_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """With made-up counts: what a real one says is not tested here."""
    torch = pytest.importorskip("torch")
    asked: list[tuple[str, str]] = []

    def count(name: str, said: int | None) -> None:
        def counted(device: str) -> int | None:
            asked.append((name, device))
            return said

        monkeypatch.setattr(torch.cuda, name, counted)

    count("reset_peak_memory_stats", None)
    count("memory_allocated", 1000)
    count("max_memory_allocated", 1700)
    assert Scale("cuda:1").peak_bytes() == 700
    assert asked == [
        (name, "cuda:1") for name in ("reset_peak_memory_stats", "memory_allocated", "max_memory_allocated")
    ]


def test_arrays_are_found_wherever_a_state_keeps_them_and_counted_once() -> None:
    class Slotted:
        __slots__ = ("inner",)

        def __init__(self, inner: object) -> None:
            self.inner = inner

    array = np.zeros(100, np.uint8)
    state: Any = SimpleNamespace(
        done=3, name="a", both=[array, {"again": array}], slot=Slotted((np.zeros(7, np.uint8),))
    )
    state.itself = state
    assert state_bytes([state], "cpu") == 107
    assert state_bytes([state, SimpleNamespace(shared=array)], "cpu") == 107
    assert state_bytes([state], "cuda:1") == 0  # a picture that waits on the host takes nothing of the GPU


def test_a_view_counts_with_all_that_it_keeps_alive_and_a_model_not_at_all() -> None:
    torch = pytest.importorskip("torch")
    batch = torch.zeros(4, 100)
    first: Any = SimpleNamespace(latent=batch[:1], network=torch.nn.Linear(1000, 1000))
    second: Any = SimpleNamespace(latent=batch[1:2])
    assert state_bytes([first], "cpu") == 1600
    assert state_bytes([first, second], "cpu") == 1600


def test_a_job_holds_the_most_that_was_seen_of_it() -> None:
    scale = Scale("cpu")
    for sizes in ((10, 20), (50, 51), (1,)):
        scale.look([SimpleNamespace(kept=np.zeros(size, np.uint8)) for size in sizes])
    scale.look([None])
    assert scale.held_bytes == 51


def test_weighing_imports_no_torch() -> None:
    lines = ("import sys", "from sfumato.runtime.weighing import Scale", "Scale('cpu').peak_bytes()")
    code = "; ".join((*lines, "print('torch' in sys.modules)"))
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


class Weights:
    """What the cluster of a rig says of its weighed chunks."""

    def __init__(self, rig: Rig) -> None:
        self.said: list[tuple[int, int, int]] = []
        self._rig = rig
        self._seq = 100
        rig.cluster.on_weight(lambda *weight: self.said.append(weight))

    async def run(self, job: str, stage: Stage, units: int, *, weigh: bool = True) -> int:
        self._seq += 1
        chunk = Chunk(jobs=(job,), stage=stage, units=units, group=(0,))
        launch = Launch(seq=self._seq, chunk=chunk, sources=(None,), start_s=0.0, unit_s=0.001)
        self._rig.cluster.execute(launch, weigh=weigh)
        assert (await self._rig.next(ChunkDone)).seq == self._seq
        return self._seq


def test_a_paced_worker_has_nothing_to_weigh(tmp_path: Path) -> None:
    async def scene() -> None:
        async with cluster_of(1, tmp_path) as rig:
            await rig.next(WorkerUp)
            weights = Weights(rig)
            rig.cluster.accept("m", task("a"))
            for stage, units in ((ENCODE, 1), (DIFFUSE, 8), (DECODE, 1)):
                await weights.run("a", stage, units)
            assert weights.said == []
            assert rig.cluster.most_bytes == 0

    asyncio.run(scene())


@pytest.fixture(scope="module")
def offer(tmp_path_factory: pytest.TempPathFactory) -> Offer:
    from tests.models import checkpoints

    return describe(str(checkpoints.flux(tmp_path_factory.mktemp("flux") / "m")), name="m")


@linux
def test_a_real_worker_weighs_only_the_chunks_it_is_asked_to(offer: Offer, tmp_path: Path) -> None:
    async def scene() -> None:
        async with cluster_of(1, tmp_path, [offer], kind="real") as rig:
            await rig.next(WorkerUp)
            weights = Weights(rig)
            rig.cluster.accept("m", task("a", steps=4))
            encode = await weights.run("a", ENCODE, 1)
            await weights.run("a", DIFFUSE, 3, weigh=False)
            step = await weights.run("a", DIFFUSE, 1)
            decode = await weights.run("a", DECODE, 1)
            assert [seq for seq, _, _ in weights.said] == [encode, step, decode]
            for _, peak_bytes, held_bytes in weights.said:
                assert 0 < peak_bytes < 1 << 30
                assert 0 < held_bytes < MIB
            assert held(weights, encode) <= held(weights, step), "the steps hold what encode made"
            assert rig.cluster.most_bytes > 100 * MIB, "a whole process with torch in it"

    asyncio.run(scene())


def held(weights: Weights, seq: int) -> int:
    return next(held_bytes for number, _, held_bytes in weights.said if number == seq)
