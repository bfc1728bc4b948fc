"""How one request stands: the least GPU-seconds that still meet its deadline, on which ranks, at which degree to go on.

Ranks of one kind of device that are equally fast are a `Part` of the pool; a group lies within one. Work on a part is
counted in GPU-seconds of the first part, so that a slow device is neither cheap nor dear. A margin is kept before the
deadline (`residuals`), but no request is given up for the margin alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from sfumato.core.values import Job, Rank, Stage, Value
from sfumato.core.view import View
from sfumato.policies.pace import Pace, left, pace_of
from sfumato.policies.sfumato.residuals import Residuals


class Part(Value, frozen=True, kw_only=True):
    """Ranks of one device kind, `slow` times slower than the profile says."""

    ranks: tuple[Rank, ...]
    device: str
    slow: float = 1.0


class Outlook(Value, frozen=True, kw_only=True):
    """One live job at the earliest instant that it can be planned for (`ready_at`: now, or the end of its chunk).

    `work` is the least GPU-seconds that meet the deadline; `part` and `degree` are where and how to begin that. A job
    that cannot meet it any more (or has none) is `hopeless`, with its least work. `fastest_s` is the time to its end
    with nothing in its way; `laxity` the seconds that it could still wait and then just make it. `paces` are by part.
    """

    job: Job
    ready_at: float
    deadline: float
    work: float
    part: int
    degree: int
    steps: int
    ends_s: float
    fastest_s: float
    laxity: float
    hopeless: bool
    paces: tuple[Pace, ...]

    def step_s(self, degree: int, part: int = 0) -> float:
        """Seconds of a unit of the stage that comes next."""
        return self.paces[part].unit_s(self.job.stage, degree)


def parts_of(view: View, residuals: Residuals) -> tuple[Part, ...]:
    """The pool by device and speed, the largest part first."""
    slow = residuals.slowness()
    found: dict[tuple[str, float], list[Rank]] = {}
    for rank, info in view.ranks.items():
        found.setdefault((info.device, slow.get(rank, 1.0)), []).append(rank)
    parts = [Part(ranks=tuple(sorted(ranks)), device=key[0], slow=key[1]) for key, ranks in found.items()]
    return tuple(sorted(parts, key=lambda part: (-len(part.ranks), part.slow, part.device)))


class Paces:
    """Paces by kind of request on every part, read off the cost model once a plan."""

    def __init__(self, view: View, parts: Sequence[Part]) -> None:
        self._view = view
        self._parts = parts
        self._known: dict[tuple[str, object, int, bool], tuple[Pace, ...]] = {}
        self._samples: list[Job] = []

    @property
    def samples(self) -> list[Job]:
        """A job of every kind that was asked for."""
        return self._samples

    def of(self, job: Job) -> tuple[Pace, ...]:
        kind = (job.request.model, job.shape, job.steps, job.request.guided)
        known = self._known.get(kind)
        if known is None:
            self._samples.append(job)
            known = self._known[kind] = tuple(
                pace_of(self._view, job, rank=part.ranks[0], most=len(part.ranks), factor=part.slow)
                for part in self._parts
            )
        return known


def weigh(view: View, paces: Paces, residuals: Residuals, chunk_s: float) -> list[Outlook]:
    """The outlook of every live job, in order of arrival; a running one's from the end of its chunk."""
    result = []
    for job in view.jobs:
        if job.chunk is None:
            result.append(outlook_of(job, paces.of(job), view.now, 0, residuals, chunk_s))
        else:
            running = view.running[job.chunk]
            ready_at = max(view.now, running.ends_at)
            result.append(outlook_of(job, paces.of(job), ready_at, running.chunk.units, residuals, chunk_s))
    return result


def outlook_of(
    job: Job, paces: tuple[Pace, ...], ready_at: float, ahead: int, residuals: Residuals, chunk_s: float
) -> Outlook:
    """Weigh a job that will have done `ahead` more units of its stage at `ready_at`."""
    steps, ends_s = left(job, paces[0], ahead)
    deadline = inf if job.request.deadline is None else job.request.deadline
    step_s = min(pace.fastest_s for pace in paces) if len(paces) > 1 else paces[0].fastest_s
    fastest_s = ends_s + steps * step_s
    laxity = deadline - ready_at - fastest_s
    hopeless = deadline == inf or laxity < -1e-9
    narrow, narrow_s = paces[0].hull[0]
    found = (narrow * steps * narrow_s, 0, narrow)
    if not hopeless:
        if residuals.count:
            laxity -= min(laxity, residuals.margin_s(fastest_s, chunk_s))
        found = cheapest(paces, steps, max(steps * step_s, fastest_s - ends_s + laxity)) or found
    return Outlook(
        job=job,
        ready_at=ready_at,
        deadline=deadline,
        work=found[0] + ends_s,
        part=found[1],
        degree=found[2] if job.stage is Stage.DIFFUSE else 1,
        steps=steps,
        ends_s=ends_s,
        fastest_s=fastest_s,
        laxity=laxity,
        hopeless=hopeless,
        paces=paces,
    )


def cheapest(paces: tuple[Pace, ...], steps: int, time_s: float) -> tuple[float, int, int] | None:
    """(GPU-seconds of the first part, part, first degree) of the least work that does `steps` in `time_s`."""
    if len(paces) == 1:
        alone = paces[0].least_work(steps, time_s)
        return alone and (alone[0], 0, alone[1])
    best: tuple[float, int, int] | None = None
    for part, pace in enumerate(paces):
        option = pace.least_work(steps, time_s)
        if option is not None:
            weighed = option[0] * paces[0].least_s / pace.least_s
            best = min(best, (weighed, part, option[1])) if best else (weighed, part, option[1])
    return best
