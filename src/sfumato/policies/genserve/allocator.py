"""The Allocator: which ranks each chosen video and image batch gets, and what starts on them now.

Videos and late work (`moving`) run a round at a time and can still be widened; everything else is fixed as it starts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sfumato.core.values import Chunk, Group, Rank, Stage
from sfumato.core.view import View
from sfumato.policies.genserve.images import Batch
from sfumato.policies.pace import Standing, narrowest, pick


class Allocator:
    """The free ranks of one decision. `latents`: how many paused videos have theirs on a rank."""

    def __init__(self, view: View, round_s: float, latents: Mapping[Rank, int]) -> None:
        self.free: list[Rank] = list(view.free)
        self._view, self._round_s, self._latents = view, round_s, latents
        self._until = {rank: view.free_at(rank) for running in view.running.values() for rank in running.chunk.group}
        self._fixed: list[Chunk] = []
        self._moving: list[tuple[Standing, Group]] = []

    def run_images(self, queue: Sequence[Batch], slots: int) -> list[Batch]:
        """The first `slots` batches on the ranks that are free; returns the others."""
        left = list(queue)
        for batch in queue[: max(0, slots)]:
            lead = batch.members[0].job
            able = [r for r in self.free if all(self._view.can_run(s.job, r) for s in batch.members)]
            group = pick(self._view, lead, able, narrowest(self._view, lead), self._kept_ranks())
            if group:
                steps = min(s.steps for s in batch.members)
                jobs = tuple(s.job.id for s in batch.members)
                self.fix(Chunk(jobs=jobs, stage=Stage.DIFFUSE, units=steps, group=group), batch.seconds)
                left.remove(batch)
        return left

    def move(self, s: Standing, degree: int) -> bool:
        group = pick(self._view, s.job, self.free, degree, self._kept_ranks())
        if group:
            self._moving.append((s, group))
            self._take(group, s.pace.start_s + self._units(s, degree) * s.pace.step_s(degree))
        return group is not None

    def gather(self, s: Standing, degree: int, degrees: Sequence[int]) -> list[Rank]:
        """Ranks to keep idle for a video that needs more than are free; or none, and it starts narrower."""
        able = [rank for rank in self.free if self._view.can_run(s.job, rank)]
        narrower = [k for k in degrees if k <= len(able)]
        later = sorted(self._until.values())
        missing = degree - len(able)
        ready_at = later[missing - 1] if missing <= len(later) else None
        if ready_at is not None and (not narrower or ready_at - self._view.now < s.pace.step_s(narrower[-1])):
            return able
        if narrower:
            self.move(s, narrower[-1])
        return []

    def _gain(self, place: int) -> tuple[float, int, Group] | None:
        """(seconds saved a rank, minus the place, group) of the next degree up."""
        s, group = self._moving[place]
        wider = next((k for k, _ in s.pace.steps if k > len(group)), None)
        able = [rank for rank in self.free if self._view.can_run(s.job, rank)]
        if wider is None or len(able) < wider - len(group):
            return None
        saved_s = s.steps * (s.pace.step_s(len(group)) - s.pace.step_s(wider))
        added = wider - len(group)
        return (saved_s / added, -place, tuple(sorted((*group, *able[:added])))) if saved_s > 0 else None

    def _units(self, s: Standing, degree: int) -> int:
        step_s = s.pace.step_s(degree)
        return min(s.steps, max(1, int(self._round_s / step_s + 1e-6))) if step_s > 0 else s.steps

    def fix(self, chunk: Chunk, seconds: float) -> None:
        self._fixed.append(chunk)
        self._take(chunk.group, seconds)

    def _take(self, group: Group, seconds: float) -> None:
        self.free = [rank for rank in self.free if rank not in group]
        self._until.update(dict.fromkeys(group, self._view.now + seconds))

    def launched(self) -> set[str]:
        return {job for chunk in self._fixed for job in chunk.jobs} | {s.job.id for s, _ in self._moving}

    def _kept_ranks(self) -> list[Rank]:
        """Ranks with the latent of a paused video: others go there last."""
        return [rank for rank, count in self._latents.items() if count]

    def widen(self) -> None:
        """Idle ranks to the videos that start, the most seconds saved for each added rank first."""
        while self.free:
            gains = [gain for place in range(len(self._moving)) if (gain := self._gain(place))]
            if not gains:
                return
            _, place, group = max(gains)
            self._moving[-place] = self._moving[-place][0], group
            self.free = [rank for rank in self.free if rank not in group]

    def chunks(self) -> list[Chunk]:
        """Everything that starts now."""
        moving = [
            Chunk(jobs=(s.job.id,), stage=Stage.DIFFUSE, units=self._units(s, len(group)), group=group)
            for s, group in self._moving
        ]
        return [chunk for chunk in (*self._fixed, *moving) if self._view.fits(chunk)]
