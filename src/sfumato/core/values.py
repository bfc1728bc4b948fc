"""The nouns of the core: what was asked, how far it has got, and what the pool is made of.

All are immutable `msgspec.Struct`s (built and copied in about 0.15 us, and their own JSON codec; see
docs/decisions/0002). Seconds are floats on the driver's clock, bytes are ints, a group is a sorted tuple of ranks.
Nothing here knows about prompts, tensors, clocks or policies.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

Rank = int
Group = tuple[int, ...]
PartId = str
StageSeconds = tuple[float, float, float]
"""Of encode, diffuse and decode."""
EXACT = "exact"
"""The quality of requests that compute every step whole."""


class Value(msgspec.Struct, frozen=True, kw_only=True):
    """Base of all core values: immutable and keyword-only."""


class Stage(StrEnum):
    """The three stages of a request, in their order."""

    ENCODE = "encode"
    DIFFUSE = "diffuse"
    DECODE = "decode"


STAGES: tuple[Stage, ...] = tuple(Stage)


class JobState(StrEnum):
    """Where a job stands; the legal moves are `lifecycle.TRANSITIONS`."""

    WAITING = "waiting"  # not started yet
    RUNNING = "running"  # in a chunk
    PAUSED = "paused"  # started, between two chunks
    DONE = "done"  # delivered by its deadline, or had none
    LATE = "late"  # delivered after its deadline
    REJECTED = "rejected"  # refused at admission
    CANCELLED = "cancelled"  # by its client
    FAILED = "failed"  # a chunk raised, or its weights cannot be loaded; the reason is in the outcome


class Shape(Value, frozen=True, kw_only=True):
    """Output size in pixels; `frames` is 1 for an image."""

    height: int
    width: int
    frames: int = 1

    def __str__(self) -> str:
        size = f"{self.width}x{self.height}"
        return size if self.frames == 1 else f"{size}x{self.frames}"


class Request(Value, frozen=True, kw_only=True):
    """What a client asked; never changes. The prompt stays with the driver, outside core and journal.

    `guided` requests take two model passes a step (classifier-free guidance). With a `quality` other than "exact" steps
    may stand in for the next ones, and then take less. `deadline` is absolute, None means best effort. Of two requests
    that a policy finds equal, the higher `priority` goes first.
    """

    id: str
    model: str
    shape: Shape
    steps: int
    arrived_at: float
    deadline: float | None = None
    slo: str = "default"
    priority: int = 0
    guided: bool = False
    quality: str = EXACT
    degradable: bool = False
    seed: int = 0


class Job(Value, frozen=True, kw_only=True):
    """A request's progress: `done` of the current `stage`'s units are computed, `saved` of them survive a lost worker.

    `shape` and `steps` are what admission accepted. `home` is the group that holds its latent (None: only its
    snapshot, or nothing yet). For encode, diffuse and decode, `stage_s` is seconds spent in chunks so far, and `busy_s`
    rank-seconds: its share of the units' time where it is one of a batch, times the ranks of the group.
    """

    request: Request
    shape: Shape
    steps: int
    stage: Stage = Stage.ENCODE
    done: int = 0
    saved: int = 0
    state: JobState = JobState.WAITING
    home: Group | None = None
    chunk: int | None = None
    first_launch: float | None = None
    launches: int = 0
    stage_s: StageSeconds = (0.0, 0.0, 0.0)
    busy_s: StageSeconds = (0.0, 0.0, 0.0)

    @property
    def id(self) -> str:
        return self.request.id


class Chunk(Value, frozen=True, kw_only=True):
    """One unit of GPU work: advance `jobs` (a batch) by `units` of `stage` on the ranks of `group`.

    `cfg` of the group's ranks are spent on running guided and unguided passes side by side (1 or 2); the
    sequence-parallel degree is len(group) / cfg. `onward`, on one rank and where `units` are all that is left of the
    stage: units of the next one that the rank goes on with, without being asked again.
    """

    jobs: tuple[str, ...]
    stage: Stage
    units: int
    group: Group
    cfg: int = 1
    onward: int = 0

    @property
    def following(self) -> Chunk:
        """What `onward` stands for."""
        stage = STAGES[STAGES.index(self.stage) + 1]
        return Chunk(jobs=self.jobs, stage=stage, units=self.onward, group=self.group)


class Running(Value, frozen=True, kw_only=True):
    """A chunk that was launched and has not ended. `seq` is its number, unique and increasing.

    `stays`: it was launched where its requests were or begin, so that nothing but control comes before its first unit.
    """

    seq: int
    chunk: Chunk
    started_at: float
    start_s: float
    unit_s: float
    halted: bool = False
    stays: bool = False

    @property
    def ends_at(self) -> float:
        """Predicted end if it is not halted."""
        return self.started_at + self.start_s + self.chunk.units * self.unit_s


class RankInfo(Value, frozen=True, kw_only=True):
    """A worker process with one device. `memory_bytes` is what weights and jobs may take together."""

    rank: Rank
    device: str = "cpu"
    node: str = "local"
    memory_bytes: int = 1 << 40


class StageSpec(Value, frozen=True, kw_only=True):
    """What a model's stage needs and allows: weight parts, sequence-parallel degrees, largest batch.

    A stage that `packs` takes requests of different shapes in one batch; otherwise a batch has one shape. Where it has
    `halves`, guided requests may run on twice a degree's ranks: one half takes the guided pass, the other the unguided.
    """

    parts: tuple[PartId, ...] = ()
    degrees: tuple[int, ...] = (1,)
    max_batch: int = 1
    packs: bool = False
    halves: bool = False

    def layouts(self, guided: bool) -> tuple[tuple[int, int], ...]:
        """(ranks, cfg) of every group that a request can run on, in ascending order."""
        halved = [(2 * degree, 2) for degree in self.degrees] if guided and self.halves else []
        return tuple(sorted([*((degree, 1) for degree in self.degrees), *halved]))


def decode_units(frames: int, stride: int, lone_first: bool = True) -> int:
    """In how many units a video of that many frames is decoded by `stride` frames at a time; see ModelSpec."""
    if lone_first:
        return (frames - 1) // stride + 1
    return max(-(-(frames - 1) // stride), 1)


class ModelSpec(Value, frozen=True, kw_only=True):
    """What the planner may know of a model: its three stages and the bytes of its weight parts.

    `frame_stride` > 0: decode proceeds by so many frames a unit and can be paused between units; the first frame is a
    unit of its own unless not `lone_first`, when it comes with the next ones. 0: decode is one unit.
    """

    name: str
    encode: StageSpec = StageSpec()
    diffuse: StageSpec = StageSpec()
    decode: StageSpec = StageSpec()
    part_bytes: dict[PartId, int] = {}
    frame_stride: int = 0
    lone_first: bool = True

    def stage(self, stage: Stage) -> StageSpec:
        if stage is Stage.DIFFUSE:
            return self.diffuse
        return self.encode if stage is Stage.ENCODE else self.decode

    def units(self, stage: Stage, shape: Shape, steps: int) -> int:
        """Units of `stage`: encode 1, diffuse its steps, decode by frames (or 1)."""
        if stage is Stage.DIFFUSE:
            return steps
        if stage is Stage.DECODE and self.frame_stride:
            return decode_units(shape.frames, self.frame_stride, self.lone_first)
        return 1


class Outcome(Value, frozen=True, kw_only=True):
    """How a request ended: exactly one a request. `at` is the instant the last unit was done or the end was decided.

    `field` names what its client has to change where it could never be served as it was asked.
    """

    request: str
    state: JobState
    at: float
    arrived_at: float
    deadline: float | None
    first_launch: float | None = None
    stage_s: StageSeconds = (0.0, 0.0, 0.0)
    busy_s: StageSeconds = (0.0, 0.0, 0.0)
    reason: str = ""
    field: str = ""

    @property
    def met(self) -> bool:
        """Delivered, and by its deadline if it had one."""
        return self.state is JobState.DONE
