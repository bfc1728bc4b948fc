"""How fast every live request can go, and how it stands against its deadline: what policies compute with.

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
    """Seconds of one kind of request: a step by degree (ascending), one encode, a unit of decode, a launch.

    `worth` are the degrees that are worth it, as (degree, seconds a step): the one of the least GPU-seconds, then every
    wider one that is faster than all before.
    """

    steps: tuple[tuple[int, float], ...]
    worth: tuple[tuple[int, float], ...]
    fastest_s: float
    encode_s: float
    decode_s: float
    decode_units: int
    start_s: float

    @property
    def least_s(self) -> float:
        """The least GPU-seconds that a step takes."""
        degree, seconds = self.worth[0]
        return degree * seconds

    def step_s(self, degree: int) -> float:
        return next(seconds for k, seconds in self.steps if k == degree)

    def unit_s(self, stage: Stage, degree: int) -> float:
        """Seconds of a unit of `stage`; only steps change with the degree."""
        if stage is Stage.DIFFUSE:
            return self.step_s(degree)
        return self.encode_s if stage is Stage.ENCODE else self.decode_s


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
        steps, ends_s = left(job, pace, 0 if running is None else running.chunk.units)
        deadline = inf if request.deadline is None else request.deadline
        result.append(Standing(job=job, pace=pace, at=at, deadline=deadline, steps=steps, ends_s=ends_s))
    return result


def pace_of(view: View, job: Job, *, rank: Rank = -1, most: int = 0, factor: float = 1.0) -> Pace:
    """What the cost model says of the kind of `job`, at the degrees that the pool has ranks for.

    With `rank` on its kind of device, up to `most` of them, `factor` times as slow.
    """
    model, request = view.models[job.request.model], job.request
    most = most or len(view.ranks)
    degrees = sorted(k for k in model.diffuse.degrees if k <= most) or [min(model.diffuse.degrees)]
    steps = tuple((k, factor * view.unit_s(job, Stage.DIFFUSE, degree=k, rank=rank)) for k in degrees)
    device = view.ranks[rank].device if rank in view.ranks else view.device
    step = Work(model=request.model, stage=Stage.DIFFUSE, shapes=(job.shape,), guided=request.guided, device=device)
    return Pace(
        steps=steps,
        worth=worth_of(steps),
        fastest_s=min(seconds for _, seconds in steps),
        encode_s=factor * view.unit_s(job, Stage.ENCODE, degree=min(model.encode.degrees), rank=rank),
        decode_s=factor * view.unit_s(job, Stage.DECODE, degree=min(model.decode.degrees), rank=rank),
        decode_units=model.units(Stage.DECODE, job.shape, job.steps),
        start_s=view.costs.start_s(step, (0,), ((-1,),)),
    )


def worth_of(steps: Sequence[tuple[int, float]]) -> tuple[tuple[int, float], ...]:
    """From the least GPU-seconds to the fastest: the degrees (ascending) that a request may do well to take."""
    found = [min(steps, key=lambda step: step[0] * step[1])]
    for degree, seconds in steps:
        if degree > found[-1][0] and seconds < found[-1][1]:
            found.append((degree, seconds))
    return tuple(found)


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


def left(job: Job, pace: Pace, ahead: int) -> tuple[int, float]:
    """Steps left, and seconds of encode and decode left, once `ahead` more units of its stage are done."""
    done = job.done + ahead
    if job.stage is Stage.DECODE:
        return 0, (pace.decode_units - done) * pace.decode_s
    decode_s = pace.decode_units * pace.decode_s
    if job.stage is Stage.ENCODE:
        return job.steps, decode_s + (1 - done) * pace.encode_s
    return job.steps - done, decode_s
