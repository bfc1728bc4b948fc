"""What the live side offers to the API, the CLI and tests: submit an Ask, get a Ticket, watch it, cancel it.

Torch-free. The engine behind it is `runtime.engine.Engine`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sfumato.core.values import Outcome, Shape, Stage, Value
from sfumato.models.family import Quality
from sfumato.models.offer import Offer

Pixels = NDArray[np.uint8]


class Ask(Value, frozen=True, kw_only=True):
    """One picture or video as its client asked for it, already checked against the model's offer.

    `slo_s` is relative to `arrived_at` (seconds on the engine's clock; None: the moment of submission); None means
    best effort. `slo` names the class for reports. `guidance_2` is for a second expert; None is the same as `guidance`.
    """

    model: str
    prompt: str
    shape: Shape
    steps: int
    guidance: float
    seed: int
    negative_prompt: str = ""
    guidance_2: float | None = None
    quality: Quality = "exact"
    slo_s: float | None = None
    slo: str = "default"
    priority: int = 0
    degradable: bool = False
    arrived_at: float | None = None


class Ticket:
    """A submitted request, from its arrival to some time after its end. Read by the API, written by the engine."""

    def __init__(self, request_id: str, ask: Ask, *, arrived_at: float, wall: float, decode_units: int) -> None:
        self.id = request_id
        self.ask = ask
        self.arrived_at = arrived_at  # engine clock, seconds
        self.created = wall  # unix time, seconds
        self.stage = Stage.ENCODE
        self.done = 0  # units done of `stage`, steps while it diffuses
        self.steps = ask.steps  # what admission accepted, as the shape
        self.shape = ask.shape
        self.decode_units = decode_units
        self.running = False
        self.started = False
        self.outcome: Outcome | None = None
        self.ended = asyncio.Event()

    @property
    def fraction(self) -> float:
        """Progress from 0 to 1: denoising steps done over steps; 1 only when the output is there."""
        if self.outcome is not None and self.outcome.state in ("done", "late"):
            return 1.0
        if self.stage is Stage.ENCODE:
            return 0.0
        return min(0.99, self.done / self.steps) if self.stage is Stage.DIFFUSE else 0.99


class Service(Protocol):
    """The live engine as its users see it. All methods are called on its event loop."""

    @property
    def offers(self) -> Mapping[str, Offer]:
        """The models served, by name."""
        ...

    def submit(self, ask: Ask) -> Ticket:
        """Queue a request. Raises OverloadedError when more wait than the bound allows."""
        ...

    def cancel(self, request_id: str) -> bool:
        """Give a request up: its GPU work stops within one step. False if it had ended."""
        ...

    async def pixels(self, ticket: Ticket) -> Pixels:
        """The output of a done or late request: uint8 [frames, height, width, 3]. Raises KeyError once forgotten."""
        ...

    def forget(self, request_id: str) -> None:
        """Drop an ended request's output."""
        ...

    def queue_position(self, ticket: Ticket) -> int:
        """Requests that arrived earlier and have not started; 0 once this one has."""
        ...

    def predicted_finish_s(self, ticket: Ticket) -> float | None:
        """Seconds from now until the request is expected to end: least work plus what is before it; None if ended."""
        ...

    def stats(self) -> Mapping[str, float]:
        """Gauges for /metrics: ranks, ranks busy, waiting, running, paused, the most bytes that a worker took."""
        ...
