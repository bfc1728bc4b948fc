"""Inside a worker: how one chunk is run, unit by unit, and which states of jobs are held between chunks.

Rules: a launched chunk runs at least one unit; a Stop or Forget takes effect after the unit in flight; a job leaves its
batch and the others go on. How far a job gets is `begin + units` as the controller counts: a state that is ahead (it
was thawed from a snapshot newer than the controller knew) computes only the rest. Snapshots are written before Done is
sent, so that what the controller counts as saved is saved.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from math import ceil

from sfumato.core.events import Progress
from sfumato.core.values import Stage
from sfumato.models.family import Model, State
from sfumato.runtime.paced import Beat
from sfumato.runtime.snapshots import Snapshots
from sfumato.runtime.weighing import Scale, most_bytes
from sfumato.runtime.wire import Assignment, Done, Forget, Line, Run, Stepped, Stop, ToWorker


class Member:
    """A job in the running chunk."""

    def __init__(self, assignment: Assignment, stage: Stage, units: int, state: State | None, error: str) -> None:
        self.job = assignment.job
        self.task = assignment.task
        self.state = state
        self.error = error
        self.out = bool(error)  # has left the batch
        self.gone = False  # nobody wants it any more
        self._begin = assignment.begin
        self._stage = stage
        self._target = assignment.begin + units

    @property
    def done(self) -> int:
        """Units of the stage that are computed."""
        if self.state is None or self._stage is Stage.ENCODE:
            return int(self.state is not None)
        return self.state.done if self._stage is Stage.DIFFUSE else self.state.decoded

    @property
    def goes_on(self) -> bool:
        return not self.out and self.done < self._target

    def progress(self) -> Progress:
        """What the controller is to credit; a decode counts as saved only when it is finished."""
        units = 0 if self.error else min(self.done, self._target) - self._begin
        return Progress(job=self.job, units=units, saved=0 if self._stage is Stage.DECODE else units, error=self.error)


class Chunks:
    """Runs chunks; holds the states of jobs until they are forgotten."""

    def __init__(
        self,
        line: Line,
        models: Mapping[str, Model],
        snapshots: Snapshots,
        snapshot_every_s: float,
        waiting: deque[ToWorker],
        device: str,
        foresee: Callable[[ToWorker], None] = lambda _: None,
    ) -> None:
        """`foresee` is told of every message as it is put aside in `waiting`."""
        self._line = line
        self._models = models
        self._snapshots = snapshots
        self._every_s = snapshot_every_s
        self._waiting = waiting
        self._device = device
        self._foresee = foresee
        self._states: dict[str, State] = {}
        self._discarded = False
        self._sent_at = self._worked_at = time.monotonic()

    def run(self, run: Run, received: float) -> None:
        """Run a chunk to its end and report it."""
        if not run.lead:
            self._keep_time(run)
            return
        model = self._models[run.model]
        idle_s = received - self._sent_at
        members = [self._member(assignment, run, model) for assignment in run.jobs]
        beat = Beat(run.pace) if run.pace else None
        scale = Scale(self._device) if run.weigh and not run.pace else None
        gap_from, first = self._worked_at, time.monotonic()
        computed = self._advance(run, model, members, beat, scale)
        self._worked_at = last = time.monotonic()
        peak_bytes = scale.peak_bytes() if scale else 0
        if not self._settle(run, model, members):
            return
        done = Done(
            seq=run.seq,
            progress=tuple(member.progress() for member in members),
            computed=computed,
            seconds=last - first,
            start_s=first - received,
            idle_s=idle_s,
            gap_s=first - gap_from,
            peak_bytes=peak_bytes,
            held_bytes=scale.held_bytes if scale else 0,
            most_bytes=most_bytes(self._device) if not run.pace and any(member.gone for member in members) else 0,
        )
        self._line.send(done)
        self._sent_at = time.monotonic()

    def forget(self, message: Forget) -> None:
        """Free a job's state; if it has ended also its files: we may have written some since the controller did so."""
        self._states.pop(message.job, None)
        if message.ended:
            self._snapshots.forget(message.job)

    def drop(self, run: Run) -> None:
        """Free the states of a chunk's jobs."""
        for assignment in run.jobs:
            self._states.pop(assignment.job, None)

    # -- before, during and after the units -------------------------------------------------------------------------

    def _member(self, assignment: Assignment, run: Run, model: Model) -> Member:
        state, error = None, ""
        if assignment.fetch:
            self._states.pop(assignment.job, None)
            try:
                state = model.thaw(*self._snapshots.read(assignment.job))
            except FileNotFoundError:
                error = "its snapshot is missing"
        elif assignment.task is None:
            state = self._states.get(assignment.job)
            error = "" if state else "its state is not on this worker"
        return Member(assignment, run.stage, run.units, state, error)

    def _advance(
        self, run: Run, model: Model, members: Sequence[Member], beat: Beat | None, scale: Scale | None
    ) -> int:
        """All units of a chunk; how many had to be computed."""
        self._discarded = False
        computed, saved_at = 0, time.monotonic()
        while active := [member for member in members if member.goes_on]:
            if scale:
                scale.look(member.state for member in active)
            self._unit(run.stage, model, active)
            if beat:
                beat.hold()
            computed += 1
            self._listen(run.seq, members)
            if not any(member.goes_on for member in active) or self._discarded:
                break
            self._line.send(Stepped(seq=run.seq, done=tuple(member.done for member in members)))
            if run.stage is Stage.DIFFUSE and time.monotonic() - saved_at > self._every_s:
                self._save(model, [member for member in active if not member.gone])
                saved_at = time.monotonic()
        if scale:
            scale.look(member.state for member in members if not member.gone)
        return computed

    def _unit(self, stage: Stage, model: Model, active: Sequence[Member]) -> None:
        """One unit of work for each of `active`."""
        if stage is Stage.ENCODE:
            tasks = [member.task for member in active if member.task is not None]
            for member, state in zip(active, model.encode(tasks), strict=True):
                member.state = state
            return
        states = [member.state for member in active if member.state is not None]
        if stage is Stage.DIFFUSE:
            model.step(states)
            return
        for member, state in zip(active, states, strict=True):
            if model.decode(state) and not member.gone:
                self._snapshots.write_output(member.job, model.output(state))
                self._states.pop(member.job, None)
                member.gone = True  # only its picture is wanted now

    def _listen(self, seq: int, members: Sequence[Member]) -> None:
        """Take what has come during the unit: Stop and Forget now, the rest after the chunk."""
        early = [message for message in self._waiting if isinstance(message, Stop)]
        while (message := early.pop() if early else self._line.poll()) is not None:
            match message:
                case Stop(seq=stopped, jobs=jobs, discard=discard) if stopped == seq:
                    self._discarded = self._discarded or discard
                    for member in members:
                        member.out = member.out or not jobs or member.job in jobs
                case Forget(job=job) if not self._waiting:
                    self.forget(message)
                    for member in members:
                        if member.job == job:
                            member.out = member.gone = True
                case Stop() if message in self._waiting or message.seq < seq:
                    pass
                case _:
                    self._waiting.append(message)
                    self._foresee(message)

    def _settle(self, run: Run, model: Model, members: Sequence[Member]) -> bool:
        """Write what the chunk changed and hold it; False if nobody wants to know."""
        if self._discarded:
            self.drop(run)
            return False
        kept = [member for member in members if not member.gone and not member.error and member.state is not None]
        if run.stage is Stage.ENCODE:
            for member in kept:
                assert member.state is not None
                self._snapshots.write_static(member.job, model.freeze_static(member.state))
        if run.stage is not Stage.DECODE:
            self._save(model, kept)
        for member in kept:
            assert member.state is not None
            self._states[member.job] = member.state
        return True

    def _save(self, model: Model, members: Sequence[Member]) -> None:
        for member in members:
            if member.state is not None:
                self._snapshots.write(member.job, member.state.done, model.freeze(member.state))

    def _keep_time(self, run: Run) -> None:
        """Be busy as long as the chunk that another rank of the group computes."""
        assert run.pace is not None
        begins, unit_s = max(time.monotonic(), run.pace.sent_at + run.pace.start_s), run.pace.unit_s
        ends = begins + run.units * unit_s
        while (left := ends - time.monotonic()) > 0:
            match message := self._line.poll(left):
                case Stop(seq=seq, jobs=(), discard=discard) if seq == run.seq:
                    units = max(1, ceil((time.monotonic() - begins) / unit_s)) if unit_s else 0
                    ends = 0.0 if discard else begins + units * unit_s
                case Forget():
                    self.forget(message)
                case Stop() | None:
                    pass
                case _:
                    self._waiting.append(message)
                    return  # the group's first rank has ended the chunk, and this one has its next
