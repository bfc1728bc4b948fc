"""Groups of ranks: how soon they are there, what carries their tensors how fast, how soon the death of one is over.

An all-to-all of 4 kB and of 1 MB a part by the mesh (our sockets) and by gloo, in processes of their own with one
thread each, two and four of them: with two cores the four are more than there is room for. Then four paced workers run
a chunk of long steps; one is killed, and the three that are left are given a new one: from the kill to its first step.
"""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from bench.figure import Figure, Result, main, ms
from bench.members import found_by
from bench.rig import play
from sfumato.core.commands import Launch
from sfumato.core.events import AnyEvent, ChunkDone, WorkerLost, WorkerUp
from sfumato.core.values import Chunk, Group, ModelSpec, Shape, Stage, StageSpec
from sfumato.models import Offer, Payload, Range, Task
from sfumato.runtime.cluster import ProcessCluster
from sfumato.runtime.crew import ClusterConfig

PARTS = {"4 kB": 1 << 10, "1 MB": 1 << 18}  # floats
KINDS = ("mesh", "gloo")
UNIT_S = 0.05
Found = dict[str, float]


def measure(quick: bool) -> Result:
    rounds = 100 if quick else 1000
    carried = {size: _carried(size, rounds) for size in (2, 4)}
    over_s = [play(_death) for _ in range(2 if quick else 10)]
    figures = [
        Figure(name=f"{size} ranks: all-to-all of {part} by the mesh", value=ms(found[f"mesh {part}"]), unit="ms")
        for size, found in carried.items()
        for part in PARTS
    ]
    figures += [
        Figure(
            name=f"{size} ranks: the same by gloo, times as long",
            value=round(median(found[f"gloo {part}"] / found[f"mesh {part}"] for part in PARTS), 1),
        )
        for size, found in carried.items()
    ]
    figures.append(Figure(name="a group is there", value=ms(carried[4]["mesh up"]), unit="ms", limit=50.0))
    figures.append(
        Figure(name="a rank is killed: until the others step", value=ms(max(over_s)), unit="ms", limit=1000.0)
    )
    details: dict[str, Any] = {f"{size} ranks, ms": {k: ms(v) for k, v in carried[size].items()} for size in carried}
    return Result(figures=tuple(figures), details=details | {"killed_ms": [ms(one) for one in over_s]})


def _carried(size: int, rounds: int) -> Found:
    """Seconds of what the members of a group do, of its slowest member."""
    found: list[Found] = found_by(_member, size, rounds)
    return {what: max(one[what] for one in found) for what in found[0]}


def _member(rank: int, size: int, folder: str, rounds: int, out: Any) -> None:
    import torch

    from sfumato.runtime.collectives import carrier
    from sfumato.runtime.meshes import Door

    torch.set_num_threads(1)
    door, ranks, found = Door(Path(folder), rank, 60.0), tuple(range(size)), Found()
    door.meet("first", ranks, lambda: False)  # all are here
    for kind in KINDS:
        began = time.perf_counter()
        mesh = door.meet(kind, ranks, lambda: False)
        group = carrier(kind, mesh, Path(folder) / f"{kind}.store", "cpu", 60.0)
        group.all_gather(torch.zeros(1))
        found[f"{kind} up"] = time.perf_counter() - began
        for part, floats in PARTS.items():
            parts = torch.zeros(size, floats)
            took = []
            for _ in range(rounds):
                began = time.perf_counter()
                group.all_to_all(parts)
                took.append(time.perf_counter() - began)
            found[f"{kind} {part}"] = median(took)
        mesh.gather(b"")
    out.send(found)


async def _death() -> float:
    """Seconds from the kill of one of four to a step of the other three."""
    loop = asyncio.get_running_loop()
    events: asyncio.Queue[AnyEvent] = asyncio.Queue()
    with tempfile.TemporaryDirectory(prefix="sfumato-bench-") as folder:
        cluster = ProcessCluster([_offer()], loop.time, ClusterConfig(kind="paced", snapshots=folder))
        cluster.on_event(events.put_nowait)
        stepped = asyncio.Event()
        cluster.on_progress(lambda *_: stepped.set())
        await cluster.start(4)
        try:
            task = Task(id="a", shape=Shape(height=16, width=16), steps=1000, seed=0, payload=Payload(prompt="x"))
            cluster.accept("m", task)
            for _ in range(4):
                await _next(events, WorkerUp)
            cluster.execute(_launch(1, Stage.ENCODE, 1, (0,)))
            await _next(events, ChunkDone)
            cluster.execute(_launch(2, Stage.DIFFUSE, 500, (0, 1, 2, 3)))
            await stepped.wait()
            stepped.clear()
            began = loop.time()
            os.kill(cluster.pids()[3], signal.SIGKILL)
            await _next(events, WorkerLost)
            stepped.clear()
            cluster.execute(_launch(3, Stage.DIFFUSE, 100, (0, 1, 2)))
            await stepped.wait()
            return loop.time() - began
        finally:
            await cluster.close()


async def _next(events: asyncio.Queue[AnyEvent], kind: type[AnyEvent]) -> None:
    event = await events.get()
    assert isinstance(event, kind), event


def _launch(seq: int, stage: Stage, units: int, group: Group) -> Launch:
    chunk = Chunk(jobs=("a",), stage=stage, units=units, group=group)
    return Launch(seq=seq, chunk=chunk, sources=(None,), start_s=0.0, unit_s=UNIT_S)


def _offer() -> Offer:
    stage = StageSpec(degrees=(1, 2, 3, 4))
    return Offer(
        spec=ModelSpec(name="m", encode=stage, diffuse=stage, decode=stage),
        family="flux",
        path="",
        modality="image",
        sizes=Range(min=16, max=64, step=16),
        frames=Range(min=1, max=1),
        max_pixels=1 << 20,
        default_shape=Shape(height=16, width=16),
        default_steps=8,
        default_guidance=1.0,
        components={},
    )


if __name__ == "__main__":
    main(measure)
