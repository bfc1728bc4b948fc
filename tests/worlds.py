"""Worlds for the laws: a pool and a script of arrivals, cancellations, and ranks that die and come back."""

from __future__ import annotations

from hypothesis import strategies as st

from sfumato.assemble import policy_named
from sfumato.core.events import AnyEvent, Arrived, Cancelled, WorkerLost, WorkerUp
from sfumato.core.journal import Entry, Journal
from sfumato.core.policy import Policy
from sfumato.core.serving import Serving
from sfumato.core.values import RankInfo, Request, Shape
from tests.costs import MODELS, PARTS, PlainCosts

_TIMES = st.integers(0, 4096).map(lambda n: n / 256)  # up to 16 s, exact in binary


@st.composite
def requests(draw: st.DrawFn, number: int) -> Request:
    at = draw(_TIMES)
    video = draw(st.booleans())
    side = draw(st.sampled_from([64, 96, 128, 256]))
    slo_s = draw(st.none() | st.integers(1, 2560).map(lambda n: n / 128))
    return Request(
        id=f"r{number:03d}",
        model="video" if video else "image",
        shape=Shape(height=side, width=64, frames=draw(st.sampled_from([5, 9, 17])) if video else 1),
        steps=draw(st.integers(1, 30)),
        arrived_at=at,
        deadline=None if slo_s is None else at + slo_s,
        priority=draw(st.integers(0, 2)),
        guided=draw(st.booleans()),
        quality=draw(st.sampled_from(["exact", "fast"])),
        seed=number,
    )


@st.composite
def scripts(draw: st.DrawFn, *, trouble: bool = True) -> list[AnyEvent]:
    """1 to 8 ranks, up to 20 requests; with `trouble` also cancellations and one rank that dies and returns."""
    ranks = draw(st.sampled_from([1, 2, 4, 8]))
    script: list[AnyEvent] = [
        WorkerUp(at=0.0, info=RankInfo(rank=r, memory_bytes=20_000), parts=PARTS) for r in range(ranks)
    ]
    for number in range(draw(st.integers(1, 20))):
        request = draw(requests(number))
        script.append(Arrived(at=request.arrived_at, request=request))
        if trouble and draw(st.integers(0, 4)) == 0:
            script.append(Cancelled(at=request.arrived_at + draw(_TIMES), request=request.id))
    if trouble and draw(st.booleans()):
        at = draw(_TIMES)
        script.append(WorkerLost(at=at, rank=0))
        script.append(WorkerUp(at=at + draw(_TIMES) + 1 / 256, info=RankInfo(rank=0, memory_bytes=20_000), parts=PARTS))
    return script


def serving(policy: Policy | str, entries: list[Entry], *, segment: int = 10_000) -> Serving:
    """A strict Serving over the test models that writes its journal into `entries`."""
    return Serving(
        models=MODELS,
        costs=PlainCosts(),
        policy=policy_named(policy) if isinstance(policy, str) else policy,
        fallback=policy_named("fixed"),
        journal=Journal(entries.append, segment=segment),
        strict=True,
    )
