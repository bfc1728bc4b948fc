"""How a launched chunk unfolds in modelled time: the one account that the simulator and the fake workers share.

A halt takes effect after the unit in flight; a chunk that was launched runs at least one unit. Decode progress counts
as saved only when the stage is finished (workers do not snapshot decoder caches).
"""

from __future__ import annotations

from math import ceil

from sfumato.core.commands import Launch
from sfumato.core.cost import Costs
from sfumato.core.events import ChunkDone, Progress
from sfumato.core.values import Stage, Value
from sfumato.core.view import View


class Flight(Value, frozen=True, kw_only=True):
    """A chunk in the air: launched at `at`, with the seconds that it really takes."""

    launch: Launch
    at: float
    start_s: float
    unit_s: float

    def ends_at(self, units: int) -> float:
        return self.at + self.start_s + units * self.unit_s

    def units_by(self, now: float) -> int:
        """Units done once the one in flight at `now` is finished."""
        under_way = ceil((now - self.at - self.start_s) / self.unit_s) if self.unit_s > 0 else self.launch.chunk.units
        return min(self.launch.chunk.units, max(1, under_way))

    def landing(self, units: int) -> ChunkDone:
        """The event of its end after `units`."""
        chunk = self.launch.chunk
        saved = 0 if chunk.stage is Stage.DECODE else units
        return ChunkDone(
            at=self.ends_at(units),
            seq=self.launch.seq,
            progress=tuple(Progress(job=job, units=units, saved=saved) for job in chunk.jobs),
            seconds=units * self.unit_s,
            onward=chunk.onward > 0 and units == chunk.units,
        )


def seconds_of(launch: Launch, view: View, truth: Costs) -> tuple[float, float] | None:
    """(start_s, unit_s) that a launched chunk really takes.

    What a rank has gone on with may be over in the same batch of events: None if its rank is lost too; and where one of
    its jobs was cancelled, what was predicted.
    """
    chunk = launch.chunk
    if launch.seq not in view.running:
        return None
    if any(view.job(job) is None for job in chunk.jobs):
        return launch.start_s, launch.unit_s
    work = view.work(chunk)
    start_s = 0.0 if launch.follows else truth.start_s(work, chunk.group, launch.sources)
    return start_s, truth.unit_s(work)
