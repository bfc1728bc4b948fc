"""One decision in the making: which free ranks go to whom, and at which degree."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from sfumato.core.values import Chunk, Group, Stage
from sfumato.core.view import View
from sfumato.policies.sfumato.batch import batch_of
from sfumato.policies.sfumato.free import Free
from sfumato.policies.sfumato.least import least_on
from sfumato.policies.sfumato.memory import Memory
from sfumato.policies.sfumato.order import joining
from sfumato.policies.sfumato.outlook import CODES, Flags, Outlook, Outlooks
from sfumato.policies.sfumato.paces import Paces
from sfumato.policies.sfumato.parts import Map, Parts

EFFICIENT = 0.5  # a wider group must use its added ranks at least this well; flat from .45 to .6 in the prototype


class Seat:
    """A job that gets ranks: of which part, which ones, at most how many units, and why."""

    __slots__ = ("group", "most", "o", "part", "why")

    def __init__(self, o: Outlook, part: int, group: Group, most: int, why: str) -> None:
        self.o, self.part, self.group, self.most, self.why = o, part, group, most, why


class Board:
    """The free ranks, and who was given some."""

    def __init__(self, view: View, parts: Parts, places: Map, paces: Paces, memory: Memory) -> None:
        self._view, self._parts, self._paces, self._memory = view, parts, paces, memory
        self._spans = paces.spans
        self.free = Free(view, parts, places, paces.kinds, memory)
        self.seats: list[Seat] = []
        # (kind, degree) of steps that found no place: none is found later in the same plan, as ranks only get fewer
        self._placeless: set[tuple[int, int]] = set()

    # -- who -----------------------------------------------------------------------------------------------------------

    def launch_kept(self, o: Outlook) -> bool:
        """At the degree of the least work; narrower, or elsewhere, where that still makes the deadline."""
        if self._seat(o, o.part, o.degree, "least work"):
            return True
        if o.job.stage is not Stage.DIFFUSE:
            return any(self._seat(o, part, o.degree, "least work") for part in range(len(self._parts)))
        for part in range(len(self._parts)):
            if part != o.part:
                degree = least_on(self._paces, part, o.kind, o.steps, o.deadline - self._view.now - o.ends_s)
                if degree and self._seat(o, part, degree, "least work elsewhere"):
                    return True
        return self._narrower(o)

    def launch_rest(self, o: Outlook, why: str) -> bool:
        """At the narrowest degree whose step is short enough that nobody waits long for its ranks; if no step is, at
        the fastest one."""
        for part in range(len(self._parts)):
            degrees = self._degrees(o, part)
            short = [k for k in degrees if o.step_s(k, part) <= self._spans.quantum_s]
            if short and self._seat(o, part, short[0], why):
                return True
            idle = not self.seats and not self._view.running
            if idle or not short:
                fast = sorted(degrees, key=lambda k: o.step_s(k, part))
                if self._seat_first(o, part, fast if idle else fast[:1], why):
                    return True
        self._note(o, 0)
        return False

    def launch_slow(self, o: Outlook, why: str) -> bool:
        """At the narrowest degree that memory allows, however long its step."""
        return any(self._seat(o, part, k, why, 1) for part in range(len(self._parts)) for k in self._degrees(o, part))

    def hasten(self, wanted: Collection[int]) -> None:
        """Take seats to free ranks of faster parts, the tightest first, but to no part that is `wanted`."""
        for seat in self.seats:
            o, width = seat.o, len(seat.group)
            here_s = o.step_s(width, seat.part)
            for part in range(len(self._parts)):
                faster = part not in wanted and width in self._degrees(o, part) and o.step_s(width, part) < here_s
                group = self.free.group(o, part, width) if faster else None
                if group is not None:
                    self.free.take(part, group)
                    self.free.give_back(seat.part, seat.group)
                    seat.part, seat.group, here_s = part, group, o.step_s(width, part)

    def widen(self) -> None:
        """Double degrees while ranks are free: the best saving for each added rank first."""
        while self.free.left:
            best: tuple[float, int, Group] | None = None
            for place, seat in enumerate(self.seats):
                option = self._wider(seat)
                if option and (best is None or option[0] > best[0]):
                    best = option[0], place, option[1]
            if best is None:
                return
            seat = self.seats[best[1]]
            self.free.take(seat.part, tuple(rank for rank in best[2] if rank not in seat.group))
            seat.group, seat.most, seat.why = best[2], 1 << 30, f"{seat.why}, widened"

    # -- what comes of it ----------------------------------------------------------------------------------------------

    def chunks(self, outlooks: Outlooks, ready: Flags) -> Iterator[tuple[Seat, Chunk, float]]:
        """A chunk a seat with its seconds a unit: a quantum long, with those `ready` aboard whom that suits."""
        over = ready.copy()
        over[[seat.o.place for seat in self.seats]] = False
        for seat in self.seats:
            members, unit_s = [seat.o], seat.o.step_s(len(seat.group), seat.part)
            spec = self._view.models[seat.o.job.request.model].stage(seat.o.job.stage)
            if spec.max_batch > 1:
                others = (over & outlooks.alike(seat.o, packs=spec.packs)).nonzero()[0]
                if len(others):
                    asked = (outlooks[place] for place in joining(outlooks, others))
                    members, unit_s = batch_of(self._view, seat.o, seat.group, seat.part, asked, self._cfg(seat))
            chunk = self._chunk(seat, members, unit_s)
            while len(members) > 1 and not self._fits(chunk, members):
                members = members[:-1]
                if len(members) == 1:
                    unit_s = seat.o.step_s(len(seat.group), seat.part)
                chunk = self._chunk(seat, members, unit_s)
            over[[o.place for o in members]] = False
            yield seat, chunk, unit_s

    def _chunk(self, seat: Seat, members: Sequence[Outlook], unit_s: float) -> Chunk:
        units = max(1, int(self._spans.quantum_s / unit_s + 1e-9)) if unit_s > 0 else 1
        most = min(seat.most, *(self._view.units_left(o.job) for o in members))
        jobs = tuple(o.job.request.id for o in members)
        cfg = self._cfg(seat)
        return Chunk(jobs=jobs, stage=seat.o.job.stage, units=min(units, most), group=seat.group, cfg=cfg)

    def _fits(self, chunk: Chunk, members: Sequence[Outlook]) -> bool:
        """Whether memory holds a batch, and afterwards what each of it has ahead."""
        return self._view.fits(chunk) and self._memory.takes([o.job for o in members], chunk.group)

    def _cfg(self, seat: Seat) -> int:
        """Into how many halves a seat's group is divided."""
        steps = seat.o.job.stage is Stage.DIFFUSE
        return self._paces.kinds[seat.o.kind].cfg(seat.part, len(seat.group)) if steps else 1

    # -- degrees -------------------------------------------------------------------------------------------------------

    def _narrower(self, o: Outlook) -> bool:
        """The widest degree that is free, if its step is short and the request makes it afterwards at its fastest."""
        part = o.part
        for k in reversed(self._degrees(o, part)):
            if k >= o.degree or not self.free.has_room(o.kind, part, k):
                continue
            laxity = o.start_by - self._view.now
            lost_s = o.step_s(k, part) - o.paces[part].fastest_s
            if not self._spans.bears(o.step_s(k, part), laxity):
                break
            if lost_s > laxity:
                return False
            most = int(laxity / lost_s) if lost_s > 0 else 1 << 30
            return self._seat(o, part, k, "narrower", max(1, most))
        self._note(o, o.degree)
        return False

    def _wider(self, seat: Seat) -> tuple[float, Group] | None:
        """(seconds saved a step for each added rank, group) of the next degree up, if it pays and fits."""
        o, part = seat.o, seat.part
        width = len(seat.group)
        if o.job.stage is Stage.ENCODE:
            return None
        wider = next((k for k in self._degrees(o, part) if k > width), None)
        if wider is None or self.free.left < wider - width:
            return None
        now_s, then_s = self._unit_s(seat, width), self._unit_s(seat, wider)
        if now_s * width < EFFICIENT * then_s * wider or then_s >= now_s:
            return None
        group = self.free.wider(o, part, wider, seat.group)
        return None if group is None else ((now_s - then_s) / (wider - width), group)

    def _unit_s(self, seat: Seat, degree: int) -> float:
        """Seconds of a unit on so many ranks; a decode is planned for on one, and asked only here what more do."""
        if seat.o.job.stage is Stage.DIFFUSE:
            return seat.o.step_s(degree, seat.part)
        return self._view.unit_s(seat.o.job, degree=degree, rank=seat.group[0])

    def _degrees(self, o: Outlook, part: int) -> list[int]:
        if o.job.stage is Stage.DIFFUSE:
            return [k for k, _ in o.paces[part].steps if k <= len(self._parts[part].ranks)]
        degrees = self._view.models[o.job.request.model].stage(o.job.stage).degrees
        return [k for k in sorted(degrees) if k <= len(self._parts[part].ranks)]

    # -- steps that find no place --------------------------------------------------------------------------------------

    def is_placeless(self, outlooks: Outlooks, place: int, degree: int) -> bool:
        """Whether it is known already that a job's steps find no place. `degree` 0 stands for left-over work."""
        if not self._placeless or outlooks.stage[place] != CODES[Stage.DIFFUSE]:
            return False
        return (int(outlooks.kind[place]), degree) in self._placeless

    def _note(self, o: Outlook, degree: int) -> None:
        """That steps of this kind found no place, if that holds for all of the kind."""
        if o.job.stage is Stage.DIFFUSE and o.job.done <= o.job.saved and self._memory.ample and len(self._parts) == 1:
            self._placeless.add((o.kind, degree))

    def _seat_first(self, o: Outlook, part: int, fast: Sequence[int], why: str) -> bool:
        """At the first of these degrees, the fastest before all, that has a place."""
        for place, degree in enumerate(fast):
            how = "at the fastest that has a place" if place else "at its fastest"
            if self._seat(o, part, degree, f"{why}, {how}"):
                return True
        return False

    def _seat(self, o: Outlook, part: int, degree: int, why: str, most: int = 1 << 30) -> bool:
        group = self.free.group(o, part, degree)
        if group is None:
            return False
        self.seats.append(Seat(o, part, group, most, why))
        self.free.take(part, group)
        return True
