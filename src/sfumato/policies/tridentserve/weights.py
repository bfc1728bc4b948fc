"""Adjust-on-Dispatch: the weights that a chunk needs are brought to its ranks when its dispatch needs them.

A new placement changes nothing but metadata. A chunk whose parts are missing waits, its ranks kept, while they load
beside whatever they are part of; parts leave a free rank only for lack of memory, first those that its post has no
use for, then the longest resident.
"""

from __future__ import annotations

from collections.abc import Iterable

from sfumato.core.commands import Drop, Load
from sfumato.core.values import Chunk, PartId, Rank
from sfumato.core.view import View
from sfumato.policies.tridentserve.kinds import LETTER, Kinds
from sfumato.policies.tridentserve.placement import Post


class Weights:
    """Loads and drops of one plan."""

    def __init__(self, view: View, kinds: Kinds, posts: Iterable[Post]) -> None:
        self.loads: list[Load] = []
        self.drops: list[Drop] = []
        self._view, self._kinds = view, kinds
        self._posts = {post.rank: post for post in posts}

    def ready(self, chunk: Chunk) -> bool:
        """Whether a chunk can start now; if not, what it lacks is on its way as far as there is room for it."""
        lead = self._view.job(chunk.jobs[0])
        assert lead is not None, "a chunk of live jobs"
        parts = self._kinds.parts(lead.request.model, LETTER[chunk.stage])
        peak = self._view.costs.peak_bytes(self._view.work(chunk))
        able = [self.prepare(rank, parts, peak + self._held(chunk, rank)) for rank in chunk.group]
        return all(able) and self._view.fits(chunk)

    def prepare(self, rank: Rank, parts: dict[PartId, int], room: int, *, drop: bool = True) -> bool:
        """Whether `parts` are resident on a free rank beside `room` bytes; if not, load them, and `drop` others."""
        view = self._view
        missing = self.missing(rank, parts)
        lack = room + sum(parts[part] for part in missing) - view.spare_bytes(rank)
        dropped = self._droppable(rank, parts, lack) if lack > 0 and drop else []
        if lack > 0 and not dropped:
            return False
        self.drops += [Drop(rank=rank, part=part) for part in dropped]
        self.loads += [Load(rank=rank, part=part) for part in missing]
        return not dropped and all(part in view.resident(rank) for part in parts)

    def missing(self, rank: Rank, parts: Iterable[PartId]) -> list[PartId]:
        """Those that are neither there nor on their way."""
        there = self._view.resident(rank), self._view.loading(rank)
        return [part for part in parts if not any(part in some for some in there)]

    @property
    def stirred(self) -> set[Rank]:
        """Ranks whose weights this plan changes."""
        return {load.rank for load in self.loads} | {drop.rank for drop in self.drops}

    @property
    def wakes(self) -> bool:
        """Whether a drop has made room, and no load will end to tell of it."""
        return bool({drop.rank for drop in self.drops} - {load.rank for load in self.loads})

    def _droppable(self, rank: Rank, kept: dict[PartId, int], lack: int) -> list[PartId]:
        """Parts to drop for `lack` bytes; none if all of them are not enough."""
        resident = self._view.resident(rank)
        duties = self._posts[rank].duties if rank in self._posts else ()
        own = {part for model, letters in duties for part in self._kinds.parts(model, letters)}
        sizes = self._kinds.sizes
        found: list[PartId] = []
        for part in sorted((part for part in resident if part not in kept), key=lambda part: part in own):
            if lack <= 0:
                break
            found.append(part)
            lack -= sizes.get(part, 0)
        return found if lack <= 0 else []

    def _held(self, chunk: Chunk, rank: Rank) -> int:
        """Bytes of the chunk's jobs that the rank does not hold yet."""
        jobs = [job for one in chunk.jobs if (job := self._view.job(one)) is not None]
        models = self._view.models
        return sum(
            self._view.costs.held_bytes(job, models[job.request.model]) for job in jobs if rank not in (job.home or ())
        )
