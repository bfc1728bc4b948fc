"""How fast every live request can go, and how it stands against its deadline: what the published policies compute with.

A running request is weighed from the predicted end of its chunk. Encode and decode are set aside as fixed seconds at
their narrowest degree; only denoising steps change their degree. Requests of one kind share a `Pace`, read off the cost
model once a plan. `start_s` prices a launch with a move, so that what is planned with it ends no later than planned.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from sfumato.core.cost import Work
from sfumato.core.values import Group, Job, Rank, Stage, Value
from sfumato.core.view import View


class Pace(Value, frozen=True, kw_only=True):
    """Seconds of one kind of request: a step by degree (ascending), one encode, a unit of decode, a launch."""

    steps: tuple[tuple[int, float], ...]
    fastest_s: float
    encode_s: float
    decode_s: float
    decode_units: int
    start_s: float

    def step_s(self, degree: int) -> float:
        return next(seconds for k, seconds in self.steps if k == degree)


class Standing(Value, frozen=True, kw_only=True):
    """One live job at `at`: now, or the end of its chunk. `steps` of denoising and `ends_s` of encode, decode left."""

    job: Job
    pace: Pace
    at: float
    deadline: float
    steps: int
    ends_s: float

    @property
    def time_s(self) -> float:
        """Seconds that its denoising may still take."""
        return self.deadline - self.at - self.ends_s

    @property
    def laxity(self) -> float:
        """Seconds that it can wait and then just make it at its fastest."""
        return self.time_s - self.steps * self.pace.fastest_s

    @property
    def late(self) -> bool:
        """No degree meets its deadline any more, or it has none."""
        return self.deadline == inf or self.laxity < -1e-9

    @property
    def stage(self) -> Stage:
        return self.job.stage


def standings(view: View) -> list[Standing]:
    """Every live job, in order of arrival."""
    paces: dict[tuple[str, object, int, bool], Pace] = {}
    result = []
    for job in view.jobs:
        request = job.request
        kind = (request.model, job.shape, job.steps, request.guided)
        pace = paces.get(kind) or paces.setdefault(kind, pace_of(view, job))
        running = None if job.chunk is None else view.running[job.chunk]
        at = view.now if running is None else max(view.now, running.ends_at)
        steps, ends_s = _left(job, pace, 0 if running is None else running.chunk.units)
        deadline = inf if request.deadline is None else request.deadline
        result.append(Standing(job=job, pace=pace, at=at, deadline=deadline, steps=steps, ends_s=ends_s))
    return result


def pace_of(view: View, job: Job) -> Pace:
    """What the cost model says of the kind of `job`, at the degrees that the pool has ranks for."""
    model = view.models[job.request.model]
    degrees = sorted(k for k in model.diffuse.degrees if k <= len(view.ranks)) or [min(model.diffuse.degrees)]
    steps = tuple((k, view.unit_s(job, Stage.DIFFUSE, degree=k)) for k in degrees)
    request = job.request
    step = Work(
        model=request.model, stage=Stage.DIFFUSE, shapes=(job.shape,), guided=request.guided, device=view.device
    )
    return Pace(
        steps=steps,
        fastest_s=min(seconds for _, seconds in steps),
        encode_s=view.unit_s(job, Stage.ENCODE, degree=min(model.encode.degrees)),
        decode_s=view.unit_s(job, Stage.DECODE, degree=min(model.decode.degrees)),
        decode_units=model.units(Stage.DECODE, job.shape, job.steps),
        start_s=view.costs.start_s(step, (0,), ((-1,),)),
    )


def pick(view: View, job: Job, free: Sequence[Rank], degree: int, avoid: Sequence[Rank] = ()) -> Group | None:
    """`degree` of the free ranks that can run the job, its own first, those to `avoid` last; None: too few."""
    able = [rank for rank in free if view.can_run(job, rank)]
    home = job.home or ()
    if len(able) < degree:
        return None
    return tuple(sorted(sorted(able, key=lambda rank: (rank not in home, rank in avoid, rank))[:degree]))


def narrowest(view: View, job: Job) -> int:
    """The least degree that the job's stage allows."""
    return min(view.models[job.request.model].stage(job.stage).degrees)


def _left(job: Job, pace: Pace, ahead: int) -> tuple[int, float]:
    """Steps left, and seconds of encode and decode left, once `ahead` more units of its stage are done."""
    done = job.done + ahead
    if job.stage is Stage.DECODE:
        return 0, (pace.decode_units - done) * pace.decode_s
    decode_s = pace.decode_units * pace.decode_s
    if job.stage is Stage.ENCODE:
        return job.steps, decode_s + (1 - done) * pace.encode_s
    return job.steps - done, decode_s
