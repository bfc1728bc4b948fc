"""The live jobs, in order of arrival, and the count of how all others ended (law L1).

Jobs change here and nowhere else; each change goes through the lifecycle table. Ended jobs leave an Outcome and are
forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from msgspec.structs import replace

from sfumato.core.lifecycle import ENDS, Move, moved
from sfumato.core.values import STAGES, Group, Job, JobState, ModelSpec, Outcome, Request, Shape, Stage
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

    def advance(self, job: Job, model: ModelSpec, units: int, saved: int, busy_s: float, at: float) -> Outcome | None:
        """Credit a chunk's units; the Outcome if that was the last of them.

        A finished stage counts as saved: workers snapshot a job at the end of every stage.
        """
        done = job.done + units
        left = model.units(job.stage, job.shape, job.steps) - done
        if left < 0:
            raise LawError("L5", f"job {job.id} got {units} units of {job.stage}, {-left} more than it has")
        busy = _credited(job.busy_s, job.stage, busy_s)
        if left == 0 and job.stage is Stage.DECODE:
            in_time = job.request.deadline is None or at <= job.request.deadline
            return self.end(replace(job, busy_s=busy), Move.DELIVER if in_time else Move.OVERRUN, at)
        state = moved(job.state, Move.PAUSE)
        if left:
            self._put(job, state=state, chunk=None, done=done, saved=max(job.saved, job.done + saved), busy_s=busy)
        else:
            after = STAGES[STAGES.index(job.stage) + 1]
            self._put(job, state=state, chunk=None, stage=after, done=0, saved=0, busy_s=busy)
        return None

    def lose(self, job: Job, saved: int) -> None:
        """The rank that held a job is gone: on from its last snapshot, which may be ahead of the last chunk's end."""
        state = moved(job.state, Move.PAUSE) if job.state is JobState.RUNNING else job.state
        saved = max(job.saved, saved)
        self._put(job, state=state, chunk=None, home=None, done=saved, saved=saved)

    def end(self, job: Job, move: Move, at: float, reason: str = "") -> Outcome:
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
            busy_s=job.busy_s,
            reason=reason,
        )

    def _put(self, job: Job, **changes: Any) -> None:
        self.live[job.request.id] = replace(job, **changes)


def _credited(busy: tuple[float, float, float], stage: Stage, seconds: float) -> tuple[float, float, float]:
    encode, diffuse, decode = busy
    if stage is Stage.DIFFUSE:
        return encode, diffuse + seconds, decode
    return (encode + seconds, diffuse, decode) if stage is Stage.ENCODE else (encode, diffuse, decode + seconds)
