"""Event-heap driver: a Launch becomes a ChunkDone at `at + start + units * unit * noise`, a Load takes modelled time.

Rules: `truth` says how long things really take and is another object than the planner's costs, so that wrong or
corrected estimates can be studied; all events of one instant are one batch, as in the live driver; what is launched
here unfolds by `core.timeline`, the account that the fake workers use too.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable

from sfumato.core.commands import AnyCommand, Halt, Launch, Load, Reply, WakeAt
from sfumato.core.cost import Costs
from sfumato.core.events import AnyEvent, Loaded, Woke, sort_key
from sfumato.core.serving import Serving
from sfumato.core.timeline import Flight
from sfumato.core.values import Outcome
from sfumato.sim.noise import Noise, steady


class Simulation:
    """Runs a Serving through a script of events (workers that join, requests that arrive, ranks that die)."""

    def __init__(self, serving: Serving, truth: Costs, script: Iterable[AnyEvent], noise: Noise = steady) -> None:
        self.serving = serving
        self.outcomes: list[Outcome] = []
        self.events = 0
        self._truth = truth
        self._noise = noise
        self._heap = [(sort_key(event), event) for event in script]
        self._flights: dict[int, tuple[Flight, int]] = {}  # seq -> (flight, units it will have run)
        self._wake: float | None = None
        heapq.heapify(self._heap)

    def run(self, enough: Callable[[float], bool] | None = None) -> list[Outcome]:
        """Handle events until none is left; returns how every request ended, in order of ending.

        `enough`, asked before each instant with its time, may end the run sooner.
        """
        heap = self._heap
        while heap:
            at = heap[0][0][0]
            if enough is not None and enough(at):
                break
            batch = []
            while heap and heap[0][0][0] == at:
                event = heapq.heappop(heap)[1]
                if self._stands(event):
                    batch.append(event)
            if batch:
                self.events += len(batch)
                for command in self.serving.handle(batch):
                    self._execute(command, at)
        return self.outcomes

    def _stands(self, event: AnyEvent) -> bool:
        """False for the planned end of a chunk that was halted since, and for a wake-up that was replaced."""
        if isinstance(event, Woke):
            due = event.at == self._wake
            self._wake = None if due else self._wake
            return due
        seq = getattr(event, "seq", None)
        if seq is None:
            return True
        if seq not in self._flights:
            return False
        flight, units = self._flights[seq]
        if event.at != flight.ends_at(units):
            return False
        del self._flights[seq]
        return True

    def _execute(self, command: AnyCommand, now: float) -> None:
        match command:
            case Launch(seq=seq, chunk=chunk):
                work = self.serving.view().work(chunk)
                start_s = self._truth.start_s(work, chunk.group, command.sources)
                unit_s = self._truth.unit_s(work) * self._noise()
                self._fly(seq, Flight(launch=command, at=now, start_s=start_s, unit_s=unit_s), chunk.units)
            case Reply(outcome=outcome):
                self.outcomes.append(outcome)
            case Halt(seq=seq, jobs=()):
                if seq in self._flights:
                    flight, units = self._flights[seq]
                    sooner = flight.units_by(now)
                    if sooner < units:
                        self._fly(seq, flight, sooner)
            case Load(rank=rank, part=part):
                seconds = self._load_s(rank, part)
                self._push(Loaded(at=now + seconds, rank=rank, part=part, seconds=seconds))
            case WakeAt(at=at):
                self._wake = at
                self._push(Woke(at=at))

    def _fly(self, seq: int, flight: Flight, units: int) -> None:
        self._flights[seq] = flight, units
        self._push(flight.landing(units))

    def _load_s(self, rank: int, part: str) -> float:
        pool = self.serving.pool
        return self._truth.load_s(part, pool.loading[rank][part], pool.ranks[rank].device)

    def _push(self, event: AnyEvent) -> None:
        heapq.heappush(self._heap, (sort_key(event), event))
