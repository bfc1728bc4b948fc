"""Journals for the tests of reports: simulated ones, and stories written by hand."""

from __future__ import annotations

from collections.abc import Iterable

from sfumato.core.events import AnyEvent, Arrived, WorkerUp
from sfumato.core.journal import Entry
from sfumato.core.values import Group, JobState, Outcome, RankInfo, Request, Shape, Stage
from sfumato.report.story import Life, RankLife, Span, Story
from sfumato.sim.heap import Simulation
from sfumato.workload.arrivals import draw, requests
from sfumato.workload.spec import Poisson, RequestClass, Workload
from tests.costs import PARTS, PlainCosts
from tests.worlds import serving

CLASSES = (
    RequestClass(name="small", model="image", size="128x128", steps=20, slo=4.0, share=3),
    RequestClass(name="large", model="image", size="256x256", steps=28, slo=15.0, share=1),
    RequestClass(name="clip", model="video", size="128x128", frames=17, steps=30, slo=60.0, share=1),
)


def workload(count: int = 30, per_second: float = 0.5, seed: int = 0) -> Workload:
    return Workload(arrivals=Poisson(per_second=per_second), classes=CLASSES, requests=count, seed=seed)


def simulate(
    *,
    policy: str = "fixed",
    ranks: int = 4,
    load: Workload | None = None,
    extra: Iterable[AnyEvent] = (),
    segment: int = 10_000,
) -> list[Entry]:
    """The journal of a simulated run."""
    entries: list[Entry] = []
    script: list[AnyEvent] = [WorkerUp(at=0.0, info=RankInfo(rank=rank), parts=PARTS) for rank in range(ranks)]
    script += [Arrived(at=r.arrived_at, request=r) for r in requests(draw(load or workload()))]
    Simulation(serving(policy, entries, segment=segment), PlainCosts(), [*script, *extra]).run()
    return entries


def life(
    name: str,
    arrived: float,
    end: float | None,
    state: JobState = JobState.DONE,
    *,
    deadline: float | None = None,
    frames: int = 1,
    slo: str = "a",
    spans: tuple[Span, ...] = (),
) -> Life:
    """A request by hand."""
    request = Request(
        id=name,
        model="video" if frames > 1 else "image",
        shape=Shape(height=64, width=64, frames=frames),
        steps=4,
        arrived_at=arrived,
        deadline=deadline,
        slo=slo,
    )
    own = tuple(span for span in spans if name in span.jobs)
    first = own[0].start if own else None
    outcome = None
    if end is not None:
        outcome = Outcome(request=name, state=state, at=end, arrived_at=arrived, deadline=deadline, first_launch=first)
    return Life(request=request, outcome=outcome, first_launch=first, spans=own)


def span(seq: int, group: Group, job: str, start: float, end: float, *, seconds: float | None = None) -> Span:
    """A chunk of one job by hand; by default all of its time is units."""
    took = end - start if seconds is None else seconds
    return Span(
        seq=seq,
        group=group,
        jobs=(job,),
        stage=Stage.DIFFUSE,
        planned=4,
        start=start,
        end=end,
        seconds=took,
        gained={job: 4},
    )


def story(lives: Iterable[Life], spans: tuple[Span, ...] = (), *, end: float, ranks: int = 2) -> Story:
    """A story by hand that begins at 0."""
    infos = tuple(RankLife(info=RankInfo(rank=rank), up=0.0) for rank in range(ranks))
    return Story(start=0.0, end=end, lives={one.id: one for one in lives}, spans=spans, ranks=infos)
