"""`sfumato`: serve as many requests as possible by their deadline; spend the least GPU-seconds on each.

On each batch of events:
1. Weigh every live request (`outlook`): least GPU-seconds that meet its deadline, first degree of that, or hopeless.
2. Choose whom to save (`keep`).
3. Launch kept requests by laxity at that degree; narrower only if a step stays short and the deadline still holds.
4. Then given-up work (least first), late work and best effort (least left first), only where a step is short, so that
   work that cannot be saved never blocks work that can.
5. Double degrees while ranks are free and efficiency stays above one half, best saving first.
6. Whoever is left over and of the same kind joins a chunk (`batch`), if all of its members still make their deadlines.
7. A chunk runs for a quantum: 5% of the tightest slack seen, at least one unit.

The choice and its constants are a prototype's (docs/decisions/0005); none is tuned to a workload. It does not load
weights or look ahead yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from sfumato.core.policy import Plan
from sfumato.core.values import Chunk, Group, Job, Rank, Stage
from sfumato.core.view import View
from sfumato.policies.sfumato.batch import batch_of
from sfumato.policies.sfumato.keep import Memo, kept, remembered
from sfumato.policies.sfumato.outlook import Outlook, Speeds, outlook_of, speeds_of

UNHURRIED_S = 2.0  # slack assumed before any request with a deadline was seen: chunks of 0.1 s
EFFICIENT = 0.5  # a wider group must use its added ranks at least this well; flat from .45 to .6 in the prototype


class Sfumato:
    """`sfumato` in the table of policies."""

    name = "sfumato"
    work_conserving = False  # it rather leaves ranks free than lets a long step of lost work block them
    Memo = Memo

    class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """Shares of the tightest slack: the length of a chunk, and the longest step of kept work that runs narrower."""

        quantum: float = 0.05
        limit: float = 0.25

    def __init__(self, options: Options | None = None) -> None:
        self._options = options or self.Options()

    def plan(self, view: View) -> Plan:
        outlooks = weigh(view)
        memo = remembered(view.memo or Memo(), outlooks, view.now)
        ready = [o for o in outlooks if o.job.chunk is None]
        if not ready or not view.free:
            return Plan(memo=memo)
        busy = sum((r.ends_at - view.now) * len(r.chunk.group) for r in view.running.values() if r.ends_at > view.now)
        keep = kept(outlooks, memo, view.now, len(view.ranks), busy)
        slack_s = memo.tightest_s or UNHURRIED_S
        board = Board(view, self._options.quantum * slack_s, self._options.limit * slack_s)
        board.launch_kept([o for o in ready if o.job.id in keep])
        board.launch_rest([o for o in ready if o.job.id not in keep])
        board.widen()
        return Plan(launches=tuple(board.chunks(ready)), memo=memo)


def weigh(view: View) -> list[Outlook]:
    """The outlook of every live job, a running one's from the end of its chunk."""
    kinds: dict[tuple[str, object, int, bool], Speeds] = {}
    result = []
    for job in view.jobs:
        request = job.request
        kind = (request.model, job.shape, job.steps, request.guided)
        speeds = kinds.get(kind)
        if speeds is None:
            speeds = kinds[kind] = speeds_of(view, job, job.shape)
        if job.chunk is None:
            result.append(outlook_of(job, speeds, view.now, 0))
        else:
            running = view.running[job.chunk]
            result.append(outlook_of(job, speeds, max(view.now, running.ends_at), running.chunk.units))
    return result


