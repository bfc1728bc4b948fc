"""`tridentserve`: TridentServe (arXiv 2510.02838), encode, diffuse and decode placed and given ranks apart.

Its full text was not available to us: this follows a long reading of it and its public code where they say something,
and decides the rest in favour of serving more requests. The Dynamic Orchestrator (`placement`) says which stages each
rank hosts, from virtual replicas; the Resource-Aware Dispatcher solves an integer programme for the steps of who waits
(`dispatch`), then finds ranks for encode and decode (`desk`); weights follow on dispatch (`weights`). A stage runs to
its end: nothing is paused.

Decided here, beside what those files list:
- The dispatcher runs at every event, with the ranks that are free; nothing queues behind a busy rank. So a dispatch
  keeps its ranks only while its encode or its weights are on their way.
- Encode runs inside the group where the primaries host it, ahead of the dispatch on ranks that are idle anyway, and
  on auxiliaries as soon as they are free. Decodes go before all else: they free a request and are short.
- The dispatch plan's time is all that is left, decode included, not the steps alone.
- Equal requests share a chunk on the fewest ranks, as the public code merges them: a batch doubles while a step takes
  at most a fifth longer. The best batch is a rule of degree one there and of the narrowest here.
- A device kind, an amount of memory, and weights that are not there yet each make a primary type of their own, the
  last with the load in its time.
"""

from __future__ import annotations

from collections.abc import Sequence

from sfumato.core.policy import Plan
from sfumato.core.values import RankInfo, Value
from sfumato.core.view import View
from sfumato.policies.tridentserve.desk import Choices, Desk, Dispatch
from sfumato.policies.tridentserve.kinds import Kinds
from sfumato.policies.tridentserve.placement import (
    BETTER,
    IMBALANCE,
    Demand,
    Post,
    asked,
    imbalance,
    placed,
    remembered,
    uncovered,
)
from sfumato.policies.whole import usable


class Memo(Value, frozen=True, kw_only=True):
    """The placement, what was dispatched and not begun, and the demand of arrivals up to `counted_to`."""

    posts: tuple[Post, ...] = ()
    dispatches: tuple[Dispatch, ...] = ()
    demand: tuple[Demand, ...] = ()
    counted_to: float = -1.0


class TridentServe:
    """`tridentserve` in the table of policies."""

    name = "tridentserve"
    work_conserving = False  # ranks are kept for an encode or a load, and hosts of one stage idle beside another
    places_weights = True
    Memo = Memo
    Options = Choices

    def __init__(self, options: Choices | None = None) -> None:
        self._options = options or Choices()

    def plan(self, view: View) -> Plan:
        memo: Memo = view.memo or Memo()
        if not view.free or not view.jobs:
            return Plan(memo=memo)
        kinds = Kinds(view)
        ranks = [view.ranks[rank] for rank in usable(view)]
        demand = _remembered(view, kinds, memo, ranks, virtual=self._options.virtual)
        posts = _placed(view, memo, demand, ranks, replan=self._options.replan)
        desk = Desk(view, kinds, posts, memo.dispatches, self._options)
        desk.advance()
        desk.finish()
        if not self._options.adjust:
            desk.settle()
        desk.encode(auxiliary=True)
        desk.dispatch()
        desk.encode(auxiliary=False)
        desk.anything()
        counted_to = max((job.request.arrived_at for job in view.jobs), default=memo.counted_to)
        return Plan(
            launches=tuple(desk.launches),
            loads=tuple(desk.weights.loads),
            drops=tuple(desk.weights.drops),
            wake_at=view.now if desk.weights.wakes else None,
            memo=Memo(
                posts=posts,
                dispatches=tuple(desk.kept),
                demand=demand,
                counted_to=max(memo.counted_to, counted_to),
            ),
        )


def _remembered(
    view: View, kinds: Kinds, memo: Memo, ranks: Sequence[RankInfo], *, virtual: bool
) -> tuple[Demand, ...]:
    """The demand with those that arrived since."""
    most = max(info.memory_bytes for info in ranks)
    new = [job for job in view.jobs if job.request.arrived_at > memo.counted_to]
    return remembered(
        memo.demand, [asked(kinds.of(job, view.device), view.models, most, virtual=virtual) for job in new]
    )


def _placed(
    view: View, memo: Memo, demand: Sequence[Demand], ranks: Sequence[RankInfo], *, replan: bool
) -> tuple[Post, ...]:
    """The old placement, or a new one: see `placement`."""
    same = [post.rank for post in memo.posts] == [info.rank for info in ranks]
    if not same or uncovered({job.request.model for job in view.jobs}, memo.posts):
        return placed(demand, ranks, memo.posts)
    before = imbalance(demand, memo.posts) if replan and demand != memo.demand else 0.0
    if before < IMBALANCE:
        return memo.posts
    fresh = placed(demand, ranks, memo.posts)
    return fresh if imbalance(demand, fresh) * BETTER <= before else memo.posts
