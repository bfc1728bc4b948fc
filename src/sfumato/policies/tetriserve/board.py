"""One round in the making: who gets how many ranks, then which, then who joins whom.

Counts first, as the paper does: the knapsack, left-over ranks for whom it put off, late work, scale-up. Ranks after
that; where too few of them have the weights of a job, it runs narrower or not at all.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from sfumato.core.values import Chunk, Group, Rank, Stage
from sfumato.core.view import View
from sfumato.policies.pace import Standing, narrowest, pick
from sfumato.policies.tetriserve.pack import in_round, options, packed

SMALL = 1.5  # two ranks speed a small request up by less than this
PAYS = 0.95  # a shared chunk takes at most this share of the time that its members take apart


class Choices(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`granularity`: steps a round, 1 to 15 (5 is the paper's). `rounds`: plan at round ends only, else at every event.

    Ablations: `placement` keeps requests on their ranks, `scale_up` gives left-over ranks away, `batching` lets
    small requests share a chunk.
    """

    granularity: int = 5
    rounds: bool = True
    placement: bool = True
    scale_up: bool = True
    batching: bool = True

    def __post_init__(self) -> None:
        if not 1 <= self.granularity <= 15:
            raise ValueError(f"granularity: {self.granularity} steps a round; the paper has 1 to 15")


class Seat:
    """A request that runs this round: at which degree, at most how many steps, on which ranks, with whom."""

    __slots__ = ("degree", "group", "most", "s", "with_it")

    def __init__(self, s: Standing, degree: int, most: int) -> None:
        self.s, self.degree, self.most = s, degree, most
        self.group: Group = ()
        self.with_it: list[Standing] = []


