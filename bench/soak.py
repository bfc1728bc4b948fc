"""A thousand visits of all kinds to a live server, with a worker killed now and then.

Held: every visit got an answer that it may get; every request has exactly one outcome; the workers are back at the end;
the journal replays; and the server's memory does not grow (its bounds for finished files are set low, so that they are
full early).
"""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import httpx
import numpy as np
import psutil  # type: ignore[import-untyped]

from bench.figure import Figure, Result, main
from bench.rig import Served, play, served
from bench.visitors import OddError, Visitor
from sfumato.assemble import rebuild
from sfumato.core.commands import Reply
from sfumato.core.events import Arrived, WorkerLost
from sfumato.core.journal import Entry, Record
from sfumato.report.journal import entries
from sfumato.sim import replay

WORKERS = 2
AT_ONCE = 8
KILLS = 8
WARM_UP = 0.4  # of the visits, before memory is looked at
KEPT = Path("out/soak")  # the journal of a run that showed something, to look for it
LIMITS = "[api]\nimage_files = 20\nvideos = 20\nkeyed_replies = 20\n"


def measure(quick: bool) -> Result:
    visits = 80 if quick else 1000
    with served(workers=WORKERS, config=LIMITS) as server:
        soak = Soak(server, visits)
        play(soak.run)
        server.until(lambda health: health["ranks"] == WORKERS and not health["ranks_busy"] + health["waiting"])
        server.stop()
        journal = list(entries(server.journal))
        unended = _without_one_outcome(journal)
        if unended or soak.odd:
            shutil.copytree(server.journal, KEPT, dirs_exist_ok=True)
    lost = sum(isinstance(event, WorkerLost) for event in _events(journal))
    mismatch = replay(journal, rebuild).mismatch
    return Result(
        figures=(
            Figure(name=f"soak: of {visits} visits, answers that should not be", value=len(soak.odd), limit=0),
            Figure(name="soak: requests without exactly one outcome", value=len(unended), limit=0),
            Figure(
                name="soak: growth of the server's memory in 1000 visits", value=soak.growth_mb(), unit="MB", limit=10
            ),
            Figure(name="soak: decisions that do not replay", value=int(mismatch is not None), limit=0),
            Figure(name="soak: workers killed, and back", value=lost, sense=">=", limit=1 if quick else KILLS - 2),
        ),
        details={"visits": soak.ends, "odd": soak.odd, "unended": unended, "rss_mb": soak.rss_mb},
    )


class Soak:
    """The visits, the killing of workers beside them, and the server's memory meanwhile."""

    def __init__(self, server: Served, visits: int) -> None:
        self.odd: list[str] = []
        self.ends: Counter[str] = Counter()
        self.rss_mb: list[tuple[int, float]] = []
        self._server = server
        self._process = psutil.Process(server.process.pid)
        self._visits = visits
        self._left = visits
        self._random = Random(0)

    async def run(self) -> None:
        limits = httpx.Limits(max_connections=4 * AT_ONCE)
        async with httpx.AsyncClient(base_url=self._server.url, timeout=600.0, limits=limits) as http:
            await asyncio.gather(*(self._client(Visitor(http, seed)) for seed in range(AT_ONCE)))

    async def _client(self, visitor: Visitor) -> None:
        while self._left > 0:
            self._left -= 1
            await asyncio.to_thread(self._between, self._visits - self._left)
            try:
                self.ends[await visitor.visit()] += 1
            except (OddError, httpx.HTTPError, TimeoutError, KeyError, ValueError) as error:
                self.odd.append(f"{type(error).__name__}: {error}")

    def _between(self, number: int) -> None:
        if number % 10 == 0:
            self.rss_mb.append((number, round(self._process.memory_info().rss / 2**20, 2)))
        if number % max(1, self._visits // (KILLS + 1)) == 0 and number < 0.95 * self._visits:
            self._kill()

    def _kill(self) -> None:
        """SIGKILL to a worker, if all are there: two losses at once are another test's matter."""
        workers = [child for child in self._process.children() if "sfumato.runtime.worker" in child.cmdline()]
        if len(workers) == WORKERS and self._server.health()["ranks"] == WORKERS:
            self._random.choice(workers).kill()

    def growth_mb(self) -> float:
        """Slope of the memory after the warm-up, in MB a thousand visits."""
        warm = [(number, rss) for number, rss in sorted(self.rss_mb) if number > WARM_UP * self._visits]
        numbers, sizes = zip(*warm, strict=True)
        return round(1000 * float(np.polyfit(numbers, sizes, 1)[0]), 2)


def _events(journal: Sequence[Entry]) -> list[Any]:
    return [event for entry in journal if isinstance(entry, Record) for event in entry.events]


def _without_one_outcome(journal: Sequence[Entry]) -> list[str]:
    arrived = [event.request.id for event in _events(journal) if isinstance(event, Arrived)]
    ended = Counter(
        command.outcome.request
        for entry in journal
        if isinstance(entry, Record)
        for command in entry.commands
        if isinstance(command, Reply)
    )
    return [request for request in arrived if ended[request] != 1]


if __name__ == "__main__":
    main(measure)
