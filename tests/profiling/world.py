"""Two small offers, and a cluster that takes exactly as long as a formula says, on a loop with virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from sfumato.core.commands import Drop, Launch, Load, Order
from sfumato.core.events import AnyEvent, ChunkDone, ChunkFailed, Dropped, Loaded, Progress, WorkerLost, WorkerUp
from sfumato.core.values import ModelSpec, RankInfo, Shape, Stage, StageSpec
from sfumato.models.family import Task
from sfumato.models.offer import Offer, Range

GAP_S = 0.002
LOAD_S = 0.25


def offer(name: str, frames: Range, shape: Shape, stride: int) -> Offer:
    stages = {"encode": StageSpec(max_batch=4), "diffuse": StageSpec(parts=("w",), max_batch=4), "decode": StageSpec()}
    return Offer(
        spec=ModelSpec(name=name, part_bytes={"w": 100}, frame_stride=stride, **stages),
        family="flux",
        path="",
        modality="image",
        sizes=Range(min=64, max=160, step=16),
        frames=frames,
        max_pixels=25600,
        default_shape=shape,
        default_steps=24,
        default_guidance=3.0,
        max_steps=30,
        components={"transformer": "w"},
    )


def elastic(offer: Offer, *degrees: int) -> Offer:
    """The offer, with steps on so many ranks, passes on halves of them, and unlike shapes together."""
    diffuse = replace(offer.spec.diffuse, degrees=degrees, packs=True, halves=True)
    return replace(offer, spec=replace(offer.spec, diffuse=diffuse))


IMAGE = offer("image", Range(min=1, max=1), Shape(height=128, width=128), 0)
VIDEO = offer("video", Range(min=9, max=33, step=4), Shape(height=96, width=96, frames=17), 4)


def weight(launch: Launch, task: Task) -> tuple[int, int]:
    """Peak bytes of a chunk, and the bytes that one of its jobs holds: guided ones twice as many, reusing ones more."""
    size = task.shape.height * task.shape.width * task.shape.frames
    passes = 2 if task.payload.guidance > 1.0 else 1
    many = size * len(launch.chunk.jobs) * passes * (1 + launch.chunk.group[0])
    each = size * (1 + KEPT.get(task.payload.quality, 0))
    return 100 * many, passes * each + (1000 if launch.chunk.stage is Stage.DECODE else 0)


KEPT = {"high": 6, "fast": 5}  # a pass, in sizes


REUSED = 0.4  # what reuse leaves of a step
UNLIKE = 1.25  # what a batch of unlike shapes takes over one of equals of their mean size


def unit_s(launch: Launch, shapes: Sequence[Shape]) -> float:
    chunk = launch.chunk
    sizes = [shape.height * shape.width * (1 if chunk.stage is Stage.DECODE else shape.frames) for shape in shapes]
    unlike = UNLIKE if len(set(shapes)) > 1 else 1.0
    spread = (1 + chunk.group[0] / 10) / len(chunk.group) ** (0.5 if chunk.cfg == 1 else 0.75)
    return 1e-6 * sum(sizes) / len(sizes) * (1 + len(sizes)) * unlike * spread


class FormulaCluster:
    """`Cluster` for `Bench`: the first chunk of a job is slow, as it is on a device that warms up."""

    def __init__(self, ranks: int, device: str = "cpu") -> None:
        self.tasks: dict[str, Task] = {}
        self.launches: list[tuple[float, Launch]] = []
        self.fails: Callable[[Launch], bool] = lambda _: False
        self.loses = False
        self.pace: Callable[[float], float] = lambda _: 1.0
        self.weighs = True
        self.weighed: list[Launch] = []
        self._ranks = ranks
        self._device = device
        self._left: dict[str, int] = {}
        self._stepped: set[str] = set()

    def on_event(self, callback: Callable[[AnyEvent], None]) -> None:
        self._post = callback

    def on_weight(self, callback: Callable[[int, int, int], None]) -> None:
        self._weight = callback

    def start(self) -> None:
        for rank in range(self._ranks):
            self._post(WorkerUp(at=0.0, info=RankInfo(rank=rank, device=self._device)))

    def accept(self, model: str, task: Task) -> None:
        self.tasks[task.id] = task
        self._left[task.id] = task.steps

    def forget(self, job: str) -> None:
        del self.tasks[job]

    def execute(self, command: Order, *, weigh: bool = False) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        match command:
            case Launch():
                self.launches.append((now, command))
                if weigh:
                    self.weighed.append(command)
                self._run(command, loop)
                if weigh and self.weighs:
                    self._weight(command.seq, *weight(command, self.tasks[command.chunk.jobs[0]]))
            case Drop(rank=rank, part=part):
                loop.call_later(0.1, self._post, Dropped(at=now + 0.1, rank=rank, part=part))
            case Load(rank=rank, part=part):
                loop.call_later(LOAD_S, self._post, Loaded(at=now + LOAD_S, rank=rank, part=part, seconds=LOAD_S))

    def _run(self, launch: Launch, loop: asyncio.AbstractEventLoop) -> None:
        chunk = launch.chunk
        if self.fails(launch):
            lost = WorkerLost(at=loop.time(), rank=chunk.group[0])
            loop.call_soon(
                self._post, lost if self.loses else ChunkFailed(at=loop.time(), seq=launch.seq, reason="out of memory")
            )
            return
        seconds = chunk.units * unit_s(launch, [self.tasks[job].shape for job in chunk.jobs]) * self.pace(loop.time())
        if chunk.stage is Stage.DIFFUSE:
            if self.tasks[chunk.jobs[0]].payload.quality != "exact":
                seconds *= REUSED
            for job in chunk.jobs:
                self._left[job] -= chunk.units
                assert self._left[job] >= 0, "more steps than the job has"
            if not self._stepped & set(chunk.jobs):
                seconds *= 5  # warming up
            self._stepped.update(chunk.jobs)
        end = loop.time() + seconds + GAP_S
        progress = tuple(Progress(job=job, units=chunk.units, saved=0) for job in chunk.jobs)
        loop.call_at(end, self._post, ChunkDone(at=end, seq=launch.seq, progress=progress, seconds=seconds))
