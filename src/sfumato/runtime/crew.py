"""The worker processes: brought up together, heard, missed when they die, and brought up again.

Rules: a worker that cannot start at first is an error for whoever starts the server; later it is tried again, with
longer and longer waits, and given up after five failures in a row. Nothing here knows chunks or jobs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Literal

from sfumato.core.values import PartId, Rank, Value
from sfumato.errors import WorkerError
from sfumato.models.offer import Offer
from sfumato.runtime import wire
from sfumato.runtime.process import WorkerProcess

log = logging.getLogger(__name__)

_MAX_RESTARTS = 5


class ClusterConfig(Value, frozen=True, kw_only=True):
    """What the workers are. `kind` real or paced; `device` cpu or cuda (rank r takes cuda:r).

    `device_kind` is what the profiles call the device (default: `device`). `memory_bytes` 0: as much as there is.
    `parts` are resident from the start (None: all, or as many whole models as memory holds). `snapshots` is a folder
    (None: shared memory if there is enough).
    A worker that says nothing for `hang_s` beyond twenty times the predicted time of a unit is taken for dead.
    `collectives` carry tensors within a group: auto is mesh on CPUs (our own sockets; gloo is slower), nccl on GPUs.
    """

    kind: str = "real"
    device: str = "cpu"
    device_kind: str = ""
    node: str = "local"
    dtype: str | None = None
    threads: int = 1
    nice: int = 5
    memory_bytes: int = 0
    parts: tuple[PartId, ...] | None = None
    snapshots: str | None = None
    snapshot_every_s: float = 0.5
    start_timeout_s: float = 600.0
    hang_s: float = 120.0
    collectives: Literal["auto", "mesh", "gloo", "nccl"] = "auto"


class Crew:
    """One process a rank. `came` is told of each start, `heard` of each message, `lost` of each death after a start."""

    def __init__(
        self,
        config: ClusterConfig,
        offers: Collection[Offer],
        *,
        came: Callable[[Rank, wire.Up], None],
        heard: Callable[[Rank, wire.FromWorker], None],
        lost: Callable[[Rank], None],
    ) -> None:
        self.broken: dict[Rank, str] = {}  # ranks that did not come back, and why
        self.up: dict[Rank, WorkerProcess] = {}
        self._config = config
        self._offers = tuple(offers)
        self._came = came
        self._heard = heard
        self._lost = lost
        self._all: dict[Rank, WorkerProcess] = {}  # also those that start
        self._restarts: set[asyncio.Task[None]] = set()
        self._closing = False

    async def start(self, count: int, snapshots: Path) -> None:
        """Bring up `count` workers. Raises WorkerError with the first reason for which one could not start."""
        self._setups = {rank: self._setup(rank, count, snapshots) for rank in range(count)}
        await asyncio.gather(*(self._bring_up(rank) for rank in range(count)))

    def send(self, rank: Rank, message: wire.Message) -> None:
        """Tell a worker; nobody hears what is sent to a dead one."""
        worker = self.up.get(rank)
        if worker is not None:
            worker.send(message)

    def kill(self, rank: Rank) -> None:
        """End a worker; `lost` follows."""
        if rank in self.up:
            self.up[rank].kill()

    async def close(self) -> None:
        """End all of them for good."""
        self._closing = True
        for restart in self._restarts:
            restart.cancel()
        await asyncio.gather(*self._restarts, return_exceptions=True)
        await asyncio.gather(*(worker.end() for worker in self._all.values()))
        self.up.clear()

    async def _bring_up(self, rank: Rank) -> None:
        worker = self._all[rank] = WorkerProcess(rank, self._hear, self._ended)
        try:
            await worker.start(self._setups[rank])
            async with asyncio.timeout(self._config.start_timeout_s):
                up = await worker.up
        except TimeoutError:
            await worker.end()
            raise WorkerError(f"worker {rank} was not ready within {self._config.start_timeout_s:g} s") from None
        except BaseException:
            await worker.end()
            raise
        if worker.closed:
            raise WorkerError(f"worker {rank} ended as soon as it was up")
        self.up[rank] = worker
        self._came(rank, up)

    def _hear(self, worker: WorkerProcess, message: wire.FromWorker) -> None:
        self._heard(worker.rank, message)

    def _ended(self, worker: WorkerProcess) -> None:
        """A worker's line has closed."""
        rank = worker.rank
        if self._closing or self.up.get(rank) is not worker:
            return  # it never came up: whoever waits for that knows
        del self.up[rank]
        log.warning("worker %d is lost; it is started again", rank)
        self._lost(rank)
        restart = asyncio.get_running_loop().create_task(self._restart(rank))
        self._restarts.add(restart)
        restart.add_done_callback(self._restarts.discard)

    async def _restart(self, rank: Rank) -> None:
        """Bring a rank back, waiting longer after every start that fails."""
        for failures in range(_MAX_RESTARTS):
            await self._all[rank].end()
            await asyncio.sleep(min(5.0, 0.1 * 3**failures))
            try:
                await self._bring_up(rank)
            except (WorkerError, OSError) as error:
                self.broken[rank] = str(error)
                log.error("%s", error)
            else:
                self.broken.pop(rank, None)
                return
        log.critical("worker %d did not start %d times in a row and is given up", rank, _MAX_RESTARTS)

    def _setup(self, rank: Rank, count: int, snapshots: Path) -> wire.Setup:
        config = self._config
        return wire.Setup(
            rank=rank,
            ranks=count,
            kind=config.kind,
            device=f"{config.device}:{rank}" if config.device == "cuda" else config.device,
            dtype=config.dtype,
            threads=config.threads,
            nice=config.nice,
            memory_bytes=config.memory_bytes,
            snapshots=str(snapshots),
            snapshot_every_s=config.snapshot_every_s,
            collectives=config.collectives,
            patience_s=2 * config.hang_s,  # the controller loses its own first
            offers=self._offers,
            parts=config.parts,
        )
