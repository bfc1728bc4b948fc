"""What the cluster knows of the jobs: their tasks, how far the core thinks that they are, and who holds their states.

Rules: all ranks of a job's last chunk hold its state, and nobody else; whoever is to run it besides them takes it from
the snapshots. A lost rank ends the whole home: what the others hold may be from before or after its last step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from msgspec.structs import replace

from sfumato.core.values import STAGES, Chunk, Group, ModelSpec, Rank, Shape, Stage
from sfumato.models.family import Task
from sfumato.runtime.wire import Assignment, Forget, Message

# A request whose chunks lose this many workers is taken to be the cause, and fails.
MAX_LOSSES = 3


class Kept:
    """A job from `accept` to `forget`. `stage` and `done` move as the core moves them."""

    def __init__(self, model: str, task: Task, spec: ModelSpec) -> None:
        self.model = model
        self.task = task
        self.stage = Stage.ENCODE
        self.done = 0
        self.home: Group = ()
        self.known: set[Rank] = set()  # ranks that have something of it
        self.losses = 0  # workers that died while they ran it
        self._spec = spec

    def lower(self, shape: Shape, steps: int) -> None:
        """Admission accepted less than was asked for."""
        self.task = replace(self.task, shape=shape, steps=steps)

    def begin(self, stage: Stage) -> int:
        """Units of `stage` that are done when a chunk of it begins."""
        return self.done if stage is self.stage else 0

    def advance(self, stage: Stage, units: int) -> None:
        """A chunk ended with so many units."""
        self.done = self.begin(stage) + units
        self.stage = stage
        if self.done >= self._total:
            if stage is Stage.DECODE:
                self.home = ()  # only its output is left, in the store
            else:
                self.stage, self.done = STAGES[STAGES.index(stage) + 1], 0

    @property
    def delivered(self) -> bool:
        """Whether its output is all that is wanted of it now."""
        return self.stage is Stage.DECODE and self.done >= self._total

    def lose(self, saved: int | None) -> None:
        """The state is lost; a snapshot has `saved` steps.

        A snapshot of all the steps counts for one less while the core waits for the end of the stage: a stage ends by
        a chunk, which then finds nothing left to compute.
        """
        if self.stage is Stage.DIFFUSE:
            self.done = max(self.done, min(saved or 0, self._total - 1))
        else:
            self.done = 0

    @property
    def _total(self) -> int:
        return self._spec.units(self.stage, self.task.shape, self.task.steps)


class Keeping:
    """All jobs. `send` takes what ranks are to forget."""

    def __init__(self, send: Callable[[Rank, Message], None]) -> None:
        self._send = send
        self._jobs: dict[str, Kept] = {}

    def accept(self, model: str, task: Task, spec: ModelSpec) -> None:
        self._jobs[task.id] = Kept(model, task, spec)

    def __getitem__(self, job: str) -> Kept:
        return self._jobs[job]

    def get(self, job: str) -> Kept | None:
        return self._jobs.get(job)

    def assign(self, chunk: Chunk) -> dict[Rank, tuple[Assignment, ...]]:
        """What each rank of a chunk's group is told of its jobs; from now on the group holds their states."""
        assigned: dict[Rank, list[Assignment]] = {rank: [] for rank in chunk.group}
        encodes = chunk.stage is Stage.ENCODE
        for job in chunk.jobs:
            kept = self._jobs[job]
            begin, task = kept.begin(chunk.stage), kept.task if encodes else None
            for rank, assignments in assigned.items():
                fetch = not encodes and rank not in kept.home
                assignments.append(Assignment(job=job, begin=begin, task=task, fetch=fetch))
            for rank in kept.home:
                if rank not in chunk.group:
                    self._send(rank, Forget(job=job, ended=False))
            kept.home = chunk.group
            kept.known.update(chunk.group)
        return {rank: tuple(assignments) for rank, assignments in assigned.items()}

    def dissolve(self, jobs: Iterable[str]) -> None:
        """Nobody holds these jobs' states from now on; their snapshots stay."""
        for job in jobs:
            kept = self._jobs.get(job)
            if kept is not None:
                for rank in kept.home:
                    self._send(rank, Forget(job=job, ended=False))
                kept.home = ()

    def forget(self, job: str) -> bool:
        """Free everything that ranks have of a job, for good; False if it is unknown."""
        kept = self._jobs.pop(job, None)
        for rank in sorted(kept.known) if kept else ():
            self._send(rank, Forget(job=job, ended=True))
        return kept is not None

    def lose(self, rank: Rank, saved_units: Callable[[str], int | None]) -> tuple[tuple[str, int], ...]:
        """A rank is gone: (job, units of its stage that its snapshot holds) of all whose home it was part of."""
        saved = []
        for job, kept in self._jobs.items():
            if rank in kept.home:
                self.dissolve((job,))
                kept.lose(saved_units(job))
                saved.append((job, kept.done))
            kept.known.discard(rank)
        return tuple(saved)

    def blame(self, jobs: Iterable[str]) -> tuple[str, ...]:
        """A worker died while it ran these jobs: those of them that have taken too many with them."""
        culprits = []
        for job in jobs:
            kept = self._jobs.get(job)
            if kept is not None:
                kept.losses += 1
                culprits += [job] * (kept.losses >= MAX_LOSSES)
        return tuple(culprits)

    def largest(self, jobs: Iterable[str]) -> str:
        """Of these jobs the one whose output is the largest."""
        return max(jobs, key=lambda job: _pixels(self._jobs[job].task.shape) if job in self._jobs else 0)


def _pixels(shape: Shape) -> int:
    return shape.height * shape.width * shape.frames
