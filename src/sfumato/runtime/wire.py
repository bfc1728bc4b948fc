"""What controller and workers say to each other: tagged structs in msgpack, carried by `lines`.

Rules: messages are small (tensors go through the snapshot store or a group, never through here); a worker takes them
in the order in which they were sent; `seq` is the core's number of a chunk. Times are seconds on CLOCK_MONOTONIC,
which all processes of one machine share. Torch-free.
"""

from __future__ import annotations

import msgspec

from sfumato.core.events import Progress
from sfumato.core.values import Group, PartId, Rank, Stage
from sfumato.models.family import Task
from sfumato.models.offer import Offer


class Message(msgspec.Struct, frozen=True, kw_only=True, tag=True, array_like=True):
    """Base of all messages."""


# -- controller to worker -------------------------------------------------------------------------------------------


class Setup(Message, frozen=True, kw_only=True):
    """The first message: what the worker is to be. `parts` are loaded before it reports `Up` (None: see `startup`).

    `memory_bytes` 0 means: find out, `ranks` workers share the machine. A member of a group that says nothing for
    `patience_s` is given up; `collectives` carry what they compute.
    """

    rank: Rank
    ranks: int
    kind: str
    device: str
    dtype: str | None
    threads: int
    nice: int
    memory_bytes: int
    snapshots: str
    snapshot_every_s: float
    patience_s: float
    collectives: str
    offers: tuple[Offer, ...]
    parts: tuple[PartId, ...] | None


class Assignment(Message, frozen=True, kw_only=True):
    """One job of a chunk. `begin` is how many units of the stage the controller counts as done.

    Its state is made from `task` (encode), or thawed from the store (`fetch`), or is already held by the worker.
    """

    job: str
    begin: int
    task: Task | None = None
    fetch: bool = False


class Pace(Message, frozen=True, kw_only=True):
    """How long a paced chunk takes: its units begin `start_s` after `sent_at`, at the earliest."""

    sent_at: float
    start_s: float
    unit_s: float


class Run(Message, frozen=True, kw_only=True):
    """Run a chunk now, on `ranks`: all of them get it, and the first one leads.

    `group` names what they are connected by: a name is for these ranks, and never comes back after the group broke.
    `weigh`: find out what the chunk takes of the memory, at the cost of its time (see `weighing`).
    `then` is run next if all jobs have come to the end of this one: their next stage, on one rank.
    """

    seq: int
    model: str
    stage: Stage
    units: int
    jobs: tuple[Assignment, ...]
    ranks: Group
    group: str = ""
    cfg: int = 1
    pace: Pace | None = None
    weigh: bool = False
    then: Run | None = None


class Meet(Message, frozen=True, kw_only=True):
    """Make a group now, so that its first chunk need not wait for it. All of `ranks` get this."""

    group: str
    ranks: Group


class Leave(Message, frozen=True, kw_only=True):
    """Close the group of these ranks. All of them get this."""

    ranks: Group


class Stop(Message, frozen=True, kw_only=True):
    """End chunk `seq` after the unit in flight; with `jobs`, only those leave the batch. The rank that leads decides.

    `discard`: the chunk has ended for the controller (it lost a rank of the group): write and report nothing of it.
    """

    seq: int
    jobs: tuple[str, ...] = ()
    discard: bool = False


class Forget(Message, frozen=True, kw_only=True):
    """A job's state is not current here any more. `ended`: nor will it be, free everything, its files too."""

    job: str
    ended: bool


class LoadPart(Message, frozen=True, kw_only=True):
    """Make a weight part resident. Done between chunks: a model takes one call at a time. Its files are read before."""

    part: PartId
    pace_s: float | None = None


class DropPart(Message, frozen=True, kw_only=True):
    """Free a weight part."""

    part: PartId


ToWorker = Setup | Run | Meet | Leave | Stop | Forget | LoadPart | DropPart


# -- worker to controller -------------------------------------------------------------------------------------------


class Up(Message, frozen=True, kw_only=True):
    """Ready for work."""

    pid: int
    memory_bytes: int
    parts: tuple[PartId, ...]


class Broken(Message, frozen=True, kw_only=True):
    """The worker could not start, and exits."""

    reason: str


class Stepped(Message, frozen=True, kw_only=True):
    """A unit is done and more follow. `done` are the units of the stage that each job of the run has now."""

    seq: int
    done: tuple[int, ...]


class Done(Message, frozen=True, kw_only=True):
    """A chunk ended. `seconds` is the time of the `computed` units alone.

    `start_s`: from the receipt of the Run to the first unit. `idle_s`: from the previous Done to the receipt of the
    Run. `gap_s`: from the previous chunk's last unit to this one's first, so with the writing of snapshots.
    Of a chunk that was weighed: `peak_bytes` beyond what was there before it, `held_bytes` a job; 0 is unknown.
    Of one that brought a job to its end: `most_bytes`, the most that the worker has ever taken.
    `onward`: it goes on with what the Run had for `then`.
    """

    seq: int
    progress: tuple[Progress, ...]
    computed: int
    seconds: float
    start_s: float
    idle_s: float
    gap_s: float
    peak_bytes: int = 0
    held_bytes: int = 0
    most_bytes: int = 0
    onward: bool = False


class Failed(Message, frozen=True, kw_only=True):
    """A chunk raised on this rank; its jobs are no longer held here. `exhausted`: for want of memory."""

    seq: int
    reason: str
    exhausted: bool = False


class Severed(Message, frozen=True, kw_only=True):
    """The group of a chunk broke under this rank: another one died, or raised and says so itself."""

    seq: int


class PartLoaded(Message, frozen=True, kw_only=True):
    """A weight part is resident."""

    part: PartId
    seconds: float


class PartLoadFailed(Message, frozen=True, kw_only=True):
    """A weight part could not be loaded."""

    part: PartId
    reason: str


class PartDropped(Message, frozen=True, kw_only=True):
    """A weight part is gone."""

    part: PartId


FromWorker = Up | Broken | Stepped | Done | Failed | Severed | PartLoaded | PartLoadFailed | PartDropped
