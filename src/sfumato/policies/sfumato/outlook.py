"""How one request stands: the least GPU-seconds that still meet its deadline, and at which degree to go on.

With step time s_k at degree k, n steps left and T seconds for them, a request needs either one degree with n * s_k <= T
or two, the wide one first: x steps at a and n - x at b with x * s_a + (n - x) * s_b <= T. (TetriServe, ASPLOS'26,
section on deadline-aware allocation.) Encode and decode take their own, narrow time and are set aside from T.
"""

from __future__ import annotations

from math import ceil, inf

from sfumato.core.values import Job, Shape, Stage, Value
from sfumato.core.view import View


class Speeds(Value, frozen=True, kw_only=True):
    """Seconds of a unit for one kind of request: steps by degree (ascending), encode and decode at their narrowest."""

    steps: tuple[tuple[int, float], ...]
    encode_s: float
    decode_s: float
    decode_units: int

    @property
    def fastest_step_s(self) -> float:
        return min(seconds for _, seconds in self.steps)


class Outlook(Value, frozen=True, kw_only=True):
    """One live job at the earliest instant that it can be planned for (`ready_at`: now, or the end of its chunk).

    `work` is the least GPU-seconds that meet the deadline and `degree` the first degree of that; a job that cannot
    meet it any more (or has none) is `hopeless`, with its least work at degree 1. `fastest_s` is the time to its end
    with nothing in its way: `steps` left at the fastest degree, and `ends_s` of encode and decode.
    """

    job: Job
    ready_at: float
    deadline: float
    work: float
    degree: int
    fastest_s: float
    steps: int
    ends_s: float
    hopeless: bool
    speeds: Speeds

    @property
    def laxity(self) -> float:
        """Seconds that it could still wait and then just make it at its fastest."""
        return self.deadline - self.ready_at - self.fastest_s

    def step_s(self, degree: int) -> float:
        """Seconds of a unit of the stage that comes next."""
        if self.job.stage is Stage.DIFFUSE:
            return next(seconds for k, seconds in self.speeds.steps if k == degree)
        return self.speeds.encode_s if self.job.stage is Stage.ENCODE else self.speeds.decode_s


def speeds_of(view: View, job: Job, shape: Shape) -> Speeds:
    """Read a request kind's speeds off the cost model."""
    model = view.models[job.request.model]
    degrees = [d for d in model.diffuse.degrees if d <= max(1, len(view.ranks))] or [model.diffuse.degrees[0]]
    return Speeds(
        steps=tuple((d, view.unit_s(job, Stage.DIFFUSE, degree=d)) for d in sorted(degrees)),
        encode_s=view.unit_s(job, Stage.ENCODE),
        decode_s=view.unit_s(job, Stage.DECODE),
        decode_units=model.units(Stage.DECODE, shape, job.steps),
    )


def outlook_of(job: Job, speeds: Speeds, ready_at: float, units_ahead: int) -> Outlook:
    """Weigh a job that will have done `units_ahead` more units of its stage at `ready_at`."""
    steps, ends_s = _left(job, speeds, units_ahead)
    deadline = inf if job.request.deadline is None else job.request.deadline
    fastest_s = ends_s + steps * speeds.fastest_step_s
    found = _least_work(speeds.steps, steps, deadline - ready_at - ends_s) if deadline < inf else None
    narrow, narrow_s = speeds.steps[0]
    work, degree = found or (narrow * steps * narrow_s, narrow)
    return Outlook(
        job=job,
        ready_at=ready_at,
        deadline=deadline,
        work=work + ends_s,
        degree=degree if job.stage is Stage.DIFFUSE else 1,
        fastest_s=fastest_s,
        steps=steps,
        ends_s=ends_s,
        hopeless=found is None,
        speeds=speeds,
    )


def _left(job: Job, speeds: Speeds, units_ahead: int) -> tuple[int, float]:
    """Steps left, and seconds of encode and decode left."""
    done = job.done + units_ahead
    if job.stage is Stage.DECODE:
        return 0, (speeds.decode_units - done) * speeds.decode_s
    decode_s = speeds.decode_units * speeds.decode_s
    if job.stage is Stage.ENCODE:
        return job.steps, decode_s + (1 - done) * speeds.encode_s
    return job.steps - done, decode_s


def _least_work(by_degree: tuple[tuple[int, float], ...], steps: int, time_s: float) -> tuple[float, int] | None:
    """(GPU-seconds, first degree) of the cheapest way to do `steps` in `time_s`; None if there is none."""
    best: tuple[float, int] | None = None
    for at, (narrow, narrow_s) in enumerate(by_degree):
        if steps * narrow_s <= time_s:
            option = narrow * steps * narrow_s, narrow
            best = option if best is None or option < best else best
            continue
        for wide, wide_s in by_degree[at + 1 :]:
            if wide_s >= narrow_s:
                continue
            wide_steps = ceil((steps * narrow_s - time_s) / (narrow_s - wide_s) - 1e-9)
            if wide_steps > steps:
                continue
            option = wide * wide_steps * wide_s + narrow * (steps - wide_steps) * narrow_s, wide
            best = option if best is None or option < best else best
    return best
