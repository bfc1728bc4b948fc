"""The states of jobs on one rank between chunks, and their way to the snapshots and back.

Rules: a job's state is current on all ranks that ran its last chunk, and nowhere else; everybody else takes it from the
store, the dynamic part each time, the static part (task, conditioning) once: a rank keeps it when the job moves on,
and has it when the job returns. On one machine the store is shared memory, so that is also how ranks hand over.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sfumato.core.values import Stage
from sfumato.models.family import Model, State
from sfumato.runtime.course import Course, Member
from sfumato.runtime.snapshots import Snapshots
from sfumato.runtime.wire import Assignment, Forget

DEPARTED = 8  # jobs that moved on and whose static part stays: some 10 MB each with the largest text encoders


class Held:
    """What this rank holds."""

    def __init__(self, snapshots: Snapshots) -> None:
        self._snapshots = snapshots
        self._states: dict[str, State] = {}
        self._departed: dict[str, State] = {}  # in the order in which they left

    def take(self, assignment: Assignment, model: Model) -> State | None:
        """The state that a chunk begins with; None if it is yet to be made, or nowhere."""
        if assignment.task is not None:
            return None
        if assignment.fetch:
            self._leave(assignment.job)
        state = self._states.get(assignment.job)
        return state if state is not None else self.fetch(assignment.job, model)

    def fetch(self, job: str, model: Model) -> State | None:
        """The state as it was saved last, which takes the place of what was held."""
        self._leave(job)
        known = self._departed.pop(job, None)
        try:
            static = known if known is not None else self._snapshots.read_static(job)
            return model.thaw(static, self._snapshots.read(job))
        except FileNotFoundError:
            return None

    def settle(self, course: Course) -> None:
        """Hold what a chunk changed; the rank that leads also writes it down."""
        if course.leads:
            if course.run.stage is Stage.ENCODE:
                for member in course.kept:
                    assert member.state is not None
                    self._snapshots.write_static(member.job, course.model.freeze_static(member.state))
            if course.run.stage is not Stage.DECODE:
                self.save(course, course.kept)
        for member in course.members:
            self._states.pop(member.job, None)
        for member in course.kept:
            assert member.state is not None
            self._states[member.job] = member.state

    def save(self, course: Course, members: Sequence[Member]) -> None:
        """Write snapshots of jobs of a chunk."""
        for member in members:
            if member.state is not None:
                self._snapshots.write(member.job, member.state.done, course.model.freeze(member.state))

    def deliver(self, course: Course, member: Member) -> None:
        """A job is decoded: its pixels are all that is wanted of it now."""
        assert member.state is not None
        if course.leads and not member.gone:
            self._snapshots.write_output(member.job, course.model.output(member.state))
        self.drop([member.job])
        member.gone = True

    def forget(self, message: Forget) -> None:
        """Not current any more; if it has ended its files go too: some may have come since the controller did that."""
        if message.ended:
            self.drop([message.job])
            self._snapshots.forget(message.job)
        else:
            self._leave(message.job)

    def drop(self, jobs: Iterable[str]) -> None:
        """Free all that is held for jobs."""
        for job in jobs:
            self._states.pop(job, None)
            self._departed.pop(job, None)

    def shed(self) -> None:
        """Free what only saves time, between steps."""
        self._departed.clear()
        for state in self._states.values():
            state.shed()

    def _leave(self, job: str) -> None:
        state = self._states.pop(job, None)
        if state is not None:
            self._departed[job] = state.bare()
            while len(self._departed) > DEPARTED:
                del self._departed[next(iter(self._departed))]
