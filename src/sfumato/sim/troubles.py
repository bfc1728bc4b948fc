"""What befalls ranks in a simulation: one dies, returns, or is slow for a while.

Rules: a chunk keeps the speed that its ranks have when it begins, and a group that of its slowest rank. A rank that
dies takes its chunks with it; of the steps under way survives what a worker would have snapshot by then, which it does
at the end of the first step that is over half a second later than the last snapshot. Ranks that the pool does not have
(a search made it smaller) have no troubles.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

from msgspec.structs import replace

from sfumato.core.events import WorkerLost, WorkerUp
from sfumato.core.timeline import Flight
from sfumato.core.values import Group, Job, PartId, Rank, RankInfo, Stage
from sfumato.sim.noise import Pace
from sfumato.workload.pool import Trouble

SNAPSHOT_EVERY_S = 0.5  # as the workers do (runtime.crew.ClusterConfig)


def deaths(troubles: Iterable[Trouble], ranks: Collection[Rank]) -> Iterator[WorkerLost]:
    """Without what is saved: that shows when the time has come (`with_saved`)."""
    return (WorkerLost(at=t.at_s, rank=t.rank) for t in troubles if t.dead and t.rank in ranks)


def returns(
    troubles: Iterable[Trouble], ranks: Iterable[RankInfo], parts: Mapping[Rank, Sequence[PartId]]
) -> Iterator[WorkerUp]:
    """The dead that come back, with `parts` in their memory."""
    infos = {info.rank: info for info in ranks}
    for t in troubles:
        if t.dead and t.until_s is not None and t.rank in infos:
            yield WorkerUp(at=t.until_s, info=infos[t.rank], parts=tuple(parts[t.rank]))


def slowed(troubles: Iterable[Trouble], pace: Pace) -> Pace:
    """`pace`, and ranks that are slower than that for a while."""
    slow = [t for t in troubles if t.slowdown > 1.0]
    if not slow:
        return pace

    def with_slow(group: Group, at: float) -> float:
        now = (t.slowdown for t in slow if t.rank in group and t.at_s <= at and (t.until_s is None or at < t.until_s))
        return pace(group, at) * max(now, default=1.0)

    return with_slow


def with_saved(death: WorkerLost, flights: Iterable[tuple[Flight, int]], jobs: Mapping[str, Job]) -> WorkerLost:
    """A death with what the snapshots of jobs in the air hold; `flights` come with the units that each will run."""
    saved = []
    for flight, units in flights:
        chunk = flight.launch.chunk
        if chunk.stage is Stage.DIFFUSE and death.rank in chunk.group:
            kept = snapshot(flight, units, death.at)
            saved += [(name, jobs[name].done + kept) for name in chunk.jobs if name in jobs]
    return replace(death, saved=tuple(saved))


def snapshot(flight: Flight, units: int, at: float) -> int:
    """Units of a chunk that its last snapshot before `at` holds; with its last unit it would have ended."""
    if flight.unit_s <= 0:
        return 0
    over = min(units - 1, int((at - flight.at - flight.start_s) / flight.unit_s))
    between = int(SNAPSHOT_EVERY_S / flight.unit_s) + 1
    return max(0, over - over % between)