class Board:
    """The decision over the free ranks for one round of `round_s`."""

    def __init__(self, view: View, choice: Choices, round_s: float) -> None:
        self._view, self._choice, self._round_s = view, choice, round_s
        self._free: list[Rank] = list(view.free)

    def seated(self, ready: Sequence[Standing]) -> list[Seat]:
        """The whole decision: seats with their groups, decodes first."""
        ends = [s for s in ready if s.stage is Stage.DECODE or (s.stage is Stage.ENCODE and not self._choice.rounds)]
        seats = self._placed([Seat(s, narrowest(self._view, s.job), 0) for s in sorted(ends, key=_urgency)])
        rest = [s for s in ready if s not in ends]
        counted = self._counted(rest)
        if self._choice.scale_up:
            self._widen(counted)
        seats += self._placed(sorted(counted, key=self._settled) if self._choice.placement else counted)
        if not seats and not self._view.running:
            seats = self._anything(ready)
        if self._choice.batching:
            self._join(seats, rest)
        return seats

    def steps(self, seat: Seat) -> int:
        """Steps of its first chunk: to the end of the round, or as many as it was allocated."""
        most = in_round(seat.s, len(seat.group), self._round_s)
        return max(1, min(most, seat.most) if seat.most else most)

    def _counted(self, ready: Sequence[Standing]) -> list[Seat]:
        """Knapsack, then whom it put off by slack, then late work in order of arrival."""
        left = len(self._free)
        hopeful = [s for s in ready if not s.late]
        chosen = packed([options(s, left, self._round_s, whole=self._choice.rounds) for s in hopeful], left)
        seats = [
            Seat(s, option.degree, 0 if self._choice.rounds else option.steps)
            for s, option in zip(hopeful, chosen, strict=True)
            if option.degree
        ]
        left -= sum(seat.degree for seat in seats)
        put_off = sorted((s for s, option in zip(hopeful, chosen, strict=True) if not option.degree), key=_urgency)
        late = sorted(
            (s for s in ready if s.late), key=lambda s: (s.job.request.deadline is None, s.job.request.arrived_at)
        )
        for s in (*put_off, *late):
            fitting = [k for k, _ in s.pace.steps if k <= left and in_round(s, k, self._round_s)]
            if fitting:
                seats.append(Seat(s, fitting[0] if s.late else fitting[-1], 0))
                left -= seats[-1].degree
        return seats

    def _widen(self, seats: Sequence[Seat]) -> None:
        """Elastic scale-up: while ranks are left, the most seconds saved for each added rank first."""
        left = len(self._free) - sum(seat.degree for seat in seats)
        while left > 0:
            gains = [gain for place, seat in enumerate(seats) if (gain := self._gain(seat, place, left))]
            if not gains:
                return
            _, place, degree = max(gains)
            left -= degree - seats[place].degree
            seats[place].degree, seats[place].most = degree, 0

    def _gain(self, seat: Seat, place: int, left: int) -> tuple[float, int, int] | None:
        """(seconds saved a rank, minus its place, degree) of the next degree up, for who will not finish as it is."""
        s = seat.s
        wider = next((k for k, _ in s.pace.steps if k > seat.degree), None)
        if wider is None or wider - seat.degree > left or s.steps <= in_round(s, seat.degree, self._round_s):
            return None
        saved_s = s.steps * (s.pace.step_s(seat.degree) - s.pace.step_s(wider))
        return (saved_s / (wider - seat.degree), place, wider) if saved_s > 0 else None

    def _placed(self, seats: Sequence[Seat]) -> list[Seat]:
        """Seats with their ranks; a seat for whom too few are left that can run it narrows, or goes."""
        placed = []
        homes = [rank for seat in seats for rank in seat.s.job.home or ()]
        for seat in seats:
            job = seat.s.job
            able = [rank for rank in self._free if self._view.can_run(job, rank)]
            degrees = [k for k, _ in seat.s.pace.steps] if seat.s.steps else [seat.degree]
            degree = max((k for k in degrees if k <= min(seat.degree, len(able))), default=0)
            kept = pick(self._view, job, able, degree, homes) if self._choice.placement else tuple(able[:degree])
            if not kept or not self._fits(seat.s, kept):
                continue
            seat.group = kept
            self._free = [rank for rank in self._free if rank not in kept]
            placed.append(seat)
        return placed

    def _fits(self, s: Standing, group: Group) -> bool:
        on = group if s.stage is Stage.DIFFUSE else group[: narrowest(self._view, s.job)]
        return self._view.fits(Chunk(jobs=(s.job.id,), stage=s.stage, units=1, group=on))

    def _anything(self, ready: Sequence[Standing]) -> list[Seat]:
        """An idle pool always gets work: the first job that its free ranks can run, as wide as they go."""
        for s in sorted(ready, key=_urgency):
            seats = self._placed([Seat(s, s.pace.steps[-1][0] if s.steps else narrowest(self._view, s.job), 0)])
            if seats:
                return seats
        return []

    def _settled(self, seat: Seat) -> tuple[bool, bool, float]:
        """Who can stay exactly where it is goes first, then who shrinks, then who grows or is new."""
        home = seat.s.job.home or ()
        return len(home) != seat.degree, len(home) < seat.degree, seat.s.laxity

    def _join(self, seats: Sequence[Seat], ready: Sequence[Standing]) -> None:
        """Small requests without a seat join a chunk of their kind, if nobody in it misses a deadline for it."""
        seated = {seat.s.job.id for seat in seats}
        left = sorted((s for s in ready if s.job.id not in seated and s.stage is Stage.DIFFUSE), key=_urgency)
        for seat in seats:
            if seat.s.stage is Stage.DIFFUSE and _small(seat.s):
                for s in left:
                    if _alike(s, seat.s) and all(self._view.can_run(s.job, rank) for rank in seat.group):
                        self._try(seat, s)
                left = [s for s in left if s not in seat.with_it]

    def _try(self, seat: Seat, s: Standing) -> None:
        members, job = [seat.s, *seat.with_it, s], seat.s.job
        if len(members) > self._view.models[job.request.model].diffuse.max_batch:
            return
        alone_s = seat.s.pace.step_s(len(seat.group))
        step_s = self._view.unit_s(job, degree=len(seat.group), batch=len(members))
        if step_s <= PAYS * len(members) * alone_s and all(m.late or m.steps * step_s <= m.time_s for m in members):
            seat.with_it.append(s)


def batch_steps(view: View, seat: Seat, steps: int) -> int:
    """Steps that a shared chunk does in the time of `steps` of one request, and that all members have left."""
    members = [seat.s, *seat.with_it]
    together_s = view.unit_s(seat.s.job, degree=len(seat.group), batch=len(members))
    in_time = int(steps * seat.s.pace.step_s(len(seat.group)) / together_s) if together_s > 0 else steps
    return max(1, min(in_time, *(s.steps for s in members)))


def _small(s: Standing) -> bool:
    steps = s.pace.steps
    return len(steps) == 1 or steps[0][1] < SMALL * steps[1][1]


def _alike(one: Standing, other: Standing) -> bool:
    a, b = one.job, other.job
    return a.request.model == b.request.model and a.request.guided == b.request.guided and a.shape == b.shape


def _urgency(s: Standing) -> tuple[float, int, float, str]:
    """The least slack first."""
    return s.laxity, -s.job.request.priority, s.job.request.arrived_at, s.job.id
