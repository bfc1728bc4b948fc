"""How every request stands: the least GPU-seconds that still meet its deadline, where, and at which degree to go on.

Work on a part is counted in GPU-seconds of the first part, so that a slow device is neither cheap nor dear (`least`).
A margin is kept before the deadline (`residuals`), but no request is given up for the margin alone. Where steps may be
reused, the work and whether a deadline can be met at all are counted with what that is expected to save; when and at
which degree to go on is found as if it saved nothing, so that deadlines are kept if it does not.

All live requests are weighed at once, in columns; what a job brings to them is read off it once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf

import numpy as np
from numpy.typing import NDArray

from sfumato.core.values import Job, Stage, Value
from sfumato.core.view import View
from sfumato.policies.pace import Pace
from sfumato.policies.sfumato.least import NEAR, cheapest
from sfumato.policies.sfumato.paces import Floats, Ints, Paces
from sfumato.policies.sfumato.residuals import Margin

Flags = NDArray[np.bool_]

COLUMNS = 10
KIND, STAGE, STEPS, ENCODES, DECODES, READY, DEADLINE, ARRIVED, PRIORITY, IDLE = range(COLUMNS)
CODES = {Stage.ENCODE: 0.0, Stage.DIFFUSE: 1.0, Stage.DECODE: 2.0}
SPARE = 64  # rows of the departed that are kept before all are copied


class Outlook(Value, frozen=True, kw_only=True):
    """One live job at the earliest instant that it can be planned for: now, or the end of its chunk.

    `work` is the least GPU-seconds that meet the deadline; `part` and `degree` are where and how to begin that. A job
    that cannot meet it any more (or has none) is `hopeless`, with its least work. `fastest_s` is the time to its end
    with nothing in its way; at `start_by` it must go on to just make it, even if no step is reused. `paces` are by
    part, `place` is its place among all in order of arrival.
    """

    job: Job
    place: int
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
    paces: tuple[Pace, ...]

    def step_s(self, degree: int, part: int = 0) -> float:
        """Seconds of a unit of the stage that comes next."""
        return self.paces[part].unit_s(self.job.stage, degree)


class Outlooks:
    """Every live job in order of arrival: a column for each field of `Outlook`, and rows as they are asked for."""

    def __init__(self, jobs: Sequence[Job], columns: Floats, paces: Paces, now: float, margin: Margin) -> None:
        self.jobs, self._paces = jobs, paces
        self._rows: dict[int, Outlook] = {}
        self.kind: Ints = columns[KIND].astype(np.intp)
        self.stage, self.deadline = columns[STAGE], columns[DEADLINE]
        self.arrived, self.priority = columns[ARRIVED], columns[PRIORITY]
        self.idle: Flags = columns[IDLE] > 0.0
        self.steps = columns[STEPS]
        kind = self.kind
        self.ends_s = columns[DECODES] * paces.decode_s[kind] + columns[ENCODES] * paces.encode_s[kind]
        steps_s = self.steps * paces.fastest_s[kind]
        self.fastest_s = self.ends_s + steps_s * paces.left[kind]
        self.ready_at = ready = np.maximum(now, columns[READY])
        self.start_by = self.deadline - (self.ends_s + steps_s)
        self.hopeless: Flags = (self.deadline == inf) | (self.deadline - self.fastest_s < ready - NEAR)
        self._least_work(margin, ready, steps_s)
        self.stall = self._stall(paces)

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, place: int) -> Outlook:
        known = self._rows.get(place)
        if known is None:
            known = self._rows[place] = self._row(place)
        return known

    def __iter__(self) -> Iterator[Outlook]:
        return map(self.__getitem__, range(len(self)))

    def alike(self, lead: Outlook, *, packs: bool) -> Flags:
        """Who is in the same stage and of the same kind as `lead`; with `packs` of any size."""
        family = self._paces.family
        same = family[self.kind] == family[lead.kind] if packs else self.kind == lead.kind
        found: Flags = same & (self.stage == self.stage[lead.place])
        return found

    def instead(self, o: Outlook, other: Outlook) -> Outlooks:
        """These with another in the place of one, as far as choosing whom to save goes."""
        found: Outlooks = object.__new__(Outlooks)
        found.__dict__ = dict(self.__dict__)
        found.hopeless, found.work = self.hopeless.copy(), self.work.copy()
        found.hopeless[o.place], found.work[o.place] = other.hopeless, other.work
        return found

    def _least_work(self, margin: Margin, ready: Floats, steps_s: Floats) -> None:
        """Work, part and degree of everyone; whoever cannot make it has the least of all on the first part."""
        kind, steps, paces = self.kind, self.steps, self._paces
        narrow = paces.degrees[0, 0][kind]
        self.work = narrow * steps * paces.seconds[0, 0][kind]
        self.degree: Ints = narrow.astype(np.intp)
        self.part: Ints = np.zeros(len(self), dtype=np.intp)
        some = (~self.hopeless).nonzero()[0]
        if len(some):
            fastest_s, ready = self.fastest_s[some], ready[some]
            spared_s = margin.each * fastest_s + np.sqrt(margin.variance * fastest_s)
            start_by = self.start_by[some] = np.maximum(ready, self.start_by[some] - spared_s)
            found, degrees, parts = cheapest(paces, kind[some], steps[some], steps_s[some] + start_by - ready)
            able = found < inf
            if not able.all():
                some, found, parts, degrees = some[able], found[able], parts[able], degrees[able]
            self.work[some], self.part[some], self.degree[some] = found, parts, degrees
        self.work = self.work * paces.left[kind] + self.ends_s

    def _stall(self, paces: Paces) -> Floats:
        """What a second without all ranks of the pool costs who goes fastest on all of them: all of it, unless a
        narrower step is borne. Nothing to anybody else."""
        beside_s = paces.beside_s[self.kind]
        found = np.zeros(len(self))
        some = ((beside_s > 0.0) & (self.steps > 0.0)).nonzero()[0]
        if len(some):
            beside_s, laxity = beside_s[some], self.start_by[some] - self.ready_at[some]
            narrower = 1.0 - paces.fastest_s[self.kind[some]] / beside_s
            found[some] = np.where(paces.spans.bear(beside_s, laxity), narrower, 1.0)
        return found

    def _row(self, place: int) -> Outlook:
        job, kind = self.jobs[place], int(self.kind[place])
        encode, decode, *_ = self._paces.kinds[kind].works[0]
        alone = encode.degree if job.stage is Stage.ENCODE else decode.degree
        return Outlook(
            job=job,
            place=place,
            kind=kind,
            deadline=float(self.deadline[place]),
            start_by=float(self.start_by[place]),
            work=float(self.work[place]),
            part=int(self.part[place]),
            degree=int(self.degree[place]) if job.stage is Stage.DIFFUSE else alone,
            steps=int(self.steps[place]),
            ends_s=float(self.ends_s[place]),
            fastest_s=float(self.fastest_s[place]),
            hopeless=bool(self.hopeless[place]),
            paces=self._paces.kinds[kind].paces,
        )


class Rows:
    """What each job brings to the columns, read once. Jobs never change: one with other progress is another object."""

    def __init__(self) -> None:
        self._jobs: list[Job] = []  # they are held, so that no other object gets the id of one
        self._known: dict[int, int] = {}
        self._columns: Floats = np.empty((COLUMNS, SPARE))

    def columns(self, view: View, jobs: Sequence[Job], paces: Paces) -> Floats:
        """The columns of these jobs."""
        ids = list(map(id, jobs))
        new = [job for job, number in zip(jobs, ids, strict=True) if number not in self._known]
        if new:
            self._add(view, new, paces)
        rows = [self._known[number] for number in ids]
        found = self._columns[:, rows]
        if len(self._jobs) > 2 * len(jobs) + SPARE:
            self._jobs, self._columns = list(jobs), found
            self._known = {id(job): row for row, job in enumerate(jobs)}
        return found

    def _add(self, view: View, jobs: Sequence[Job], paces: Paces) -> None:
        first = len(self._jobs)
        short = first + len(jobs) - self._columns.shape[1]
        if short > 0:
            self._columns = np.concatenate((self._columns, np.empty((COLUMNS, max(short, first)))), axis=1)
        self._columns[:, first : first + len(jobs)] = np.array([_row_of(view, job, paces) for job in jobs]).T
        self._jobs += jobs
        self._known.update((id(job), row) for row, job in enumerate(jobs, first))


class Scales:
    """Weighs all live jobs. What a job brings is read once: that speeds a plan up and alters nothing."""

    def __init__(self) -> None:
        self.paces = Paces()
        self._rows, self._age = Rows(), -1

    def weigh(self, view: View, margin: Margin) -> Outlooks:
        """The outlook of every live job; a running one's from the end of its chunk. `paces` must have begun."""
        if self._age != self.paces.age:
            self._rows, self._age = Rows(), self.paces.age
        jobs = list(view.jobs)
        return self._weighed(view, jobs, self._rows.columns(view, jobs, self.paces), margin)

    def weighed(self, view: View, job: Job, margin: Margin) -> Outlook:
        """The outlook of a job as it might be."""
        columns = np.array([_row_of(view, job, self.paces)]).T
        return self._weighed(view, [job], columns, margin)[0]

    def _weighed(self, view: View, jobs: Sequence[Job], columns: Floats, margin: Margin) -> Outlooks:
        self.paces.read(view, columns[KIND].astype(np.intp))
        return Outlooks(jobs, columns, self.paces, view.now, margin)


def _row_of(view: View, job: Job, paces: Paces) -> tuple[float, ...]:
    """What a job brings to the columns, at the end of its chunk if it is in one."""
    request, stage = job.request, job.stage
    kind = paces.kind(view, job)
    running = None if job.chunk is None else view.running[job.chunk]
    done = job.done if running is None else job.done + running.chunk.units
    units = paces.kinds[kind].decode_units
    steps = job.steps if stage is Stage.ENCODE else job.steps - done if stage is Stage.DIFFUSE else 0
    return (
        kind,
        CODES[stage],
        steps,
        1 - done if stage is Stage.ENCODE else 0,
        units - done if stage is Stage.DECODE else units,
        -inf if running is None else running.ends_at,
        inf if request.deadline is None else request.deadline,
        request.arrived_at,
        request.priority,
        running is None,
    )
