"""The live jobs, in order of arrival, and the count of how all others ended (law L1).

Jobs change here and nowhere else; each change goes through the lifecycle table. Ended jobs leave an Outcome and are
forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from sfumato.core.events import Progress
from sfumato.core.lifecycle import ENDS, Move, moved
from sfumato.core.values import STAGES, Group, Job, JobState, ModelSpec, Outcome, Request, Shape, Stage, StageSeconds
from sfumato.errors import LawError


class Backlog:
    """All jobs that have arrived and not ended."""

    def __init__(self) -> None:
        self.live: dict[str, Job] = {}
        self.arrived = 0
        self.ended: dict[JobState, int] = dict.fromkeys((s for s in JobState if s in ENDS), 0)

    def restore(self, jobs: Iterable[Job], arrived: int, ended: Mapping[JobState, int]) -> None:
        """Take up what a checkpoint tells."""
        self.live = {job.id: job for job in jobs}
        self.arrived = arrived
        self.ended.update(ended)

    def __len__(self) -> int:
        return len(self.live)

    def get(self, job_id: str) -> Job | None:
        return self.live.get(job_id)

    def ready(self) -> Iterator[Job]:
        """Jobs that are in no chunk, in order of arrival."""
        return (job for job in self.live.values() if job.chunk is None)

    def arrive(self, request: Request) -> None:
        if request.id in self.live:
            raise LawError("L2", f"request {request.id} arrived twice")
        self.arrived += 1
        self.live[request.id] = Job(request=request, shape=request.shape, steps=request.steps)

    def admit(self, job_id: str, shape: Shape, steps: int) -> None:
        """Accept a request with less than it asked for."""
        self._put(self.live[job_id], shape=shape, steps=steps)

    def launch(self, job_id: str, seq: int, group: Group, at: float) -> None:
        job = self.live[job_id]
        first = at if job.first_launch is None else job.first_launch
        state = moved(job.state, Move.LAUNCH)
        self._put(job, state=state, chunk=seq, home=group, first_launch=first, launches=job.launches + 1)

    def advance(
        self, job: Job, model: ModelSpec, gain: Progress, spent: tuple[float, float], at: float
    ) -> Outcome | None:
        """Credit what a job gained in a chunk; the Outcome if those were its last units.

        `spent`: the chunk's seconds, and the job's share of its rank-seconds. A finished stage counts as saved: workers
        snapshot a job at the end of every stage.
        """
        stage, done = job.stage, job.done + gain.units
        saved = max(job.saved, job.done + gain.saved) if gain.saved else job.saved  # else no snapshot has what was done
        left = model.units(stage, job.shape, job.steps) - done
        if left < 0:
            raise LawError("L5", f"job {job.id} got {gain.units} units of {stage}, {-left} more than it has")
        stage_s, busy_s = _added(job.stage_s, stage, spent[0]), _added(job.busy_s, stage, spent[1])
        if left == 0 and stage is Stage.DECODE:
            in_time = job.request.deadline is None or at <= job.request.deadline
            ended = replace(job, stage_s=stage_s, busy_s=busy_s)
            return self.end(ended, Move.DELIVER if in_time else Move.OVERRUN, at)
        if left == 0:
            stage, done, saved = STAGES[STAGES.index(stage) + 1], 0, 0
        state = moved(job.state, Move.PAUSE)
        self._put(job, state=state, chunk=None, stage=stage, done=done, saved=saved, stage_s=stage_s, busy_s=busy_s)
        return None

    def lose(self, job: Job, saved: int) -> None:
        """The rank that held a job is gone: on from its last snapshot, which may be ahead of the last chunk's end."""
        state = moved(job.state, Move.PAUSE) if job.state is JobState.RUNNING else job.state
        saved = max(job.saved, saved)
        self._put(job, state=state, chunk=None, home=None, done=saved, saved=saved)

    def end(self, job: Job, move: Move, at: float, reason: str = "", field: str = "") -> Outcome:
        state = moved(job.state, move)
        del self.live[job.id]
        self.ended[state] += 1
        return Outcome(
            request=job.id,
            state=state,
            at=at,
            arrived_at=job.request.arrived_at,
            deadline=job.request.deadline,
            first_launch=job.first_launch,
            stage_s=job.stage_s,
            busy_s=job.busy_s,
            reason=reason,
            field=field,
        )

    def _put(self, job: Job, **changes: Any) -> None:
        self.live[job.request.id] = replace(job, **changes)


def _added(spent: StageSeconds, stage: Stage, seconds: float) -> StageSeconds:
    encode, diffuse, decode = spent
    if stage is Stage.DIFFUSE:
        return encode, diffuse + seconds, decode
    return (encode + seconds, diffuse, decode) if stage is Stage.ENCODE else (encode, diffuse, decode + seconds)
