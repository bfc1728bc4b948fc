"""Inside a worker: how a chunk is run, unit by unit, from the message that asks for it to the one that reports it.

Rules: a launched chunk runs at least one unit; a Stop or Forget takes effect after the unit in flight; a job leaves its
batch and the others go on. How far a job gets is `begin + units` as the controller counts: a state that is ahead (it
was thawed from a snapshot newer than the controller knew) computes only the rest. Snapshots are written before Done is
sent, so that what the controller counts as saved is saved. The first rank of a group does the writing.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping

from sfumato.core.values import Stage
from sfumato.models.family import Model
from sfumato.runtime.course import Course, Member
from sfumato.runtime.groups import Groups, Team
from sfumato.runtime.held import Held
from sfumato.runtime.lines import Line
from sfumato.runtime.paced import Beat
from sfumato.runtime.units import compute
from sfumato.runtime.weighing import Scale, most_bytes
from sfumato.runtime.wire import Done, Forget, Run, Stepped, Stop, ToWorker


class Chunks:
    """Runs chunks, one at a time."""

    def __init__(
        self,
        line: Line,
        models: Mapping[str, Model],
        held: Held,
        groups: Groups,
        waiting: deque[ToWorker],
        *,
        device: str = "cpu",
        snapshot_every_s: float = 0.5,
        foresee: Callable[[ToWorker], None] = lambda _: None,
        finish: Callable[[], None] = lambda: None,
    ) -> None:
        """`foresee` is told of every message as it is put aside in `waiting`; `finish` waits for the device."""
        self._line = line
        self._models = models
        self._held = held
        self._groups = groups
        self._waiting = waiting
        self._device = device
        self._every_s = snapshot_every_s
        self._foresee = foresee
        self._finish = finish
        self._sent_at = self._worked_at = time.monotonic()

    def run(self, run: Run, received: float) -> Run | None:
        """Run a chunk to its end and report it; what to run right after it. Raises GroupBroken, and whatever the model
        does.
        """
        idle_s = received - self._sent_at
        course = self._begin(run)
        beat = Beat(run.pace) if run.pace and course.leads else None
        scale = Scale(self._device) if run.weigh and not run.pace else None
        gap_from, first = self._worked_at, time.monotonic()
        computed = self._advance(course, beat, scale)
        self._worked_at = last = time.monotonic()
        peak_bytes = scale.peak_bytes() if scale else 0
        if course.discarded:
            self._held.drop(member.job for member in course.members)
            return None
        self._held.settle(course)
        if not course.leads:
            return None
        then = run.then if all(member.came_through for member in course.members) else None
        ended = any(member.gone for member in course.members)
        done = Done(
            seq=run.seq,
            progress=tuple(member.progress() for member in course.members),
            computed=computed,
            seconds=last - first,
            start_s=first - received,
            idle_s=idle_s,
            gap_s=first - gap_from,
            peak_bytes=peak_bytes,
            held_bytes=scale.held_bytes if scale else 0,
            most_bytes=most_bytes(self._device) if ended and not run.pace else 0,
            onward=then is not None,
        )
        self._line.send(done)
        self._sent_at = time.monotonic()
        return then

    def abandon(self, run: Run) -> None:
        """A chunk has raised: nobody shall wait for this rank in it, and what it has made of the states is gone."""
        if run.group:
            self._groups.leave(run.ranks)
        self._held.drop(assignment.job for assignment in run.jobs)

    # -- before, during and after the units -------------------------------------------------------------------------

    def _begin(self, run: Run) -> Course:
        model = self._models[run.model]
        team = self._team(run) if run.group else None
        taken = [(assignment, self._held.take(assignment, model)) for assignment in run.jobs]
        members = [Member(assignment, run.stage, run.units, state) for assignment, state in taken]
        course = Course(run, model, members, team)
        course.level(lambda member: self._held.fetch(member.job, model))
        return course

    def _team(self, run: Run) -> Team:
        def given_up() -> bool:
            while (message := self._line.poll()) is not None:
                self._put_aside(message)
            return any(isinstance(one, Stop) and one.seq == run.seq and one.discard for one in self._waiting)

        return self._groups.of(run.group, run.ranks, given_up)

    def _advance(self, course: Course, beat: Beat | None, scale: Scale | None) -> int:
        """All units of a chunk; how many had to be computed."""
        run, computed, saved_at = course.run, 0, time.monotonic()
        while active := course.active:
            if scale:
                scale.look(member.state for member in active)
            compute(course, self._held, active)
            self._finish()
            if beat:
                beat.hold()
            computed += 1
            self._listen(course)
            course.agree()
            if course.discarded or not any(member.goes_on for member in active):
                break
            if course.leads:
                self._line.send(Stepped(seq=run.seq, done=tuple(member.done for member in course.members)))
                if run.stage is Stage.DIFFUSE and time.monotonic() - saved_at > self._every_s:
                    self._held.save(course, [member for member in active if not member.gone])
                    saved_at = time.monotonic()
        if scale:
            scale.look(member.state for member in course.kept)
        return computed

    def _listen(self, course: Course) -> None:
        """Take what has come during the unit: Stop and Forget now, the rest after the chunk."""
        seq = course.run.seq
        early = [message for message in self._waiting if isinstance(message, Stop)]
        while (message := early.pop() if early else self._line.poll()) is not None:
            match message:
                case Stop() if message.seq == seq:
                    course.stop(message)
                case Forget() if not self._waiting:
                    self._held.forget(message)
                    course.forget(message.job)
                case Stop() if message in self._waiting or message.seq < seq:
                    pass
                case _:
                    self._put_aside(message)

    def _put_aside(self, message: ToWorker) -> None:
        self._waiting.append(message)
        self._foresee(message)
