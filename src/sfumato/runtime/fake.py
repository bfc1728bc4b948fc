"""Fake workers: in this process, on the loop's own clock, without torch. With a virtual-time loop they show that the
live driver takes the same decisions as the simulator (P3), and they let the API run without a model.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sfumato.core.commands import Halt, Launch, Load, Order
from sfumato.core.cost import Costs
from sfumato.core.events import AnyEvent, Loaded
from sfumato.core.serving import Serving
from sfumato.core.timeline import Flight, seconds_of


class FakeCluster:
    """Lands every chunk after its modelled time; the fake side of `Executor`."""

    def __init__(self, serving: Serving, truth: Costs, post: Callable[[AnyEvent], None]) -> None:
        self._serving = serving
        self._truth = truth
        self._post = post
        self._loop = asyncio.get_running_loop()
        self._flights: dict[int, tuple[Flight, int, asyncio.TimerHandle]] = {}

    def execute(self, command: Order) -> None:
        """Schedule what the command leads to."""
        now = self._serving.now
        match command:
            case Launch(seq=seq, chunk=chunk):
                taken = seconds_of(command, self._serving.view(), self._truth)
                if taken is not None:
                    flight = Flight(launch=command, at=now, start_s=taken[0], unit_s=taken[1])
                    self._fly(seq, flight, chunk.units)
            case Halt(seq=seq, jobs=()):
                if seq in self._flights:
                    flight, units, timer = self._flights[seq]
                    sooner = flight.units_by(now)
                    if sooner < units:
                        timer.cancel()
                        self._fly(seq, flight, sooner)
            case Load(rank=rank, part=part):
                pool = self._serving.pool
                seconds = self._truth.load_s(part, pool.loading[rank][part], pool.ranks[rank].device)
                loaded = Loaded(at=now + seconds, rank=rank, part=part, seconds=seconds)
                self._loop.call_at(loaded.at, self._post, loaded)

    def _fly(self, seq: int, flight: Flight, units: int) -> None:
        timer = self._loop.call_at(flight.ends_at(units), self._land, seq)
        self._flights[seq] = flight, units, timer

    def _land(self, seq: int) -> None:
        flight, units, _ = self._flights.pop(seq)
        self._post(flight.landing(units))
