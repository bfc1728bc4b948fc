"""Memory that does not suffice: who fails, who goes on, and what the controller is told."""

from __future__ import annotations

import asyncio
import socket
import weakref
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from sfumato.core.commands import Launch
from sfumato.core.events import AnyEvent, ChunkDone, ChunkFailed, Progress
from sfumato.core.values import Chunk, Shape, Stage
from sfumato.models import Payload, Task
from sfumato.models.family import State
from sfumato.models.group import Group
from sfumato.runtime import losses
from sfumato.runtime.chunks import Chunks
from sfumato.runtime.groups import Groups
from sfumato.runtime.held import Held
from sfumato.runtime.kept import Keeping
from sfumato.runtime.lines import Line, controller_reader
from sfumato.runtime.losses import Losses
from sfumato.runtime.meshed import MeshedGroup
from sfumato.runtime.names import Names
from sfumato.runtime.paced import PacedModel, PacedState
from sfumato.runtime.snapshots import Snapshots
from sfumato.runtime.units import exhausted
from sfumato.runtime.watch import Watch
from sfumato.runtime.wire import Assignment, Done, Failed, Forget, Message, Run, Stop

from .cluster_rig import paced_offer

SMALL, LARGE = Shape(height=16, width=16), Shape(height=64, width=64)


class Narrow(PacedModel):
    """A model on a device with room for so many pixels at once."""

    room = 32 * 32
    calls: list[int]

    def step(self, states: Sequence[State], group: Group | None = None, cfg: int = 1) -> None:
        pixels = [state.task.shape.height * state.task.shape.width for state in states]
        self.calls.append(len(states))
        if sum(pixels) > self.room:
            raise MemoryError(f"{sum(pixels)} pixels")
        super().step(states, group, cfg)

    def decode(self, state: State, group: Group | None = None) -> bool:
        if state.task.shape == LARGE:
            raise MemoryError("a picture that is too large")
        return super().decode(state, group)


class Rank:
    """One worker's inside, with the controller's end of its line."""

    def __init__(self, folder: Path) -> None:
        self.ours, theirs = socket.socketpair()
        self._line = theirs
        self._reader = controller_reader()
        self.model = Narrow(paced_offer(frame_stride=0))
        self.model.calls = []
        self.held = Held(Snapshots(folder))
        self.groups = Groups(folder / "groups", 0, 5.0, lambda _, mesh: MeshedGroup(mesh))
        self.chunks = Chunks(Line(theirs), {"m": self.model}, self.held, self.groups, deque())

    def run(self, stage: Stage, units: int, *assignments: Assignment) -> Done:
        self.chunks.run(Run(seq=1, model="m", stage=stage, units=units, jobs=assignments, ranks=(0,)), 0.0)
        *_, done = self._reader.feed(self.ours.recv(1 << 16))
        assert isinstance(done, Done)
        return done

    def begin(self, **shapes: Shape) -> None:
        self.run(Stage.ENCODE, 1, *(Assignment(job=job, begin=0, task=task(job, at)) for job, at in shapes.items()))

    def close(self) -> None:
        self.groups.close()
        self.ours.close()
        self._line.close()


def task(job: str, shape: Shape) -> Task:
    return Task(id=job, shape=shape, steps=8, seed=0, payload=Payload(prompt="x"))


def steps(*jobs: str) -> list[Assignment]:
    return [Assignment(job=job, begin=0) for job in jobs]


@pytest.fixture
def rank(tmp_path: Path) -> Rank:  # type: ignore[misc]
    made = Rank(tmp_path)
    yield made  # type: ignore[misc]
    made.close()


def test_a_batch_that_does_not_fit_is_computed_one_by_one(rank: Rank) -> None:
    jobs = [f"j{number}" for number in range(5)]
    rank.begin(**dict.fromkeys(jobs, SMALL))
    done = rank.run(Stage.DIFFUSE, 3, *steps(*jobs))
    assert done.progress == tuple(Progress(job=job, units=3, saved=3) for job in jobs)
    assert rank.model.calls == [5, *[1] * 15], "tried together once"


def test_who_does_not_even_fit_alone_fails_with_the_reason_and_the_others_go_on(rank: Rank) -> None:
    rank.begin(small=SMALL, large=LARGE)
    small, large = rank.run(Stage.DIFFUSE, 3, *steps("small", "large")).progress
    assert small == Progress(job="small", units=3, saved=3)
    assert large.error == "out of memory: 4096 pixels"
    again = rank.run(Stage.DIFFUSE, 5, Assignment(job="small", begin=3))
    assert again.progress[0].units == 5, "the rank has recovered"


def test_where_memory_runs_out_what_only_saves_time_goes_first(rank: Rank, monkeypatch: pytest.MonkeyPatch) -> None:
    shed: list[str] = []
    monkeypatch.setattr(PacedState, "shed", lambda state: shed.append(state.task.id))
    rank.begin(paused=SMALL, one=SMALL, other=SMALL)
    rank.model.room = 16 * 16
    done = rank.run(Stage.DIFFUSE, 1, *steps("one", "other"))
    assert [gain.units for gain in done.progress] == [1, 1]
    assert set(shed) == {"one", "other", "paused"}


