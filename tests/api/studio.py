"""An in-process Service that really draws, without a model: one request at a time, on a clock that its steps advance.

While `held`, it draws only as many steps as a test has allowed with `allow`.
"""

from __future__ import annotations

import asyncio
from collections import deque
from pathlib import Path

import numpy as np

from sfumato.core.values import JobState, ModelSpec, Outcome, Shape, Stage
from sfumato.errors import OverloadedError
from sfumato.models.family import QUALITIES
from sfumato.models.offer import Offer, Range
from sfumato.runtime.service import Ask, Pixels, Ticket

STEP_S = 0.1
WALL = 1_700_000_000.0


def offer(name: str, modality: str, path: Path | str = "/nowhere") -> Offer:
    video = modality == "video"
    return Offer(
        spec=ModelSpec(name=name),
        family="wan" if video else "flux",
        path=str(path),
        modality=modality,
        sizes=Range(min=32, max=128, step=16),
        frames=Range(min=5, max=33, step=4) if video else Range(min=1, max=1),
        max_pixels=128 * 96,
        default_shape=Shape(height=48, width=64, frames=9 if video else 1),
        default_steps=4,
        default_guidance=3.0,
        max_steps=50,
        max_prompt_tokens=6,
        fps=8 if video else 1,
        second_guidance=video,
        qualities=("exact",) if video else QUALITIES,
        components={},
    )


def draw(ask: Ask) -> Pixels:
    """Colours of the seed that wander over the frames."""
    y, x = np.mgrid[: ask.shape.height, : ask.shape.width]
    hue = np.random.default_rng(ask.seed).integers(40, 200, 3)
    frames = [(hue + np.stack([x, y, x + 4 * t], -1) // 2) % 256 for t in range(ask.shape.frames)]
    return np.stack(frames).astype(np.uint8)


class Studio:
    def __init__(self, *, held: bool = False, bound: int = 100, path: Path | str = "/nowhere") -> None:
        self.offers = {
            "tiny/image": offer("tiny/image", "image", path),
            "tiny/video": offer("tiny/video", "video"),
        }
        self.now = 0.0
        self.bound = bound
        self.refusal = ""
        self.refused_field = ""
        self.failure = ""
        self.asks: list[Ask] = []
        self.cancelled: list[str] = []
        self.forgotten: set[str] = set()
        self.cancellation = asyncio.Event()
        self._waiting: deque[Ticket] = deque()
        self._kept: dict[str, Ticket] = {}
        self._turn = asyncio.Semaphore(0)
        self._held = held
        self._news = asyncio.Event()
        self._drawn = asyncio.Condition()
        self.steps = 0
        self._task = asyncio.create_task(self._work())

    def allow(self, steps: int) -> None:
        for _ in range(steps):
            self._turn.release()

    def release(self) -> None:
        self._held = False
        self._turn.release()

    async def reached(self, steps: int) -> None:
        async with self._drawn:
            await self._drawn.wait_for(lambda: self.steps >= steps)

    def submit(self, ask: Ask) -> Ticket:
        if len(self._waiting) >= self.bound:
            raise OverloadedError(f"{self.bound} requests wait already", retry_after_s=2.5)
        arrived_at = self.now if ask.arrived_at is None else ask.arrived_at
        ticket = Ticket(f"r{len(self.asks)}", ask, arrived_at=arrived_at, wall=WALL + arrived_at, decode_units=1)
        self.asks.append(ask)
        self._kept[ticket.id] = ticket
        if self.refusal:
            self._end(ticket, JobState.REJECTED, self.refusal)
        else:
            self._waiting.append(ticket)
            self._news.set()
        return ticket

    def cancel(self, request_id: str) -> bool:
        ticket = self._kept[request_id]
        if ticket.outcome is not None:
            return False
        if ticket in self._waiting:
            self._waiting.remove(ticket)
        self.cancelled.append(request_id)
        self._end(ticket, JobState.CANCELLED)
        self.cancellation.set()
        return True

    async def pixels(self, ticket: Ticket) -> Pixels:
        if ticket.id in self.forgotten:
            raise KeyError(ticket.id)
        return draw(ticket.ask)

    def forget(self, request_id: str) -> None:
        self.forgotten.add(request_id)

    def queue_position(self, ticket: Ticket) -> int:
        return self._waiting.index(ticket) if ticket in self._waiting else 0

    def predicted_finish_s(self, ticket: Ticket) -> float | None:
        return None if ticket.outcome is not None else STEP_S * (ticket.ask.steps - ticket.done)

    def stats(self) -> dict[str, float]:
        queue = {"waiting": float(len(self._waiting)), "running": 0.0, "paused": 0.0}
        return {"ranks": 1.0, "ranks_busy": 0.0, **queue, "peak_memory_bytes": float(1 << 20)}

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _work(self) -> None:
        while True:
            await self._news.wait()
            if not self._waiting:
                self._news.clear()
                continue
            await self._draw(self._waiting.popleft())

    async def _draw(self, ticket: Ticket) -> None:
        started = self.now
        ticket.started, ticket.stage = True, Stage.DIFFUSE
        while ticket.done < ticket.ask.steps:
            if self._held:
                await self._turn.acquire()
            await asyncio.sleep(0)
            if ticket.outcome is not None:
                return
            ticket.done += 1
            self.now += STEP_S
            async with self._drawn:
                self.steps += 1
                self._drawn.notify_all()
        state = JobState.LATE if ticket.ask.slo_s and self.now > ticket.arrived_at + ticket.ask.slo_s else JobState.DONE
        self._end(ticket, JobState.FAILED if self.failure else state, self.failure, started)

    def _end(self, ticket: Ticket, state: JobState, reason: str = "", started: float | None = None) -> None:
        ticket.outcome = Outcome(
            request=ticket.id,
            state=state,
            at=self.now,
            arrived_at=ticket.arrived_at,
            deadline=None if ticket.ask.slo_s is None else ticket.arrived_at + ticket.ask.slo_s,
            first_launch=started,
            stage_s=(0.0, 0.0 if started is None else self.now - started, 0.0),
            busy_s=(0.0, 0.0 if started is None else (self.now - started) / 2, 0.0),
            reason=reason,
            field=self.refused_field if state is JobState.REJECTED else "",
        )
        ticket.ended.set()
