"""`sfumato`: serve as many requests as possible by their deadline; spend the least GPU-seconds on each.

On each batch of events:
1. Weigh every live request (`outlook`): least GPU-seconds that meet its deadline, first degree of that, or hopeless.
2. Choose whom to save (`keep`); refuse or lower arrivals that cannot be saved, if admission says so (`admit`).
3. Launch kept requests by laxity at that degree; narrower only if a step stays short, or they cannot wait, and the
   deadline still holds.
4. Then given-up work (least first), late work and best effort (least left first), only where a step is short, so that
   work that cannot be saved never blocks work that can. A small share of the pool is theirs whatever comes (`shares`).
5. Move to faster ranks that no kept request wants; then double degrees while ranks are free and efficiency stays above
   one half, best saving first.
6. Whoever is left over and of the same kind joins a chunk (`batch`), if all of its members still make their deadlines.
7. A chunk runs for a quantum: 5% of the tightest slack seen or forty launches, at least one unit. Where nobody waits
   and no rank is free, its rank goes on with the request's next stage in what is left of that (`merge`).
8. Where not all weights are resident, load what waits most and drop what waits least (`weights`).

Its constants are a prototype's (docs/decisions/0005, 0010); none is tuned to a workload.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice

import numpy as np
from msgspec.structs import replace

from sfumato.core.cost import Work
from sfumato.core.policy import Admission, Plan, Reason, Refusal
from sfumato.core.values import Job, JobState, Rank, Shape, Stage
from sfumato.core.view import View
from sfumato.policies.sfumato.admit import lowered, refusal
from sfumato.policies.sfumato.board import Board
from sfumato.policies.sfumato.choices import Choices
from sfumato.policies.sfumato.keep import Capacity, Line, guaranteed, kept
from sfumato.policies.sfumato.memo import Memo, demand_of, fresh, newest
from sfumato.policies.sfumato.memory import Bytes, Memory
from sfumato.policies.sfumato.merge import Launched, merged
from sfumato.policies.sfumato.order import in_turn, left_over
from sfumato.policies.sfumato.outlook import Flags, Outlook, Outlooks, Scales
from sfumato.policies.sfumato.parts import Map
from sfumato.policies.sfumato.residuals import observed, watch
from sfumato.policies.sfumato.shares import LEFT_OVER, earned, launch_owed, paid
from sfumato.policies.sfumato.spans import Spans
from sfumato.policies.sfumato.told import GIVEN_UP, Told, standing, standings, turned
from sfumato.policies.sfumato.weights import Exchange, all_there, crowded

UNHURRIED_S = 2.0  # slack assumed before any request with a deadline was seen: chunks of 0.1 s


class Sfumato:
    """`sfumato` in the table of policies."""

    name = "sfumato"
    drops = True
    work_conserving = False  # it rather leaves ranks free than lets a long step of lost work block them
    Memo = Memo
    Options = Choices

    def __init__(self, options: Choices | None = None) -> None:
        self._choices = options or Choices()
        self._bytes = Bytes()
        self._map = Map()
        self._scales = Scales()

    def plan(self, view: View) -> Plan:
        if not view.ranks:
            return Plan(memo=view.memo)
        return Decision(view, self._choices, self._bytes, self._map, self._scales).plan()


class Decision:
    """One call of `plan`."""

    def __init__(self, view: View, choices: Choices, sizes: Bytes, ranks: Map, scales: Scales) -> None:
        self._view, self._choices, self._bytes, self._map, self._scales = view, choices, sizes, ranks, scales
        memo: Memo = view.memo or Memo()
        self._residuals = observed(memo.residuals, view)
        self._parts = ranks.read(view, self._residuals)
        slack_s = memo.tightest_s or UNHURRIED_S
        spans = Spans.of(slack_s, choices.quantum, choices.limit, _launch_s(view))
        scales.paces.begin(view, self._parts, spans)
        self._margin = self._residuals.margin(spans.quantum_s)
        self._outlooks = scales.weigh(view, self._margin)
        self._fresh = fresh(memo, self._outlooks, known=view.job(memo.newest[0]) is not None)
        self._memo = demand_of(memo, self._fresh)
        since_s = view.now - memo.at if memo.at >= 0 else 0.0
        self._owed = earned(memo.owed, choices, self._outlooks, since_s * len(view.ranks))
        running = view.running.values()
        self._busy_s = sum(max(0.0, r.ends_at - view.now) * len(r.chunk.group) for r in running)
        self._capacity = Capacity(self._memo, view.now, self._strength())

    def plan(self) -> Plan:
        view = self._view
        keep = self._kept(self._outlooks)
        admissions, refusals = self._admit(keep) if self._choices.admission != "accept" else ((), ())
        settled = all_there(view) and not crowded(view, self._kinds(), self._bytes)
        exchange = None if settled else Exchange(view, self._outlooks, self._memo, self._bytes)
        if exchange is not None:
            exchange.decide()
        dropping = {drop.rank for drop in exchange.drops} if exchange else set()
        changed = {*(each.job for each in admissions), *(each.job for each in refusals)}
        ready = self._outlooks.idle
        if changed:
            ready = ready & [job.request.id not in changed for job in self._outlooks.jobs]
        launches = self._launches(ready, keep, dropping) if view.free and ready.any() else []
        memo = self._remembered(launches, ready, keep)
        return Plan(
            launches=tuple(chunk for _, chunk, _ in launches),
            admissions=admissions,
            refusals=refusals,
            loads=tuple(exchange.loads) if exchange else (),
            drops=tuple(exchange.drops) if exchange else (),
            # an admission takes effect with this plan, so its request is launched by the next one
            wake_at=view.now if admissions else None,
            memo=memo,
            reasons=self._reasons(launches, ready, keep, memo) if self._choices.explain else (),
            swaps=tuple(exchange.swaps) if exchange and self._choices.explain else (),
        )

    # -- whom to save --------------------------------------------------------------------------------------------------

    def _kept(self, outlooks: Outlooks, *, width: bool = True) -> Flags:
        weights, now = self._choices.weights, self._view.now
        safe = guaranteed(outlooks, self._owed) if self._choices.shares else ()
        return kept(outlooks, self._capacity, now, self._busy_s, weights=weights, safe=safe, width=width)

    def _strength(self) -> float:
        """Ranks, a slower one counted for what it does beside those of the first part."""
        if len(self._parts) == 1 or not len(self._outlooks):
            return float(len(self._view.ranks))
        first, *_ = paces = self._outlooks[0].paces
        return sum(
            len(part.ranks) * first.least_s / pace.least_s for part, pace in zip(self._parts, paces, strict=True)
        )

    def _admit(self, keep: Flags) -> tuple[tuple[Admission, ...], tuple[Refusal, ...]]:
        """What is said to arrivals that cannot be met; `keep` is for those as they asked."""
        admissions, refusals = [], []
        for o in self._fresh:
            job = o.job
            if job.request.deadline is None or job.state is not JobState.WAITING or keep[o.place]:
                continue
            able = self._able(o)
            offer = lowered(job, able) if self._choices.admission == "degrade" and job.request.degradable else None
            if offer is None:
                refusals.append(refusal(job, self._finish_at(o, keep)))
            else:
                admissions.append(offer)
        return tuple(admissions), tuple(refusals)

    def _able(self, o: Outlook) -> Callable[[Shape, int], bool]:
        """Whether a request could be met as something less."""

        def able(shape: Shape, steps: int) -> bool:
            less = self._scales.weighed(self._view, replace(o.job, shape=shape, steps=steps), self._margin)
            return not less.hopeless and bool(self._kept(self._outlooks.instead(o, less))[o.place])

        return able

    def _finish_at(self, o: Outlook, keep: Flags) -> float:
        """When a request could be done: at its fastest, or after what is kept."""
        work = self._busy_s + o.work + float(self._outlooks.work[keep].sum())
        beside = float(self._capacity.beside(np.array(o.work)))
        return self._view.now + max(o.fastest_s, work / max(1e-9, beside))

    # -- who runs ------------------------------------------------------------------------------------------------------

    def _launches(self, ready: Flags, keep: Flags, dropping: set[Rank]) -> list[Launched]:
        outlooks, scales = self._outlooks, self._scales
        one_device = len({part.device for part in self._parts}) == 1
        memory = Memory(self._view, self._kinds(), self._bytes, one_device=one_device)
        board = Board(self._view, self._parts, self._map, scales.paces, memory)
        board.free.leave_out(dropping)
        rest = left_over(outlooks, (ready & ~keep).nonzero()[0], self._view.now, self._choices.aging)
        first = self._launch_owed(board, rest)
        for place in in_turn(outlooks, self._view, scales.paces.family, (ready & keep).nonzero()[0], board.free.left):
            if not board.free.left:
                break
            if not board.is_placeless(outlooks, place, int(outlooks.degree[place])):
                board.launch_kept(outlooks[place])
        for place in rest:
            if not board.free.left:
                break
            if place != first and not board.is_placeless(outlooks, place, 0):
                board.launch_rest(outlooks[place], standing(outlooks[place]))
        if len(self._parts) > 1:
            board.hasten(wanted=set(outlooks.part[keep].tolist()))
        board.widen()
        launches = list(board.chunks(outlooks, ready))
        seated = sum(len(chunk.jobs) for _, chunk, _ in launches)
        if board.free.left or seated < int(ready.sum()):
            return launches
        return list(merged(self._view, launches, scales.paces.spans.quantum_s))

    def _kinds(self) -> list[Job]:
        """A job of every kind that is live."""
        paces = self._scales.paces
        return [paces.kinds[number].sample for number in paces.live]

    def _launch_owed(self, board: Board, rest: list[int]) -> int:
        """Give left-over work the step that it is owed, if it is; returns its place, or -1."""
        if self._owed.get(LEFT_OVER, 0.0) <= 0.0 or not board.free.left:
            return -1
        first = next((place for place in rest if self._outlooks.hopeless[place]), -1)
        return first if first >= 0 and launch_owed(self._owed, board, self._outlooks[first]) else -1

    # -- what is told --------------------------------------------------------------------------------------------------

    def _remembered(self, launches: list[Launched], ready: Flags, keep: Flags) -> Memo:
        slow = [(chunk, self._parts[seat.part].slow) for seat, chunk, _ in launches]
        watched = (*self._residuals.watched, *watch(self._view, slow))
        return replace(
            self._memo,
            at=self._view.now,
            newest=newest(self._memo, self._outlooks),
            owed=paid(self._owed, launches, keep) if self._owed else {},
            told=standings(self._outlooks, ready, keep, self._memo.told) if self._choices.explain else {},
            residuals=replace(self._residuals, watched=watched),
        )

    def _reasons(self, launches: list[Launched], ready: Flags, keep: Flags, memo: Memo) -> tuple[Reason, ...]:
        """Of each launch, and of each of the `ready` who stands otherwise than before."""
        changed = turned(self._outlooks, ready, self._memo.told, memo.told)
        told = Told(self._outlooks, keep, self._view.now, new={o.place for o in self._fresh})
        if any(memo.told.get(o.job.request.id) == GIVEN_UP for o in changed):
            places = (~self._outlooks.hopeless).nonzero()[0]
            line = Line(self._outlooks, places, self._capacity, self._view.now, self._busy_s)
            told.crowded(line, fits=self._kept(self._outlooks, width=False))
        return (*map(told.launched, launches), *map(told.turned, changed))


def _launch_s(view: View) -> float:
    """What it takes at most to begin a chunk where its request is."""
    shapes = tuple(job.shape for job in islice(view.jobs, 1))
    works = (Work(model=name, stage=Stage.ENCODE, shapes=shapes, device=view.device) for name in view.models)
    return max((view.costs.start_s(work, (0,), (None,)) for work in works), default=0.0) if shapes else 0.0
