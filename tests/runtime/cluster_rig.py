"""A cluster with its events in the order in which they came, and commands that are quick to write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from msgspec.structs import replace

from sfumato.core.commands import Launch
from sfumato.core.events import AnyEvent
from sfumato.core.values import Chunk, Group, ModelSpec, Shape, Stage, StageSpec
from sfumato.models import Offer, Payload, Range, Task
from sfumato.runtime.cluster import ProcessCluster
from sfumato.runtime.crew import ClusterConfig

E = TypeVar("E")


def paced_offer(frame_stride: int = 4, *, packs: bool = False) -> Offer:
    """With `packs` unlike requests are encoded and take steps together, and guided ones take them on two halves too."""
    stage = StageSpec(parts=("net",), degrees=(1, 2, 3, 4, 8), max_batch=8)
    spec = ModelSpec(
        name="m",
        encode=replace(stage, packs=packs),
        diffuse=replace(stage, packs=packs, halves=packs),
        decode=stage,
        part_bytes={"net": 1000},
        frame_stride=frame_stride,
    )
    return Offer(
        spec=spec,
        family="flux",
        path="",
        modality="image",
        sizes=Range(min=16, max=64, step=16),
        frames=Range(min=1, max=81, step=4),
        max_pixels=1 << 20,
        default_shape=Shape(height=16, width=16),
        default_steps=8,
        default_guidance=1.0,
        components={"net": "net"},
    )


def task(job: str, *, steps: int = 8, frames: int = 1, seed: int = 0, guidance: float = 1.0) -> Task:
    shape, payload = Shape(height=32, width=48, frames=frames), Payload(prompt="a fox in the snow", guidance=guidance)
    return Task(id=job, shape=shape, steps=steps, seed=seed, payload=payload)


class Rig:
    """Awaits events of a kind; numbers launches."""

    def __init__(self, cluster: ProcessCluster) -> None:
        self.cluster = cluster
        self.events: list[AnyEvent] = []
        self.steps: list[tuple[str, Stage, int]] = []
        self._inbox: asyncio.Queue[AnyEvent] = asyncio.Queue()
        self._stepped = asyncio.Event()
        self._seq = 0
        self._following: Launch
        cluster.on_event(self._take)
        cluster.on_progress(self._step)

    def _take(self, event: AnyEvent) -> None:
        self.events.append(event)
        self._inbox.put_nowait(event)

    def _step(self, job: str, stage: Stage, done: int) -> None:
        self.steps.append((job, stage, done))
        self._stepped.set()

    async def next(self, kind: type[E]) -> E:
        """The next event, which must be of this kind."""
        event = await asyncio.wait_for(self._inbox.get(), 60)
        assert isinstance(event, kind), event
        return event

    async def step(self, job: str, done: int) -> None:
        """Until a job has that many units of some stage."""
        while not any(name == job and units >= done for name, _, units in self.steps):
            self._stepped.clear()
            await asyncio.wait_for(self._stepped.wait(), 60)

    def launch(
        self,
        jobs: str | Sequence[str],
        stage: Stage,
        units: int,
        group: Group = (0,),
        unit_s: float = 0.001,
        cfg: int = 1,
        onward: int = 0,
    ) -> int:
        names = (jobs,) if isinstance(jobs, str) else tuple(jobs)
        self._seq += 1
        chunk = Chunk(jobs=names, stage=stage, units=units, group=group, cfg=cfg, onward=onward)
        sources = (None,) * len(names)
        launch = Launch(seq=self._seq, chunk=chunk, sources=sources, start_s=0.0, unit_s=unit_s, onward_s=unit_s)
        self.cluster.execute(launch)
        self._seq += onward > 0
        self._following = launch
        return launch.seq

    def agree(self) -> int:
        """The core counts what the last launch goes on with."""
        following = self._following.following
        self.cluster.execute(following)
        return following.seq


@asynccontextmanager
async def cluster_of(count: int, folder: Path, offers: Sequence[Offer] = (), **config: Any) -> AsyncIterator[Rig]:
    """A started cluster, paced if nothing else is said; its snapshots lie in `folder`."""
    settings = ClusterConfig(**{"kind": "paced", "snapshots": str(folder), **config})
    cluster = ProcessCluster(offers or (paced_offer(),), asyncio.get_running_loop().time, settings)
    rig = Rig(cluster)
    try:
        await cluster.start(count)
        yield rig
    finally:
        await cluster.close()
