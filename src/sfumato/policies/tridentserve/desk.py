"""One plan in the making: what was dispatched goes on, then the dispatcher's two steps for who waits.

A dispatch is a group of ranks that is kept for some requests up to a stage: their encode runs inside the group, then
their steps on all of it. The rest of step 2 of the paper is `finish` and `encode`: decode on ranks of the group that
hosts it, else on an idle auxiliary; encode of requests whose primaries do not host it on an idle auxiliary.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf

import msgspec

from sfumato.core.values import STAGES, Chunk, Group, Job, Rank, Stage, Value
from sfumato.core.view import View
from sfumato.policies.tridentserve.dispatch import Entry, greedy, solved
from sfumato.policies.tridentserve.kinds import LETTER, Kind, Kinds
from sfumato.policies.tridentserve.placement import Post
from sfumato.policies.tridentserve.primaries import Primaries
from sfumato.policies.tridentserve.weights import Weights

QUEUE = 128  # requests that the programme looks at, those that can be on time first


class Choices(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """`efficiency`: speed-up a rank that a degree must keep. Ablations: `ilp` (off: greedy), `replan` (off: the first
    placement stays), `virtual` (off: every rank is EDC), `adjust` (off: a new placement is loaded at once, before its
    ranks work again), `stages` (off: a group is kept from encode to decode), `batching`."""

    efficiency: float = 0.8
    ilp: bool = True
    replan: bool = True
    virtual: bool = True
    adjust: bool = True
    stages: bool = True
    batching: bool = True


class Dispatch(Value, frozen=True, kw_only=True):
    """`group` is kept for `jobs` until the chunk of stage `last` begins, or, where that is decode, ends."""

    jobs: tuple[str, ...]
    group: Group
    last: Stage


class Desk:
    """The decision over the free ranks."""

    def __init__(
        self, view: View, kinds: Kinds, posts: Sequence[Post], dispatches: Iterable[Dispatch], choices: Choices
    ) -> None:
        self.launches: list[Chunk] = []
        self.kept: list[Dispatch] = []
        self.weights = Weights(view, kinds, posts)
        self._view, self._kinds, self._choices = view, kinds, choices
        self._posts = {post.rank: post for post in posts}
        self._free = list(view.free)
        self._old = list(dispatches)
        self._ready = sorted(view.ready(), key=urgency)
        self._dispatched: set[str] = set()

    def advance(self) -> None:
        """Every dispatch takes its next chunk; one that has come to nothing gives its ranks back."""
        for dispatch in self._old:
            jobs = [job for one in dispatch.jobs if (job := self._view.job(one)) is not None]
            known = all(rank in self._posts for rank in dispatch.group)
            if jobs and known:
                self._advance(dispatch, jobs)

    def finish(self) -> None:
        """Decodes that belong to no dispatch: on their own ranks where those host it, else on the best idle host."""
        for job in self._waiting(Stage.DECODE):
            parts = self._kinds.parts(job.request.model, "C")
            own = [rank for rank in job.home or () if not self.weights.missing(rank, parts)]
            able = [rank for rank in self._free if self._hosts(job, rank, "C") or rank in own]
            self._single(job, able)

    def encode(self, *, auxiliary: bool) -> None:
        """Encodes of requests that no primary takes whole, on auxiliaries; afterwards of any, on what is left idle."""
        for job in self._waiting(Stage.ENCODE):
            able = [rank for rank in self._free if self._hosts(job, rank, "E")]
            if auxiliary:
                able = [rank for rank in able if not self._hosts(job, rank, "D")]
            else:
                able = [rank for rank in able if self._has_room(job, rank)]
            self._single(job, able)

    def dispatch(self) -> None:
        """The integer programme, then ranks: the widest groups first, at home where they can."""
        entries = self._entries()
        primaries = Primaries(self._view, self._kinds, self._posts, self._free, self._choices.efficiency)
        columns = primaries.columns(entries)
        if not columns:
            return
        rooms = primaries.rooms(columns)
        chosen = solved(columns, rooms) if self._choices.ilp else greedy([c for c in columns if c.worth > 0], rooms)
        last = Stage.DIFFUSE if self._choices.stages else Stage.DECODE
        for column in sorted(chosen, key=lambda c: (-c.degree, c.entry)):
            jobs = entries[column.entry].jobs
            group = primaries.group(jobs[0], column, self._free)
            if group:
                self._advance(Dispatch(jobs=tuple(job.id for job in jobs), group=group, last=last), jobs)

    def anything(self) -> None:
        """An idle pool always gets work: the first request that some ranks can be made ready for, whoever hosts it."""
        loading = any(self._view.loading(rank) for rank in self._posts)
        if self._view.running or self.launches or loading or self.weights.loads or self.weights.drops:
            return
        self.kept.clear()
        self._free = list(self._view.free)
        for job in self._ready:
            for degree in sorted(self._view.models[job.request.model].stage(job.stage).degrees):
                group = tuple(self._view.free[:degree])
                dispatch = Dispatch(jobs=(job.id,), group=group, last=job.stage)
                if len(group) == degree and self._go(dispatch, [job], group):
                    return

    def settle(self) -> None:
        """Without adjust-on-dispatch: ranks whose post's weights are not all there do nothing else until they are."""
        for rank in list(self._free):
            duties = self._posts[rank].duties
            parts = {
                part: size for model, letters in duties for part, size in self._kinds.parts(model, letters).items()
            }
            hosted = sum(parts.values()) <= self._view.ranks[rank].memory_bytes
            if hosted and not all(part in self._view.resident(rank) for part in parts):
                self.weights.prepare(rank, parts, 0)
                self._free.remove(rank)

    # -- chunks ---------------------------------------------------------------------------------------------------

    def _advance(self, dispatch: Dispatch, jobs: Sequence[Job]) -> None:
        self._dispatched.update(dispatch.jobs)
        stage = min((job.stage for job in jobs), key=STAGES.index)
        idle = [job for job in jobs if job.stage is stage and job.chunk is None]
        under_way = any(job.chunk is not None for job in jobs)
        if stage is Stage.DIFFUSE:
            if idle and not under_way:
                under_way = self._go(dispatch, idle, dispatch.group)
        else:
            degree = self._narrowest(jobs[0], stage)
            for job in idle:
                mine = [rank for rank in dispatch.group if rank in self._free]
                under_way |= len(mine) >= degree and self._go(dispatch, [job], tuple(mine[:degree]))
            if stage is Stage.ENCODE and under_way:
                self._prefetch(dispatch, jobs[0])
        if under_way and dispatch not in self.kept and self._holds(dispatch, stage, jobs):
            self.kept.append(dispatch)
            self._take(dispatch.group)

    def _holds(self, dispatch: Dispatch, stage: Stage, jobs: Sequence[Job]) -> bool:
        """Whether its ranks are still to be kept: not once the last chunk has begun, unless that is decode."""
        if stage is not dispatch.last or len({job.stage for job in jobs}) > 1:
            return True
        launched = {one for chunk in self.launches for one in chunk.jobs}
        begun = all(job.chunk is not None or job.id in launched for job in jobs)
        return not begun or (stage is Stage.DECODE and not self._choices.stages)

    def _go(self, dispatch: Dispatch, jobs: Sequence[Job], group: Group) -> bool:
        """Launch the next chunk of some of a dispatch's jobs; or wait for its weights: false if neither is possible."""
        group = tuple(sorted(group))
        if not all(rank in self._free for rank in group):
            return False
        units = min(self._view.units_left(job) for job in jobs)
        chunk = Chunk(jobs=tuple(job.id for job in jobs), stage=jobs[0].stage, units=units, group=group)
        if self.weights.ready(chunk):
            self.launches.append(chunk)
            self._take(group)
            return True
        if any(rank in self.weights.stirred or self._view.loading(rank) for rank in group):
            self._dispatched.update(dispatch.jobs)
            self.kept.append(dispatch)
            self._take(dispatch.group)
            return True
        return False

    def _single(self, job: Job, able: Iterable[Rank]) -> None:
        """A request's encode or decode: where its weights are, at home, on who hosts least else, in this order."""
        letter = LETTER[job.stage]
        parts = self._kinds.parts(job.request.model, letter)
        home = job.home or ()
        bound = job.done > job.saved
        order = sorted(
            (rank for rank in able if not bound or rank in home),
            key=lambda rank: (
                len(self.weights.missing(rank, parts)),
                rank not in home,
                len(self._posts[rank].letters(job.request.model)),
                rank,
            ),
        )
        group = tuple(order[: self._narrowest(job, job.stage)])
        if len(group) == self._narrowest(job, job.stage):
            self._go(Dispatch(jobs=(job.id,), group=group, last=job.stage), [job], group)

    def _prefetch(self, dispatch: Dispatch, job: Job) -> None:
        """The weights of the steps come beside the encode, where nothing has to leave for them."""
        parts = self._kinds.parts(job.request.model, "D")
        for rank in dispatch.group:
            if rank not in self.weights.stirred:
                room = self._kind(job, rank).room("D", len(dispatch.group))
                self.weights.prepare(rank, parts, room, drop=False)

    # -- the programme --------------------------------------------------------------------------------------------

    def _entries(self) -> list[Entry]:
        """Requests before or in their steps, alone or, once encoded, with equals as long as a batch pays."""
        left = [*self._waiting(Stage.ENCODE), *self._waiting(Stage.DIFFUSE)]
        left = sorted(sorted(left, key=urgency), key=lambda job: not self._kind(job).makes(job, self._view.now))[:QUEUE]
        entries = []
        while left:
            lead = left[0]
            kind = self._kind(lead)
            most = kind.batch if self._choices.batching else 1
            mates = [job for job in left[1:] if alike(lead, job)][: most - 1]
            jobs = [lead, *mates]
            left = [job for job in left if job not in jobs]
            entries.append(Entry(jobs=tuple(jobs), alone_s=sum(kind.works(min(kind.step_s)))))
        return entries

    # -- small questions ------------------------------------------------------------------------------------------

    def _waiting(self, stage: Stage) -> list[Job]:
        return [job for job in self._ready if job.stage is stage and job.id not in self._dispatched]

    def _hosts(self, job: Job, rank: Rank, letter: str) -> bool:
        return letter in self._posts[rank].letters(job.request.model)

    def _narrowest(self, job: Job, stage: Stage) -> int:
        return min(self._view.models[job.request.model].stage(stage).degrees)

    def _kind(self, job: Job, rank: Rank = -1) -> Kind:
        info = self._view.ranks.get(rank)
        return self._kinds.of(job, info.device if info else self._view.device)

    def _has_room(self, job: Job, rank: Rank) -> bool:
        """Whether what is encoded ahead leaves the rank room for whatever is live, beside the weights it has."""
        most = max(self._kind(other).room("D", 1) if 1 in self._kind(other).step_s else 0 for other in self._ready)
        return self._view.spare_bytes(rank) - self._kind(job).held >= most

    def _take(self, group: Group) -> None:
        self._free = [rank for rank in self._free if rank not in group]


def urgency(job: Job) -> tuple[float, int, float, str]:
    """The nearest deadline first."""
    deadline = job.request.deadline
    return inf if deadline is None else deadline, -job.request.priority, job.request.arrived_at, job.id


def alike(one: Job, other: Job) -> bool:
    """Whether two can go through all their steps together from here."""
    a, b = one.request, other.request
    same = (a.model, a.guided, one.shape, one.steps) == (b.model, b.guided, other.shape, other.steps)
    return same and one.stage is other.stage and one.done == other.done == 0
