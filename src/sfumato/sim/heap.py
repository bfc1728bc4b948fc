"""Event-heap driver: a Launch becomes a ChunkDone at `at + start + units * unit * noise * pace`, a Load takes its time.

Rules: `truth` says how long things really take and is another object than the planner's costs, so that wrong or
corrected estimates can be studied; all events of one instant are one batch, as in the live driver; what is launched
here unfolds by `core.timeline`, the account that the fake workers use too.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from math import inf

from sfumato.core.commands import AnyCommand, Halt, Launch, Load, Reply, WakeAt
from sfumato.core.cost import Costs
from sfumato.core.events import AnyEvent, Loaded, Woke, WorkerLost, sort_key
from sfumato.core.serving import Serving
from sfumato.core.timeline import Flight, seconds_of
from sfumato.core.values import Outcome, Rank
from sfumato.sim.noise import Noise, Pace, even, steady
from sfumato.sim.troubles import with_saved


class Simulation:
    """Runs a Serving through a script of events (workers that join, requests that arrive, ranks that die).

    The losses of the script are handled as they are written; for `deaths` it is found out what snapshots have saved.
    """

    def __init__(
        self,
        serving: Serving,
        truth: Costs,
        script: Iterable[AnyEvent],
        noise: Noise = steady,
        pace: Pace = even,
        deaths: Iterable[WorkerLost] = (),
    ) -> None:
        self.serving = serving
        self.outcomes: list[Outcome] = []
        self.events = 0
        self._truth = truth
        self._noise = noise
        self._pace = pace
        self._deaths = frozenset(deaths)
        self._died: dict[Rank, float] = {}
        self._heap = [(sort_key(event), event) for event in (*script, *self._deaths)]
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
                    if isinstance(event, WorkerLost) and event in self._deaths:
                        event = self._died_now(event)
                    batch.append(event)
            if batch:
                self.events += len(batch)
                for command in self.serving.handle(batch):
                    self._execute(command, at)
        return self.outcomes

    def _stands(self, event: AnyEvent) -> bool:
        """False for the planned end of a chunk that was halted or lost since, a load that was, a replaced wake-up."""
        if isinstance(event, Woke):
            due = event.at == self._wake
            self._wake = None if due else self._wake
            return due
        if isinstance(event, Loaded):
            return event.at - event.seconds >= self._died.get(event.rank, -inf)
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

    def _died_now(self, death: WorkerLost) -> WorkerLost:
        """With what is saved; its chunks land no more."""
        self._died[death.rank] = death.at
        lost = {seq: flown for seq, flown in self._flights.items() if death.rank in flown[0].launch.chunk.group}
        for seq in lost:
            del self._flights[seq]
        return with_saved(death, lost.values(), self.serving.backlog.live)

    def _execute(self, command: AnyCommand, now: float) -> None:
        match command:
            case Launch(seq=seq, chunk=chunk):
                taken = seconds_of(command, self.serving.view(), self._truth)
                if taken is not None:
                    unit_s = taken[1] * self._noise() * self._pace(chunk.group, now)
                    self._fly(seq, Flight(launch=command, at=now, start_s=taken[0], unit_s=unit_s), chunk.units)
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
                self.push(Loaded(at=now + seconds, rank=rank, part=part, seconds=seconds))
            case WakeAt(at=at):
                self._wake = at
                self.push(Woke(at=at))

    def _fly(self, seq: int, flight: Flight, units: int) -> None:
        self._flights[seq] = flight, units
        self.push(flight.landing(units))

    def _load_s(self, rank: int, part: str) -> float:
        pool = self.serving.pool
        return self._truth.load_s(part, pool.loading[rank][part], pool.ranks[rank].device)

    def push(self, event: AnyEvent) -> None:
        """Another event, now or later."""
        heapq.heappush(self._heap, (sort_key(event), event))
