"""A chunk under way on one rank: its jobs, and what the ranks of its group agree on between two units.

Rules: the first rank of the group leads: it alone hears Stops, and after every unit tells the others who goes on, so
that all of them call the next collective or none does. Before the first unit all compare how far their states are: a
state may have been thawed from a snapshot that a dying chunk has just written anew.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from sfumato.core.events import Progress
from sfumato.core.values import Stage
from sfumato.models.family import Model, State
from sfumato.runtime.groups import Team
from sfumato.runtime.wire import Assignment, Run, Stop

_LOST = -1  # units of a state that is nowhere
_TRIES = 100  # to find one snapshot on all ranks: who writes a newer one stops within a unit


class Member:
    """A job in the running chunk."""

    def __init__(self, assignment: Assignment, stage: Stage, units: int, state: State | None) -> None:
        self.assignment = assignment
        self.state = state
        self.error = ""
        self.out = False  # has left the batch
        self.gone = False  # nobody wants it any more
        self._stage = stage
        self._target = assignment.begin + units
        if state is None and assignment.task is None:
            self.fail("its snapshot is missing")

    @property
    def job(self) -> str:
        return self.assignment.job

    @property
    def done(self) -> int:
        """Units of the stage that are computed."""
        if self.state is None or self._stage is Stage.ENCODE:
            return int(self.state is not None)
        return self.state.done if self._stage is Stage.DIFFUSE else self.state.decoded

    @property
    def goes_on(self) -> bool:
        return not self.out and self.done < self._target

    @property
    def came_through(self) -> bool:
        """All units are done, and it is still wanted."""
        return not self.out and not self.gone and self.done >= self._target

    def fail(self, reason: str) -> None:
        """It ends here; its batch goes on."""
        self.error, self.out, self.state = reason, True, None

    def progress(self) -> Progress:
        """What the controller is to credit; a decode counts as saved only when it is finished."""
        units = 0 if self.error else min(self.done, self._target) - self.assignment.begin
        return Progress(job=self.job, units=units, saved=0 if self._stage is Stage.DECODE else units, error=self.error)


class Course:
    """The chunk, with its `team` where it is not on one rank alone."""

    def __init__(self, run: Run, model: Model, members: Sequence[Member], team: Team | None) -> None:
        self.run = run
        self.model = model
        self.members = members
        self.team = team
        self.leads = team is None or team.mesh.rank == 0
        self.discarded = False  # the controller counts it as ended
        self.apart = False  # memory does not hold the batch: its members are computed one by one

    @property
    def active(self) -> list[Member]:
        """Who has a unit left."""
        return [member for member in self.members if member.goes_on]

    @property
    def kept(self) -> list[Member]:
        """Whose state is to be held and saved."""
        return [member for member in self.members if not member.gone and member.state is not None]

    def stop(self, stop: Stop) -> None:
        """What the controller wants after the unit in flight."""
        if self.leads:
            self.discarded = self.discarded or stop.discard
            for member in self.members:
                member.out = member.out or not stop.jobs or member.job in stop.jobs

    def forget(self, job: str) -> None:
        """Nobody wants a job any more."""
        for member in self.members:
            if member.job == job:
                member.gone = True
                member.out = member.out or self.leads

    def level(self, refetch: Callable[[Member], State | None]) -> None:
        """Have all ranks begin with the same states. Raises RuntimeError where they cannot find the same."""
        if self.team is None or self.run.stage is Stage.ENCODE:
            return
        for _ in range(_TRIES):
            mine = msgspec.msgpack.encode([_LOST if one.state is None else one.done for one in self.members])
            rows = [msgspec.msgpack.decode(word, type=list[int]) for word in self.team.mesh.gather(mine)]
            uneven = [
                one for one, column in zip(self.members, zip(*rows, strict=True), strict=True) if len(set(column)) > 1
            ]
            if not uneven:
                return
            for one in uneven:
                self._again(one, refetch(one))
        raise RuntimeError(f"the ranks {self.run.ranks} do not find the same snapshots")

    def agree(self) -> None:
        """After a unit: every rank takes the first one's word for who goes on."""
        if self.team is None:
            return
        word = self.team.mesh.broadcast(bytes([self.discarded, *(member.out for member in self.members)]))
        self.discarded = bool(word[0])
        for member, out in zip(self.members, word[1:], strict=True):
            member.out = bool(out)

    def _again(self, member: Member, state: State | None) -> None:
        member.state, member.error, member.out = state, "", False
        if state is None:
            member.fail("its snapshot is missing")
