"""Small worlds for the published policies: ranks with all weights, requests, and who ran where for how long."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from sfumato.assemble import policy_named
from sfumato.core.commands import Launch
from sfumato.core.cost import Work
from sfumato.core.events import AnyEvent, Arrived, WorkerUp
from sfumato.core.journal import Entry, Journal, Record
from sfumato.core.serving import Serving
from sfumato.core.values import Outcome, RankInfo, Request, Shape, Stage
from sfumato.sim import Simulation
from tests.costs import LARGE, MODELS, PARTS, PlainCosts


class SharedCosts(PlainCosts):
    """A batch takes a quarter more for each member after the first."""

    def unit_s(self, work: Work) -> float:
        shapes = work.shapes
        alone_s = super().unit_s(Work(model=work.model, stage=work.stage, shapes=shapes[:1], degree=work.degree))
        return alone_s * (1 + (len(shapes) - 1) / 4)


class Run:
    """What came of a script under a policy: `starts` are (time, launch) of denoising, in order."""

    def __init__(self, name: str, ranks: int, requests: Sequence[Request], costs: PlainCosts, options: Any) -> None:
        entries: list[Entry] = []
        serving = Serving(
            models=MODELS,
            costs=costs,
            policy=policy_named(name, options),
            fallback=policy_named("fixed"),
            journal=Journal(entries.append),
            strict=True,
        )
        script: list[AnyEvent] = [WorkerUp(at=0.0, info=RankInfo(rank=rank), parts=PARTS) for rank in range(ranks)]
        script += [Arrived(at=request.arrived_at, request=request) for request in requests]
        simulation = Simulation(serving, costs, script)
        self.outcomes: dict[str, Outcome] = {outcome.request: outcome for outcome in simulation.run()}
        self.entries = entries
        self.met = {job for job, outcome in self.outcomes.items() if outcome.met}
        self.starts = [
            (entry.events[-1].at, command)
            for entry in entries
            if isinstance(entry, Record)
            for command in entry.commands
            if isinstance(command, Launch) and command.chunk.stage is Stage.DIFFUSE
        ]

    def of(self, job: str) -> list[tuple[float, Launch]]:
        return [(at, launch) for at, launch in self.starts if job in launch.chunk.jobs]

    def degrees(self, job: str) -> list[int]:
        """The degrees of its chunks, repeats left out."""
        found: list[int] = []
        for _, launch in self.of(job):
            if not found or found[-1] != len(launch.chunk.group):
                found.append(len(launch.chunk.group))
        return found

    def order(self) -> list[str]:
        """Who denoised after whom, repeats left out."""
        found: list[str] = []
        for _, launch in self.starts:
            if not found or found[-1] != launch.chunk.jobs[0]:
                found.append(launch.chunk.jobs[0])
        return found

    def moves(self, job: str) -> int:
        """Chunks after the first that began on other ranks than the one before ended on."""
        groups = [launch.chunk.group for _, launch in self.of(job)]
        return sum(before != after for before, after in pairwise(groups))


def run(name: str, ranks: int, *requests: Request, costs: PlainCosts | None = None, **options: Any) -> Run:
    """Simulate without noise; every plan must be legal."""
    return Run(name, ranks, requests, costs or PlainCosts(), options)


def image(name: str, slo_s: float | None, *, at: float = 0.0, shape: Shape = LARGE, steps: int = 8) -> Request:
    """A LARGE step takes 1/4, 1/6 and 1/9 s on 1, 2 and 4 ranks."""
    deadline = None if slo_s is None else at + slo_s
    return Request(id=name, model="image", shape=shape, steps=steps, arrived_at=at, deadline=deadline)


def video(name: str, slo_s: float, *, at: float = 0.0, steps: int = 8) -> Request:
    """A step takes 1, 2/3 and 4/9 s on 1, 2 and 4 ranks; decode takes 5/16 s."""
    shape = Shape(height=256, width=256, frames=4)
    return Request(id=name, model="video", shape=shape, steps=steps, arrived_at=at, deadline=at + slo_s)
