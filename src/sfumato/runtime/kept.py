"""What the cluster knows of a job: its task, how far the core thinks that it is, and who holds its state."""

from __future__ import annotations

from msgspec.structs import replace

from sfumato.core.values import STAGES, Group, ModelSpec, Rank, Shape, Stage
from sfumato.models.family import Task


class Kept:
    """A job from `accept` to `forget`. `stage` and `done` move as the core moves them."""

    def __init__(self, model: str, task: Task, spec: ModelSpec) -> None:
        self.model = model
        self.task = task
        self.stage = Stage.ENCODE
        self.done = 0
        self.home: Group | None = None
        self.losses = 0  # workers that died while they ran it
        self._spec = spec

    def lower(self, shape: Shape, steps: int) -> None:
        """Admission accepted less than was asked for."""
        self.task = replace(self.task, shape=shape, steps=steps)

    @property
    def rank(self) -> Rank | None:
        """Who holds the state."""
        return self.home[0] if self.home else None

    def begin(self, stage: Stage) -> int:
        """Units of `stage` that are done when a chunk of it begins."""
        return self.done if stage is self.stage else 0

    def advance(self, stage: Stage, units: int) -> None:
        """A chunk ended with so many units."""
        self.done = self.begin(stage) + units
        self.stage = stage
        if self.done >= self._total:
            if stage is Stage.DECODE:
                self.home = None  # only its output is left, in the store
            else:
                self.stage, self.done = STAGES[STAGES.index(stage) + 1], 0

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
