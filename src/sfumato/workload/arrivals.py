"""Turns a workload into the list of what arrives: the same for the simulator, the live load and every process.

Times, classes, seeds and prompts each have a stream of their own.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate, islice, takewhile

from msgspec.structs import replace

from sfumato.core.values import EXACT, Request, Shape, Value
from sfumato.workload.processes import times
from sfumato.workload.prompts import write_prompt
from sfumato.workload.slo import Standalone, slo_s
from sfumato.workload.spec import Piecewise, RequestClass, Trace, Workload
from sfumato.workload.streams import stream
from sfumato.workload.trace import read_trace


class Arrival(Value, frozen=True, kw_only=True, rename={"cls": "class"}):
    """One request of a workload, `at` seconds after its start. `slo_s` None means best effort."""

    at: float
    cls: str
    model: str
    shape: Shape
    steps: int
    guidance: float = 1.0
    guided: bool = False
    quality: str = EXACT
    seed: int = 0
    slo_s: float | None = None
    priority: int = 0
    degradable: bool = False
    prompt: str = ""

    def request(self, request_id: str, *, start: float = 0.0) -> Request:
        """As the core takes it, on a clock that shows `start` when the workload begins."""
        arrived_at = start + self.at
        return Request(
            id=request_id,
            model=self.model,
            shape=self.shape,
            steps=self.steps,
            arrived_at=arrived_at,
            deadline=None if self.slo_s is None else arrived_at + self.slo_s,
            slo=self.cls,
            priority=self.priority,
            guided=self.guided,
            quality=self.quality,
            degradable=self.degradable,
            seed=self.seed,
        )


def draw(
    workload: Workload,
    *,
    seed: int | None = None,
    standalone_s: Standalone | None = None,
    on_one_s: Standalone | None = None,
) -> list[Arrival]:
    """All arrivals of a workload in order of time; `seed` stands in for the file's. Raises ConfigError.

    `on_one_s` is the standalone time on one rank; where it is not given the standalone time stands in for it.
    """
    seed = workload.seed if seed is None else seed
    if isinstance(workload.arrivals, Trace):
        return list(_bounded(_from_trace(workload.arrivals, workload), workload))
    limit = float("inf") if workload.horizon_s is None else workload.horizon_s
    ats = takewhile(lambda at: at < limit, times(workload.arrivals, seed, workload.rate_factor))
    class_at = _classes(workload, seed)
    seeds, words = stream(seed, "seeds"), stream(seed, "prompts")
    slos = _slos(workload, standalone_s, on_one_s or standalone_s)
    drawn: list[Arrival] = []
    for at in islice(ats, workload.requests):
        entry = class_at(at)
        own_seed, wording = int(seeds.integers(2**31)), int(words.integers(2**31))
        slo, guided = slos[entry.name]
        drawn.append(_arrival(at, entry, own_seed, _prompt(entry, wording), slo, guided))
    return drawn


def requests(arrivals: Iterable[Arrival], *, start: float = 0.0) -> list[Request]:
    """The arrivals as the core takes them, named r0000, r0001, ... in their order."""
    return [arrival.request(f"r{number:04d}", start=start) for number, arrival in enumerate(arrivals)]


def _arrival(at: float, entry: RequestClass, seed: int, prompt: str, slo: float | None, guided: bool) -> Arrival:
    return Arrival(
        at=at,
        cls=entry.name,
        model=entry.model,
        shape=entry.shape,
        steps=entry.steps,
        guidance=entry.guidance,
        guided=guided,
        quality=entry.quality,
        seed=seed,
        slo_s=slo,
        priority=entry.priority,
        degradable=entry.degradable,
        prompt=prompt,
    )


def _classes(workload: Workload, seed: int) -> Callable[[float], RequestClass]:
    """Draws the class of the arrival at a time."""
    rng = stream(seed, "classes")
    drawable = [entry for entry in workload.classes if entry.share > 0]
    bounds = list(accumulate(entry.share for entry in drawable))
    changing = workload.arrivals if isinstance(workload.arrivals, Piecewise) else None

    def class_at(at: float) -> RequestClass:
        shares = changing.shares_at(at) if changing else {}
        entries, ends = drawable, bounds
        if shares:
            entries = [entry for entry in workload.classes if shares.get(entry.name, entry.share) > 0]
            ends = list(accumulate(shares.get(entry.name, entry.share) for entry in entries))
        return entries[min(bisect_right(ends, rng.random() * ends[-1]), len(entries) - 1)]

    return class_at


def _slos(
    workload: Workload, best_s: Standalone | None, one_s: Standalone | None
) -> dict[str, tuple[float | None, bool]]:
    """(slo_s, guided) by class."""
    found: dict[str, tuple[float | None, bool]] = {}
    for entry in workload.classes:
        guided = entry.guidance > 1.0 and not workload.model(entry.model).distilled
        alone_s = one_s if entry.slo_at == "one" else best_s
        slo = slo_s(entry, guided=guided, standalone_s=alone_s, factor=workload.slo_factor)
        found[entry.name] = slo, guided
    return found


def _prompt(entry: RequestClass, wording: int) -> str:
    if entry.prompts:
        return entry.prompts[wording % len(entry.prompts)]
    return write_prompt(wording, moving=entry.shape.frames > 1)


def _from_trace(trace: Trace, workload: Workload) -> Iterator[Arrival]:
    for arrival in sorted(read_trace(trace.file, Arrival), key=lambda arrival: arrival.at):
        slo = None if arrival.slo_s is None else arrival.slo_s * workload.slo_factor
        yield replace(arrival, at=arrival.at / workload.rate_factor, slo_s=slo)


def _bounded(arrivals: Iterable[Arrival], workload: Workload) -> Iterator[Arrival]:
    limit = float("inf") if workload.horizon_s is None else workload.horizon_s
    return islice((arrival for arrival in arrivals if arrival.at < limit), workload.requests)
