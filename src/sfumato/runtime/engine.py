"""The live server's heart: tickets for requests, a driver over the Serving, a cluster of workers. Implements Service.

Rules: it decides nothing about scheduling; a request lives here from submission to `forget`; prompts go to the cluster
alone. If the core breaks (a bug), every open request ends as failed with the reason, and nothing more is accepted.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Protocol

from sfumato.core.commands import Admit, AnyCommand, Launch
from sfumato.core.events import AnyEvent, Arrived, Cancelled
from sfumato.core.serving import Serving
from sfumato.core.values import Job, JobState, Outcome, Request, Stage
from sfumato.errors import OverloadedError, SfumatoError
from sfumato.models.family import Payload, Task
from sfumato.models.offer import Offer
from sfumato.runtime.driver import Driver, Executor
from sfumato.runtime.service import Ask, Pixels, Ticket


class Cluster(Executor, Protocol):
    """The workers as the engine uses them."""

    @property
    def most_bytes(self) -> int:
        """Of memory that a worker has taken; 0 is unknown."""
        ...

    def on_event(self, callback: Callable[[AnyEvent], None]) -> None:
        """Where events go."""
        ...

    def on_progress(self, callback: Callable[[str, Stage, int], None]) -> None:
        """Called between the units of a chunk with the job, its stage and the units of it that are done."""
        ...

    async def start(self, count: int) -> None:
        """Bring `count` workers up; from now on they report. Raises WorkerError."""
        ...

    def accept(self, model: str, task: Task) -> None:
        """Take what the workers need to know of a request, before its first launch."""
        ...

    def output(self, job: str) -> Pixels:
        """The pixels of a finished job. Raises KeyError."""
        ...

    def forget(self, job: str) -> None:
        """Free whatever is held for a job."""
        ...

    async def close(self) -> None:
        """End the workers; nothing is left behind."""
        ...


class Engine:
    """Submit, watch, cancel. All methods are called on the event loop that `start` was."""

    def __init__(
        self, serving: Serving, cluster: Cluster, offers: Mapping[str, Offer], *, max_waiting: int = 256
    ) -> None:
        self.serving = serving
        self.offers = offers
        self._cluster = cluster
        self._max_waiting = max_waiting
        self._tickets: dict[str, Ticket] = {}
        self._waiting = 0
        self._standalone: dict[tuple[str, object, int, bool], float] = {}
        self._broken: str | None = None
        self._driver: Driver

    async def start(self, workers: int) -> None:
        """Bring the workers up. Raises WorkerError."""
        self._loop = asyncio.get_running_loop()
        self._driver = Driver(
            self.serving, self._cluster, on_reply=self._reply, on_commands=self._note, on_crash=self._crash
        )
        self._cluster.on_event(self._driver.post)
        self._cluster.on_progress(self._progress)
        await self._cluster.start(workers)

    async def stop(self) -> None:
        """Give up what is open and end the workers."""
        for ticket in list(self._tickets.values()):
            if ticket.outcome is None:
                self.cancel(ticket.id)
        await asyncio.sleep(0)
        self._driver.close()
        await self._cluster.close()

    # -- Service --------------------------------------------------------------------------------------------------

    def submit(self, ask: Ask) -> Ticket:
        """Queue a request. Raises OverloadedError when more wait than the bound, SfumatoError when the core broke."""
        if self._broken:
            raise SfumatoError(f"the server has stopped planning: {self._broken}")
        if self._waiting >= self._max_waiting:
            raise OverloadedError(
                f"{self._waiting} requests wait, the most that are taken", retry_after_s=max(1.0, self._backlog_s())
            )
        now = self._loop.time()
        request = self._request(ask, now)
        units = self.offers[ask.model].spec.units(Stage.DECODE, ask.shape, ask.steps)
        ticket = Ticket(request.id, ask, arrived_at=request.arrived_at, wall=time.time(), decode_units=units)
        self._tickets[request.id] = ticket
        self._waiting += 1
        payload = Payload(
            prompt=ask.prompt,
            negative_prompt=ask.negative_prompt,
            guidance=ask.guidance,
            guidance_2=ask.guidance_2,
            quality=ask.quality,
        )
        task = Task(id=request.id, shape=ask.shape, steps=ask.steps, seed=ask.seed, payload=payload)
        self._cluster.accept(ask.model, task)
        self._driver.post(Arrived(at=now, request=request))
        return ticket

    def cancel(self, request_id: str) -> bool:
        """Give a request up. False if it had ended, or is unknown."""
        ticket = self._tickets.get(request_id)
        if ticket is None or ticket.outcome is not None:
            return False
        self._driver.post(Cancelled(at=self._loop.time(), request=request_id))
        return True

    async def pixels(self, ticket: Ticket) -> Pixels:
        """The output of a delivered request, read without holding the loop up. Raises KeyError once forgotten."""
        return await asyncio.to_thread(self._cluster.output, ticket.id)

    def forget(self, request_id: str) -> None:
        ticket = self._tickets.get(request_id)
        if ticket is not None and ticket.outcome is not None:
            del self._tickets[request_id]
            self._cluster.forget(request_id)

    def queue_position(self, ticket: Ticket) -> int:
        if ticket.started or ticket.outcome is not None:
            return 0
        earlier = 0
        for job in self.serving.backlog.live.values():
            if job.id == ticket.id:
                break
            earlier += job.state is JobState.WAITING
        return earlier

    def predicted_finish_s(self, ticket: Ticket) -> float | None:
        """Its own work left after its share of all that arrived before: what first come, first served gives."""
        if ticket.outcome is not None:
            return None
        before_s = 0.0
        for job in self.serving.backlog.live.values():
            if job.id == ticket.id:
                return before_s / max(1, len(self.serving.pool.ranks)) + self._left_s(job)
            before_s += self._left_s(job)
        request = self._request(ticket.ask, ticket.arrived_at)  # its event is still on the way
        return self._backlog_s() + self._left_s(Job(request=request, shape=request.shape, steps=request.steps))

    def stats(self) -> Mapping[str, float]:
        pool, live = self.serving.pool, self.serving.backlog.live.values()
        states = [job.state for job in live]
        return {
            "ranks": len(pool.ranks),
            "ranks_busy": len(pool.on),
            "waiting": states.count(JobState.WAITING),
            "running": states.count(JobState.RUNNING),
            "paused": states.count(JobState.PAUSED),
            "peak_memory_bytes": self._cluster.most_bytes,
        }

    # -- what the driver and the cluster report -------------------------------------------------------------------

    def _reply(self, outcome: Outcome) -> None:
        ticket = self._tickets[outcome.request]
        self._waiting -= not ticket.started
        ticket.outcome = outcome
        ticket.running = False
        if outcome.state not in (JobState.DONE, JobState.LATE):
            self._cluster.forget(outcome.request)
        ticket.ended.set()

    def _note(self, commands: tuple[AnyCommand, ...]) -> None:
        for command in commands:
            if isinstance(command, Admit):
                ticket = self._tickets[command.job]
                ticket.shape, ticket.steps = command.shape, command.steps
            elif isinstance(command, Launch):
                for job in command.chunk.jobs:
                    ticket = self._tickets[job]
                    if ticket.outcome is not None:
                        continue  # what follows a chunk may have been told of with its end
                    self._waiting -= not ticket.started
                    ticket.started = ticket.running = True
                    if not (command.follows and ticket.stage is command.chunk.stage):  # it may have told of units
                        ticket.stage, ticket.done = command.chunk.stage, self.serving.backlog.live[job].done

    def _progress(self, job: str, stage: Stage, done: int) -> None:
        ticket = self._tickets.get(job)
        if ticket is not None and ticket.outcome is None:
            ticket.stage, ticket.done = stage, done

    def _crash(self, error: Exception) -> None:
        self._broken = f"{type(error).__name__}: {error}"
        for ticket in list(self._tickets.values()):
            if ticket.outcome is None:
                self._reply(self._failure(ticket))

    def _failure(self, ticket: Ticket) -> Outcome:
        now = self._loop.time()
        slo_s, start = ticket.ask.slo_s, ticket.arrived_at
        deadline = None if slo_s is None else start + slo_s
        reason = self._broken or "the server stopped"
        return Outcome(
            request=ticket.id, state=JobState.FAILED, at=now, arrived_at=start, deadline=deadline, reason=reason
        )

    # -- estimates ------------------------------------------------------------------------------------------------

    def _request(self, ask: Ask, now: float) -> Request:
        arrived_at = now if ask.arrived_at is None else ask.arrived_at
        return Request(
            id=uuid.uuid4().hex,
            model=ask.model,
            shape=ask.shape,
            steps=ask.steps,
            arrived_at=arrived_at,
            deadline=None if ask.slo_s is None else arrived_at + ask.slo_s,
            slo=ask.slo,
            priority=ask.priority,
            guided=self.offers[ask.model].guided(ask.guidance),
            quality=ask.quality,
            degradable=ask.degradable,
            seed=ask.seed,
        )

    def _left_s(self, job: Job) -> float:
        """Seconds of work left, alone on one rank; remembered by kind for jobs not started: polls stay cheap."""
        view = self.serving.view()
        if job.state is not JobState.WAITING:
            return sum(units * view.unit_s(job, stage) for stage, units in view.stages_left(job))
        kind = (job.request.model, job.shape, job.steps, job.request.guided)
        if kind not in self._standalone:
            self._standalone[kind] = sum(units * view.unit_s(job, stage) for stage, units in view.stages_left(job))
        return self._standalone[kind]

    def _backlog_s(self) -> float:
        live = self.serving.backlog.live.values()
        return sum(map(self._left_s, live)) / max(1, len(self.serving.pool.ranks))