def test_a_decode_that_does_not_fit_fails_alone(rank: Rank) -> None:
    rank.model.room = 1 << 20
    rank.begin(small=SMALL, large=LARGE)
    rank.run(Stage.DIFFUSE, 8, *steps("small", "large"))
    small, large = rank.run(Stage.DECODE, 1, *steps("small", "large")).progress
    assert (small.error, large.error) == ("", "out of memory: a picture that is too large")
    assert rank.held._snapshots.read_output("small").shape == (1, 16, 16, 3)


def test_what_says_that_memory_ran_out_is_known_from_what_does_not() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 55)
    assert exhausted(caught.value)
    assert exhausted(MemoryError())
    assert exhausted(torch.cuda.OutOfMemoryError("CUDA out of memory"))
    assert exhausted(torch.AcceleratorError("CUDA error: out of memory"))
    assert exhausted(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"))
    assert exhausted(RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"))
    assert not exhausted(torch.AcceleratorError("CUDA error: an illegal memory access was encountered"))
    assert not exhausted(RuntimeError("shapes do not match"))


def test_a_state_that_is_nowhere_fails_its_job_alone(rank: Rank) -> None:
    rank.begin(here=SMALL)
    here, lost = rank.run(Stage.DIFFUSE, 1, *steps("here", "lost")).progress
    assert (here.units, here.error) == (1, "")
    assert lost.error == "its snapshot is missing"


def test_a_job_that_returns_needs_only_what_has_changed(rank: Rank, tmp_path: Path) -> None:
    rank.begin(mover=SMALL)
    rank.held._leave("mover")
    for left in tmp_path.glob("*.static"):
        left.unlink()  # it is not asked for again
    done = rank.run(Stage.DIFFUSE, 1, Assignment(job="mover", begin=0, fetch=True))
    assert done.progress == (Progress(job="mover", units=1, saved=1),)


def test_of_a_job_that_has_moved_on_nothing_stays_that_a_step_has_made(rank: Rank) -> None:
    rank.begin(mover=SMALL)
    rank.run(Stage.DIFFUSE, 1, *steps("mover"))
    state = weakref.ref(rank.held._states["mover"])
    rank.held.forget(Forget(job="mover", ended=False))
    assert state() is None
    assert rank.held._departed["mover"].task.id == "mover"


# -- the controller ---------------------------------------------------------------------------------------------------


class Told:
    """What the controller does about chunks that go wrong."""

    def __init__(self) -> None:
        self.events: list[AnyEvent] = []
        self.said: list[tuple[int, Message]] = []
        self.watch, self.kept = Watch(), Keeping(self._send)
        self.losses = Losses(
            self.watch, self.kept, Names(self._send), send=self._send, post=self.events.append, clock=lambda: 1.0
        )
        for job, shape in (("small", SMALL), ("large", LARGE)):
            self.kept.accept("m", task(job, shape), paced_offer().spec)
        chunk = Chunk(jobs=("small", "large"), stage=Stage.DIFFUSE, units=4, group=(0, 1))
        self.kept.assign(chunk)
        self.watch.begin(Launch(seq=7, chunk=chunk, sources=(None, None), start_s=0.0, unit_s=0.0))

    def _send(self, rank: int, message: Message) -> None:
        self.said.append((rank, message))


def test_of_a_batch_for_which_a_rank_of_a_group_has_no_memory_the_largest_fails() -> None:
    told = Told()
    told.losses.failed(1, Failed(seq=7, reason="MemoryError", exhausted=True))
    (done,) = told.events
    assert isinstance(done, ChunkDone)
    assert [(gain.job, gain.units, gain.error) for gain in done.progress] == [
        ("small", 0, ""),
        ("large", 0, "out of memory: MemoryError"),
    ]
    assert (0, Stop(seq=7, discard=True)) in told.said
    assert told.kept["small"].home == (), "it goes on from its snapshot"


def test_a_batch_that_raises_fails_as_a_whole() -> None:
    told = Told()
    told.losses.failed(0, Failed(seq=7, reason="ValueError"))
    assert told.events == [ChunkFailed(at=1.0, seq=7, reason="ValueError")]
    told.losses.failed(1, Failed(seq=7, reason="ValueError"))
    assert len(told.events) == 1, "the first word counts"


def test_a_group_that_broke_for_no_reason_gains_nothing_and_blames_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "_REASON_S", 0.0)
    told = Told()

    async def scene() -> None:
        told.losses.severed(7)
        assert not told.events
        while not told.events:
            await asyncio.sleep(0)

    asyncio.run(scene())
    (done,) = told.events
    assert isinstance(done, ChunkDone)
    assert {(gain.units, gain.error) for gain in done.progress} == {(0, "")}