class Board:
    """One decision in the making: which free ranks go to whom."""

    def __init__(self, view: View, quantum_s: float, limit_s: float) -> None:
        self._view = view
        self._quantum_s = quantum_s
        self._limit_s = limit_s
        self._free: list[Rank] = list(view.free)
        self._given: list[tuple[Outlook, Group]] = []

    def launch_kept(self, ready: Sequence[Outlook]) -> None:
        """By laxity, at the degree of the least work; narrower where that still makes the deadline."""
        for o in sorted(ready, key=_urgency):
            able = self._able(o.job)
            if len(able) >= o.degree:
                self._give(o, o.degree, able)
                continue
            narrower = [k for k in self._degrees(o) if k <= len(able)]
            if narrower and self._bearable(o, narrower[-1]):
                self._give(o, narrower[-1], able)

    def launch_rest(self, ready: Sequence[Outlook]) -> None:
        """Given-up, then late, then best-effort work, at the narrowest degree whose step is short enough."""
        for o in sorted(ready, key=_leftover_order):
            able = self._able(o.job)
            degrees = self._degrees(o)
            short = [k for k in degrees if o.step_s(k) <= self._quantum_s]
            degree = short[0] if short else min(degrees, key=o.step_s)
            if not short and len(able) < degree and not self._given and not self._view.running:
                degree = max((k for k in degrees if k <= len(able)), default=degree)
            if len(able) >= degree:
                self._give(o, degree, able)

    def widen(self) -> None:
        """Double degrees while ranks are free: the best saving for each added rank first."""
        while self._free:
            options = [option for place in range(len(self._given)) if (option := self._wider(place))]
            if not options:
                return
            _, place, group = max(options, key=lambda option: (option[0], -option[1]))
            self._given[place] = self._given[place][0], group
            self._free = [rank for rank in self._free if rank not in group]

    def chunks(self, ready: Sequence[Outlook]) -> Iterable[Chunk]:
        """A chunk a group: a quantum long, with those aboard who were left over."""
        given = {o.job.id for o, _ in self._given}
        left = sorted((o for o in ready if o.job.id not in given), key=_urgency)
        for lead, group in self._given:
            members, step_s = batch_of(self._view, lead, len(group), self._at_home(left, group))
            left = [o for o in left if o not in members]
            units = max(1, int(self._quantum_s / step_s)) if step_s > 0 else 1
            most = min(self._view.units_left(o.job) for o in members)
            jobs = tuple(o.job.id for o in members)
            yield Chunk(jobs=jobs, stage=lead.job.stage, units=min(units, most), group=group)

    def _at_home(self, left: Sequence[Outlook], group: Group) -> list[Outlook]:
        return [o for o in left if all(self._view.can_run(o.job, rank) for rank in group)]

    def _bearable(self, o: Outlook, degree: int) -> bool:
        step_s = o.step_s(degree)
        return step_s <= self._limit_s and o.laxity + o.speeds.fastest_step_s - step_s >= 0

    def _wider(self, place: int) -> tuple[float, int, Group] | None:
        """(seconds saved a step for each added rank, place, group) of the next degree up, if it pays and fits."""
        o, group = self._given[place]
        wider = next((k for k in self._degrees(o) if k > len(group)), None)
        if wider is None or o.job.stage is not Stage.DIFFUSE:
            return None
        able = [rank for rank in self._free if self._view.can_run(o.job, rank)]
        added = wider - len(group)
        now_s, then_s = o.step_s(len(group)), o.step_s(wider)
        if len(able) < added or now_s * len(group) / (then_s * wider) < EFFICIENT:
            return None
        return (now_s - then_s) / added, place, tuple(sorted((*group, *able[:added])))

    def _degrees(self, o: Outlook) -> list[int]:
        degrees = self._view.models[o.job.request.model].stage(o.job.stage).degrees
        return [k for k in sorted(degrees) if k <= len(self._view.ranks)]

    def _able(self, job: Job) -> list[Rank]:
        return [rank for rank in self._free if self._view.can_run(job, rank)]

    def _give(self, o: Outlook, degree: int, able: list[Rank]) -> None:
        """The job's own ranks first (no move), then the lowest."""
        home = o.job.home or ()
        group = tuple(sorted(sorted(able, key=lambda rank: (rank not in home, rank))[:degree]))
        self._given.append((o, group))
        self._free = [rank for rank in self._free if rank not in group]


def _urgency(o: Outlook) -> tuple[float, int, float, str]:
    """The least laxity first."""
    return o.laxity, -o.job.request.priority, o.job.request.arrived_at, o.job.id


def _leftover_order(o: Outlook) -> tuple[int, float, float, str]:
    """Given-up work (it could still make it) before late work before best effort; the least left first."""
    rank = 0 if not o.hopeless else 1 if o.job.request.deadline is not None else 2
    return rank, o.fastest_s if o.hopeless else o.work, o.job.request.arrived_at, o.job.id
