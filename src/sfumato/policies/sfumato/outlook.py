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
from sfumato.policies.sfumato.residuals import Margin, Residuals

_KINDS = 10_000  # that are remembered


class Part(Value, frozen=True, kw_only=True):
    """Ranks of one device kind, `slow` times slower than the profile says."""

    ranks: tuple[Rank, ...]
    device: str
    slow: float = 1.0


class Outlook(Value, frozen=True, kw_only=True):
    """One live job at the earliest instant that it can be planned for: now, or the end of its chunk.

    `work` is the least GPU-seconds that meet the deadline; `part` and `degree` are where and how to begin that. A job
    that cannot meet it any more (or has none) is `hopeless`, with its least work. `fastest_s` is the time to its end
    with nothing in its way; at `start_by` it must go on to just make it. `paces` are by part. All this holds
    `until` a time, as long as the job stays as it is; `order` is the order of deadlines.
    """

    job: Job
    kind: int
    deadline: float
    start_by: float
    work: float
    part: int
    degree: int
    steps: int
    ends_s: float
    fastest_s: float
    hopeless: bool
    until: float
    order: tuple[float, float, str]
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
    """Paces by kind of request on every part, read off the cost model once a plan.

    Kinds are numbered, and what has not changed since the last plan stays the same object: a look tells that what
    rested on it still holds.
    """

    def __init__(self) -> None:
        self._numbers: dict[tuple[str, object, int, bool], int] = {}
        self._paces: list[tuple[Pace, ...]] = []
        self.samples: dict[int, Job] = {}  # a job of every kind that was asked for since `begin`

    def begin(self, view: View, parts: Sequence[Part]) -> None:
        """A new plan: every kind is read anew when it is first asked for."""
        self._view, self._parts = view, parts
        self.samples.clear()
        if len(self._paces) > _KINDS:
            self._numbers.clear()
            self._paces.clear()

    def kind(self, job: Job) -> int:
        """The number of a job's kind."""
        key = (job.request.model, job.shape, job.steps, job.request.guided)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._paces)
            self._paces.append(())
        return number

    def of(self, kind: int, job: Job) -> tuple[Pace, ...]:
        """The paces of a kind; `job` is of it."""
        if kind not in self.samples:
            self.samples[kind] = job
            new = tuple(
                pace_of(self._view, job, rank=part.ranks[0], most=len(part.ranks), factor=part.slow)
                for part in self._parts
            )
            if new != self._paces[kind]:
                self._paces[kind] = new
        return self._paces[kind]


class Scales:
    """Weighs all live jobs. What did not change is not weighed again: that speeds a plan up and alters nothing."""

    def __init__(self) -> None:
        self.paces = Paces()
        self._known: dict[str, Outlook] = {}
        self._margin = Margin(0.0, 0.0)

    def weigh(self, view: View, margin: Margin) -> list[Outlook]:
        """The outlook of every live job, in order of arrival; a running one's from the end of its chunk."""
        before = self._known if margin == self._margin else {}
        after: dict[str, Outlook] = {}
        of, now = self.paces.of, view.now
        for job in view.jobs:
            name = job.request.id
            known = before.get(name)
            if known is not None and known.job is job:
                if now <= known.until and of(known.kind, job) is known.paces:
                    after[name] = known
                    continue
                kind = known.kind
            else:
                kind = self.paces.kind(job)
            after[name] = self._weighed(view, job, kind, margin)
        self._known, self._margin = after, margin
        return list(after.values())

    def weighed(self, view: View, job: Job, margin: Margin) -> Outlook:
        """The outlook of a job as it might be."""
        return self._weighed(view, job, self.paces.kind(job), margin)

    def _weighed(self, view: View, job: Job, kind: int, margin: Margin) -> Outlook:
        paces = self.paces.of(kind, job)
        if job.chunk is None:
            return outlook_of(job, kind, paces, view.now, 0, margin)
        running = view.running[job.chunk]
        return outlook_of(job, kind, paces, max(view.now, running.ends_at), running.chunk.units, margin)


def outlook_of(job: Job, kind: int, paces: tuple[Pace, ...], ready_at: float, ahead: int, margin: Margin) -> Outlook:
    """Weigh a job that will have done `ahead` more units of its stage at `ready_at`."""
    steps, ends_s = left(job, paces[0], ahead)
    request = job.request
    deadline = inf if request.deadline is None else request.deadline
    step_s = min(pace.fastest_s for pace in paces) if len(paces) > 1 else paces[0].fastest_s
    fastest_s = ends_s + steps * step_s
    start_by = deadline - fastest_s
    narrow, narrow_s = paces[0].hull[0]
    work, part, degree, until = narrow * steps * narrow_s, 0, narrow, inf
    hopeless = deadline == inf or start_by < ready_at - 1e-9
    if not hopeless:
        spared_s = margin.seconds(fastest_s)
        start_by = max(ready_at, start_by - spared_s)
        work, part, degree = cheapest(paces, steps, steps * step_s + start_by - ready_at) or (work, part, degree)
        until = deadline - ends_s - spared_s - steps * narrow_s if degree == narrow and len(paces) == 1 else -inf
    return Outlook(
        job=job,
        kind=kind,
        deadline=deadline,
        start_by=start_by,
        work=work + ends_s,
        part=part,
        degree=degree if job.stage is Stage.DIFFUSE else 1,
        steps=steps,
        ends_s=ends_s,
        fastest_s=fastest_s,
        hopeless=hopeless,
        until=until if job.chunk is None else -inf,
        order=(deadline, request.arrived_at, request.id),
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
