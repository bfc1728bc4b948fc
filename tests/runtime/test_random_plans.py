"""Thousands of random plans over four processes: groups that overlap, halves of them, batches of unlike requests, ranks
that go on by themselves, halts, cancellations, deaths. Nothing hangs.

The workers are paced, with units of no length: real processes, groups and transfers, and states that end as a picture
from which every path can be told. A real Serving checks that the plans are legal, and its journal must replay.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from pathlib import Path
from random import Random

import msgspec
import numpy as np

from sfumato.assemble import Setup, build, rebuild
from sfumato.core.commands import Halt, Launch, Load
from sfumato.core.events import Arrived
from sfumato.core.journal import Entry, Record
from sfumato.core.policy import Plan
from sfumato.core.values import Chunk, Job, JobState, Rank, Shape, Stage
from sfumato.core.view import View
from sfumato.models import Payload, Task
from sfumato.runtime.cluster import ProcessCluster
from sfumato.runtime.crew import ClusterConfig
from sfumato.runtime.engine import Engine
from sfumato.runtime.paced import PacedModel
from sfumato.runtime.service import Ask, Ticket
from sfumato.sim import replay

from .cluster_rig import paced_offer

RANKS = 4
LAUNCHES = 2500
IN_FLIGHT = 14
STEPS = 24
OFFER = paced_offer(packs=True)
DEATHS = 2  # a request that takes three workers with it fails
PATIENCE_S = 60.0


class Dice:
    """Any legal plan: random groups of free ranks, batches, numbers of units, and halts of whatever runs."""

    name = "dice"
    work_conserving = False

    class Options(msgspec.Struct, frozen=True, kw_only=True):
        seed: int = 0

    def __init__(self, options: Options) -> None:
        self._seed = options.seed

    def plan(self, view: View) -> Plan:
        dice = Random(f"{self._seed} {view.now}")  # equal views, equal plans
        free, ready, launches = list(view.free), list(view.ready()), list[Chunk]()
        dice.shuffle(ready)
        if view.running and dice.random() < 0.6:
            free = []  # wait for more ranks, or no group would ever be wide
        while ready and free:
            group = tuple(sorted(dice.sample(free, dice.randint(1, len(free)))))
            batch = self._batch(view, ready, group, dice.randint(1, 3))
            if not batch:
                break
            launches.append(self._chunk(view, dice, batch, group))
            free = [rank for rank in free if rank not in group]
            ready = [job for job in ready if job not in batch]
        halts = []
        for seq, running in view.running.items():
            if dice.random() < 0.05:
                some = tuple(dice.sample(running.chunk.jobs, dice.randint(0, len(running.chunk.jobs) - 1)))
                halts.append(Halt(seq=seq, jobs=some))
        wake_at = view.now + 0.01 if ready and free else None  # the dice fell badly: once more
        return Plan(launches=tuple(launches), halts=tuple(halts), wake_at=wake_at)

    def _chunk(self, view: View, dice: Random, batch: list[Job], group: tuple[Rank, ...]) -> Chunk:
        stage, guided = batch[0].stage, batch[0].request.guided
        units = dice.randint(1, min([4, *map(view.units_left, batch)]))
        cfg = dice.choice((1, 2, 2)) if stage is Stage.DIFFUSE and guided and len(group) % 2 == 0 else 1
        ends = stage is not Stage.DECODE and all(units == view.units_left(job) for job in batch)
        together = stage is Stage.ENCODE or len({job.shape for job in batch}) == 1  # decode takes one shape
        onward = dice.randint(0, 1) if len(group) == 1 and ends and together else 0
        jobs = tuple(job.id for job in batch)
        return Chunk(jobs=jobs, stage=stage, units=units, group=group, cfg=cfg, onward=onward)

    def _batch(self, view: View, ready: list[Job], group: tuple[Rank, ...], most: int) -> list[Job]:
        able = [job for job in ready if all(view.can_run(job, rank) for rank in group)]
        return [job for job in able if self._joins(view, job, able[0])][:most]

    def _joins(self, view: View, job: Job, lead: Job) -> bool:
        packs = view.models[lead.request.model].stage(lead.stage).packs
        alike = job.stage is lead.stage and job.request.guided == lead.request.guided
        return alike and (packs or job.shape == lead.shape)


class NoTime:
    """Units end at once."""

    def chunk_s(self, launch: Launch) -> tuple[float, float]:
        return 0.0, 0.0

    def load_s(self, load: Load) -> float:
        return 0.0


class Written:
    """The journal, the chunks that it launches, and the shape that each request asks for."""

    def __init__(self) -> None:
        self.entries: list[Entry] = []
        self.chunks: list[Chunk] = []
        self.shapes: dict[str, Shape] = {}

    def __call__(self, entry: Entry) -> None:
        self.entries.append(entry)
        if isinstance(entry, Record):
            self.shapes |= {
                event.request.id: event.request.shape for event in entry.events if isinstance(event, Arrived)
            }
            self.chunks += [command.chunk for command in entry.commands if isinstance(command, Launch)]

    @property
    def launches(self) -> int:
        return len(self.chunks)

    @property
    def halved(self) -> dict[int, int]:
        """Launches on two halves, by the ranks of the group."""
        return Counter(len(chunk.group) for chunk in self.chunks if chunk.cfg == 2)

    @property
    def unlike(self) -> dict[Stage, int]:
        """Launches of more shapes than one."""
        return Counter(chunk.stage for chunk in self.chunks if len({self.shapes[job] for job in chunk.jobs}) > 1)


def ask(number: int) -> Ask:
    shape, guidance = Shape(height=16, width=16, frames=(1, 9)[number % 2]), (1.0, 3.0)[number // 2 % 2]
    return Ask(model="m", prompt="x", shape=shape, steps=STEPS, guidance=guidance, seed=number)


def straight(request: Ask) -> np.ndarray:
    """The picture, made in this process without a stop."""
    model = PacedModel(OFFER)
    payload = Payload(prompt=request.prompt)
    task = Task(id="", shape=request.shape, steps=request.steps, seed=request.seed, payload=payload)
    (state,) = model.encode([task])
    for _ in range(request.steps):
        model.step([state])
    return model.output(state)


def test_thousands_of_random_plans_end_and_every_picture_is_right(tmp_path: Path) -> None:
    written = Written()
    setup = Setup(models={"m": OFFER.spec}, policy="tests.runtime.test_random_plans:Dice", options={"seed": 7})

    async def scene() -> None:
        clock = asyncio.get_running_loop().time
        config = ClusterConfig(kind="paced", snapshots=str(tmp_path), snapshot_every_s=0.0)
        cluster = ProcessCluster([OFFER], clock, config, NoTime())
        engine = Engine(build(setup, written, strict=True), cluster, {"m": OFFER})
        await engine.start(RANKS)
        try:
            await drive(engine, cluster, written)
        finally:
            await engine.stop()

    asyncio.run(scene())
    assert replay(written.entries, rebuild).mismatch is None
    assert min(written.halved[size] for size in (2, 4)) > 10
    assert written.unlike[Stage.DIFFUSE] > 100


async def drive(engine: Engine, cluster: ProcessCluster, written: Written) -> None:
    """Requests until there have been enough launches; some are cancelled, now and then a worker is killed."""
    dice, number, deaths = Random(3), 0, 0
    tickets: set[asyncio.Task[None]] = set()
    while tickets or written.launches < LAUNCHES:
        while len(tickets) < IN_FLIGHT and written.launches < LAUNCHES:
            tickets.add(asyncio.create_task(follow(engine, ask(number), cancel=dice.random() < 0.1)))
            number += 1
        done, tickets = await asyncio.wait(tickets, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
        assert done, f"nothing has ended for {PATIENCE_S:g} s: {engine.stats()}"
        for one in done:
            one.result()
        if written.launches > (deaths + 1) * LAUNCHES / (DEATHS + 1) and deaths < DEATHS:
            deaths += 1
            os.kill(dice.choice(list(cluster.pids().values())), signal.SIGKILL)


async def follow(engine: Engine, request: Ask, *, cancel: bool) -> None:
    """One request to its end."""
    ticket = engine.submit(request)
    if cancel:
        await asyncio.sleep(0)
        while ticket.outcome is None and ticket.done < STEPS // 2:
            await asyncio.sleep(0.005)
        engine.cancel(ticket.id)
    await ticket.ended.wait()
    await check(engine, ticket)
    engine.forget(ticket.id)


async def check(engine: Engine, ticket: Ticket) -> None:
    assert ticket.outcome is not None
    if ticket.outcome.state is JobState.CANCELLED:
        return
    assert ticket.outcome.state is JobState.DONE, ticket.outcome.reason
    assert (await engine.pixels(ticket) == straight(ticket.ask)).all()
