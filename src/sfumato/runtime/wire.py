"""What controller and workers say to each other: tagged structs in msgpack, each behind its length, on a socket pair.

Rules: messages are small (tensors go through the snapshot store, never through here); a worker takes them in the order
in which they were sent; `seq` is the core's number of a chunk. Times are seconds on CLOCK_MONOTONIC, which all
processes of one machine share. Torch-free.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Iterator
from select import select
from typing import Generic, TypeVar

import msgspec

from sfumato.core.events import Progress
from sfumato.core.values import PartId, Rank, Stage
from sfumato.models.family import Task
from sfumato.models.offer import Offer


class Message(msgspec.Struct, frozen=True, kw_only=True, tag=True, array_like=True):
    """Base of all messages."""


# -- controller to worker -------------------------------------------------------------------------------------------


class Setup(Message, frozen=True, kw_only=True):
    """The first message: what the worker is to be. `parts` are loaded before it reports `Up` (None: all there are).

    `memory_bytes` 0 means: find out, `ranks` workers share the machine.
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
    """Run a chunk now. A rank that does not `lead` its group only spends the time.

    `weigh`: find out what it takes of the memory, at the cost of its time (see `weighing`).
    """

    seq: int
    model: str
    stage: Stage
    units: int
    jobs: tuple[Assignment, ...]
    pace: Pace | None = None
    lead: bool = True
    weigh: bool = False


class Stop(Message, frozen=True, kw_only=True):
    """End chunk `seq` after the unit in flight; with `jobs`, only those leave the batch.

    `discard`: the chunk has ended for the controller (it lost a rank of the group): write and report nothing of it.
    """

    seq: int
    jobs: tuple[str, ...] = ()
    discard: bool = False


class Forget(Message, frozen=True, kw_only=True):
    """Free what is held for a job. `ended`: for good, so that its files go too."""

    job: str
    ended: bool


class LoadPart(Message, frozen=True, kw_only=True):
    """Make a weight part resident. Done between chunks: a model takes one call at a time. Its files are read before."""

    part: PartId
    pace_s: float | None = None


class DropPart(Message, frozen=True, kw_only=True):
    """Free a weight part."""

    part: PartId


ToWorker = Setup | Run | Stop | Forget | LoadPart | DropPart


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


class Failed(Message, frozen=True, kw_only=True):
    """A chunk raised; its jobs are no longer held."""

    seq: int
    reason: str


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


FromWorker = Up | Broken | Stepped | Done | Failed | PartLoaded | PartLoadFailed | PartDropped


# -- framing --------------------------------------------------------------------------------------------------------

_ENCODER = msgspec.msgpack.Encoder()
_LENGTH = 4
_M = TypeVar("_M")


def frame(message: Message) -> bytes:
    """A message as it goes over the socket: four bytes of length, then msgpack."""
    body = _ENCODER.encode(message)
    return len(body).to_bytes(_LENGTH, "little") + body


class Reader(Generic[_M]):
    """Cuts a stream of bytes into messages."""

    def __init__(self, decoder: msgspec.msgpack.Decoder[_M]) -> None:
        self._decoder = decoder
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[_M]:
        """The messages that `data` completes."""
        buffer = self._buffer
        buffer += data
        while len(buffer) >= _LENGTH:
            end = _LENGTH + int.from_bytes(buffer[:_LENGTH], "little")
            if len(buffer) < end:
                return
            body = bytes(buffer[_LENGTH:end])
            del buffer[:end]
            yield self._decoder.decode(body)


def controller_reader() -> Reader[FromWorker]:
    """A reader of what workers send."""
    return Reader(msgspec.msgpack.Decoder(FromWorker))


class Line:
    """The worker's end of the socket."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._reader: Reader[ToWorker] = Reader(msgspec.msgpack.Decoder(ToWorker))
        self._ready: deque[ToWorker] = deque()

    def send(self, message: FromWorker) -> None:
        self._socket.sendall(frame(message))

    def receive(self) -> ToWorker:
        """The next message, however long it takes. Raises EOFError when the controller is gone."""
        while not self._ready:
            self._take(self._socket.recv(1 << 16))
        return self._ready.popleft()

    def poll(self, wait_s: float = 0.0) -> ToWorker | None:
        """The next message if it comes within `wait_s`. Raises EOFError when the controller is gone."""
        if not self._ready and select([self._socket], [], [], wait_s)[0]:
            self._take(self._socket.recv(1 << 16))
        return self._ready.popleft() if self._ready else None

    def _take(self, data: bytes) -> None:
        if not data:
            raise EOFError("the controller has closed the line")
        self._ready.extend(self._reader.feed(data))
