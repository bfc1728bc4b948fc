"""One decision in the making: which free ranks go to whom, and at which degree.

A group lies within one part of the pool, inside one machine where that has enough free ranks; a job's own ranks come
first (no move).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence

from sfumato.core.values import Chunk, Group, Job, Rank, Stage
from sfumato.core.view import View
from sfumato.policies.sfumato.batch import batch_of
from sfumato.policies.sfumato.memory import Memory
from sfumato.policies.sfumato.outlook import Outlook, Part, cheapest

EFFICIENT = 0.5  # a wider group must use its added ranks at least this well; flat from .45 to .6 in the prototype


class Seat:
    """A job that gets ranks: of which part, which ones, at most how many units, and why."""

    __slots__ = ("group", "most", "o", "part", "why")

    def __init__(self, o: Outlook, part: int, group: Group, most: int, why: str) -> None:
        self.o, self.part, self.group, self.most, self.why = o, part, group, most, why


class Board:
    """The free ranks, and who was given some."""

    def __init__(self, view: View, parts: Sequence[Part], memory: Memory, quantum_s: float, limit_s: float) -> None:
        self._view, self._parts, self._memory = view, parts, memory
        self._quantum_s, self._limit_s = quantum_s, limit_s
        free = set(view.free)
        self.free = [[rank for rank in part.ranks if rank in free] for part in parts]
        self.seats: list[Seat] = []
        self._nodes = len({info.node for info in view.ranks.values()})

    def leave_out(self, ranks: Collection[Rank]) -> None:
        """Give nobody these ranks."""
        if ranks:
            self.free = [[rank for rank in free if rank not in ranks] for free in self.free]

    @property
    def full(self) -> bool:
        """No free rank is left."""
        return not any(self.free)

    # -- who -----------------------------------------------------------------------------------------------------------

    def launch_kept(self, o: Outlook) -> bool:
        """At the degree of the least work; narrower, or elsewhere, where that still makes the deadline."""
        if self._seat(o, o.part, o.degree, "least work"):
            return True
        if o.job.stage is not Stage.DIFFUSE:
            return any(self._seat(o, part, self._narrowest(o), "least work") for part in range(len(self._parts)))
        for part in range(len(self._parts)):
            if part != o.part and self.free[part]:
                found = cheapest((o.paces[part],), o.steps, o.deadline - self._view.now - o.ends_s)
                if found and self._seat(o, part, found[2], "least work elsewhere"):
                    return True
        return self._narrower(o)

    def launch_rest(self, o: Outlook, why: str) -> bool:
        """At the narrowest degree whose step is short enough that nobody waits long for its ranks."""
        for part in range(len(self._parts)):
            degrees = self._degrees(o, part)
            short = [k for k in degrees if o.step_s(k, part) <= self._quantum_s]
            if short and self._seat(o, part, short[0], why):
                return True
            idle = not self.seats and not self._view.running
            if idle or not short:
                fast = sorted(degrees, key=lambda k: o.step_s(k, part))
                if any(self._seat(o, part, k, why) for k in (fast if idle else fast[:1])):
                    return True
        return False

    def launch_slow(self, o: Outlook, why: str) -> bool:
        """At the narrowest degree that memory allows, however long its step."""
        return any(self._seat(o, part, k, why, 1) for part in range(len(self._parts)) for k in self._degrees(o, part))

    def widen(self) -> None:
        """Double degrees while ranks are free: the best saving for each added rank first."""
        while not self.full:
            best: tuple[float, int, Group] | None = None
            for place, seat in enumerate(self.seats):
                option = self._wider(seat)
                if option and (best is None or option[0] > best[0]):
                    best = option[0], place, option[1]
            if best is None:
                return
            seat = self.seats[best[1]]
            seat.group, seat.most, seat.why = best[2], 1 << 30, f"{seat.why}, widened"
            self._take(seat.part, best[2])

    # -- what comes of it ----------------------------------------------------------------------------------------------

    def chunks(
        self, ready: Sequence[Outlook], turn: Callable[[Outlook], tuple[float, int, float, str]]
    ) -> Iterable[tuple[Seat, Chunk, float]]:
        """A chunk a seat with its seconds a unit: a quantum long, with those left over aboard whom that suits."""
        models, others = self._view.models, []
        if any(models[seat.o.job.request.model].stage(seat.o.job.stage).max_batch > 1 for seat in self.seats):
            given = {seat.o.job.request.id for seat in self.seats}
            others = sorted((o for o in ready if o.job.request.id not in given), key=turn)
        for seat in self.seats:
            members, unit_s = batch_of(self._view, seat.o, seat.group, seat.part, others)
            chunk = self._chunk(seat, members, unit_s)
            while len(members) > 1 and not self._view.fits(chunk):
                members = members[:-1]
                if len(members) == 1:
                    unit_s = seat.o.step_s(len(seat.group), seat.part)
                chunk = self._chunk(seat, members, unit_s)
            if len(members) > 1:
                others = [o for o in others if o not in members]
            yield seat, chunk, unit_s

    def _chunk(self, seat: Seat, members: Sequence[Outlook], unit_s: float) -> Chunk:
        units = max(1, int(self._quantum_s / unit_s + 1e-9)) if unit_s > 0 else 1
        most = min(seat.most, *(self._view.units_left(o.job) for o in members))
        jobs = tuple(o.job.request.id for o in members)
        return Chunk(jobs=jobs, stage=seat.o.job.stage, units=min(units, most), group=seat.group)

    # -- degrees -------------------------------------------------------------------------------------------------------

    def _narrower(self, o: Outlook) -> bool:
        """The widest degree that is free, if its step is short and the request makes it afterwards at its fastest."""
        part = o.part
        for k in reversed(self._degrees(o, part)):
            if k >= o.degree or k > len(self.free[part]):
                continue
            laxity = o.start_by - self._view.now
            lost_s = o.step_s(k, part) - o.paces[part].fastest_s
            if o.step_s(k, part) > self._limit_s or lost_s > laxity:
                return False
            most = int(laxity / lost_s) if lost_s > 0 else 1 << 30
            return self._seat(o, part, k, "narrower", max(1, most))
        return False

    def _wider(self, seat: Seat) -> tuple[float, Group] | None:
        """(seconds saved a step for each added rank, group) of the next degree up, if it pays and fits."""
        o, part = seat.o, seat.part
        width = len(seat.group)
        wider = next((k for k in self._degrees(o, part) if k > width), None)
        if wider is None or o.job.stage is not Stage.DIFFUSE or len(self.free[part]) < wider - width:
            return None
        now_s, then_s = o.step_s(width, part), o.step_s(wider, part)
        if now_s * width < EFFICIENT * then_s * wider:
            return None
        added = self._pick(o.job, part, wider - width, wider, near=seat.group)
        if added is None:
            return None
        return (now_s - then_s) / (wider - width), tuple(sorted((*seat.group, *added)))

    def _degrees(self, o: Outlook, part: int) -> list[int]:
        degrees = self._view.models[o.job.request.model].stage(o.job.stage).degrees
        return [k for k in sorted(degrees) if k <= len(self._parts[part].ranks)]

    def _narrowest(self, o: Outlook) -> int:
        return min(self._view.models[o.job.request.model].stage(o.job.stage).degrees)

    # -- ranks ---------------------------------------------------------------------------------------------------------

    def _seat(self, o: Outlook, part: int, degree: int, why: str, most: int = 1 << 30) -> bool:
        group = self._pick(o.job, part, degree, degree) if len(self.free[part]) >= degree else None
        if group is None:
            return False
        self.seats.append(Seat(o, part, group, most, why))
        self._take(part, group)
        return True

    def _take(self, part: int, group: Group) -> None:
        self.free[part] = [rank for rank in self.free[part] if rank not in group]

    def _pick(self, job: Job, part: int, count: int, degree: int, near: Group = ()) -> Group | None:
        """`count` free ranks of a part for a chunk of `degree`; None: too few have the weights and the memory."""
        view, home = self._view, job.home or ()
        able = [rank for rank in self.free[part] if view.can_run(job, rank)]
        if len(able) < count:
            return None
        if not self._memory.ample:
            able = [rank for rank in able if self._memory.fits(job, degree, rank)]
            if len(able) < count:
                return None
        if len(able) == count:
            return tuple(able)
        if self._nodes == 1:
            able.sort(key=lambda rank: (rank not in home, rank))
            return tuple(sorted(able[:count]))
        node = {rank: view.ranks[rank].node for rank in (*able, *near)}
        there = Counter(node[rank] for rank in near)
        free = Counter(node[rank] for rank in able)
        able.sort(key=lambda r: (-there[node[r]], free[node[r]] < count, r not in home, free[node[r]], node[r], r))
        return tuple(sorted(able[:count]))
