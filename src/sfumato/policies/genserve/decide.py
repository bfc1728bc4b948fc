"""`genserve`: GenServe (arXiv 2604.04335), images and videos on the same GPUs, both models resident everywhere.

Its full text was not available to us: this follows long summaries of it that agree where they overlap, and decides
the rest in favour of serving more requests. As they tell it: images run on one GPU each, batched by resolution, to
their end; videos run step by step and can pause, resume and change degree at each boundary; a dynamic programme chooses
over the whole pool, from a short list of candidates a video (`candidates`) and from the images that the ranks left over
can deliver (`images`), what serves the most requests in time. Who has the most slack pauses first. A GPU holds the
latent of one paused video at most: where one is, the next cannot be paused.

Decided here: the scheduler runs at every event. A round, which is what a held video waits at least and what a chunk
takes, is the longest step at its fastest degree among the live requests. A video that needs more ranks than are free
waits for the boundaries of others only if that takes less than a step on those that are free. Idle ranks widen
the videos that start. An image that one GPU cannot deliver in time is handled as a video is (`wide_images`; the paper
has no such images). Late and best-effort work comes last, a round at a time, where a step takes at most two.
Paused videos resume on their own ranks if those are free, else they move. The limit to paused videos is to those that
can still be in time: late ones wait beside them, and their latents count, so that where one is nobody else pauses. Each
of encode and decode takes one narrow chunk, before all else.

Ablations: `preempt` (pauses), `dp` (off: by slack, whoever fits, at the narrowest degree in time), `elastic` (degree
changes; off: RASP's static degree, the narrowest that meets the SLO alone), `batching`.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from sfumato.core.policy import Plan
from sfumato.core.values import Chunk, Job, Rank, Stage, Value
from sfumato.core.view import View
from sfumato.policies.genserve.allocator import Allocator
from sfumato.policies.genserve.candidates import Candidate, candidates, chosen, slack_s
from sfumato.policies.genserve.images import batches, delivered
from sfumato.policies.pace import Standing, narrowest, pick, standings

FORCED = -1000.0  # what holding a video counts that must not be paused


class Memo(Value, frozen=True, kw_only=True):
    """Videos that had begun and were left waiting by the last plan."""

    paused: tuple[str, ...] = ()


class GenServe:
    """`genserve` in the table of policies."""

    name = "genserve"
    work_conserving = False  # it may wait for a boundary to gather ranks
    Memo = Memo

    class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """`paused_per_gpu`: paused videos whose latents fit a GPU. The others: see the module."""

        preempt: bool = True
        dp: bool = True
        elastic: bool = True
        batching: bool = True
        wide_images: bool = True
        paused_per_gpu: int = 1

    def __init__(self, options: Options | None = None) -> None:
        self._options = options or self.Options()

    def plan(self, view: View) -> Plan:
        memo: Memo = view.memo or Memo()
        everyone = standings(view)
        if not view.free or all(s.job.chunk is not None for s in everyone):
            return Plan(memo=memo)
        board = Board(view, everyone, memo, self._options)
        board.run_ends()
        board.run_chosen()
        board.run_late()
        board.widen()
        launches = board.chunks()
        return Plan(launches=tuple(launches), memo=Memo(paused=board.paused(launches)))


class Board:
    """One decision in the making."""

    def __init__(self, view: View, everyone: Sequence[Standing], memo: Memo, options: GenServe.Options) -> None:
        self._view, self._memo, self._options = view, memo, options
        self._ready = [s for s in everyone if s.job.chunk is None]
        steppers = [s for s in everyone if s.stage is Stage.DIFFUSE and s.steps]
        self._round_s = max((s.pace.fastest_s + s.pace.start_s for s in everyone), default=0.0)
        self._videos = [s for s in steppers if not s.late and self._as_video(s)]
        self._images = [s for s in self._ready if s in steppers and not s.late and s not in self._videos]
        self._wanted: set[str] = set()
        held = [job.home for s in everyone if (job := s.job).id in memo.paused and job.chunk is None and job.home]
        self._latents = {rank: sum(rank in home for home in held) for rank in view.ranks}
        self._ranks = Allocator(view, self._round_s, self._latents)

    def run_ends(self) -> None:
        """Encode and decode, least slack first; a decode of many units a round at a time."""
        for s in sorted(self._ready, key=_urgency):
            if s.stage is Stage.DIFFUSE:
                continue
            group = pick(self._view, s.job, self._ranks.free, narrowest(self._view, s.job))
            if group:
                unit_s = s.pace.decode_s
                units = self._view.units_left(s.job)
                if s.stage is Stage.DECODE and unit_s > 0:
                    units = min(units, max(1, int(self._round_s / unit_s)))
                one_s = unit_s if s.stage is Stage.DECODE else s.pace.encode_s
                chunk = Chunk(jobs=(s.job.id,), stage=s.stage, units=units, group=group)
                self._ranks.fix(chunk, s.pace.start_s + units * one_s)

    def run_chosen(self) -> None:
        """The two stages, then ranks: videos that stay where they are, images, videos that move, more images."""
        queue = batches(self._view, self._images, self._options.batching)
        ranks = self._capacity()
        rest = delivered(queue, ranks, self._view.now, self._round_s)
        degrees = self._programmed(rest) if self._options.dp else self._greedy(rest)
        self._wanted = {s.job.id for s, k in zip(self._videos, degrees, strict=True) if k}
        want = sorted(
            ((s, k) for s, k in zip(self._videos, degrees, strict=True) if k and s.job.chunk is None),
            key=lambda pair: _urgency(pair[0]),
        )
        stay = [
            (s, k) for s, k in want if s.job.home and len(s.job.home) == k and set(s.job.home) <= set(self._ranks.free)
        ]
        for s, degree in stay:
            self._ranks.move(s, degree)
        queue = self._ranks.run_images(queue, ranks - sum(degrees))
        waiting: list[Rank] = []
        for s, degree in want:
            if (s, degree) not in stay and not self._ranks.move(s, degree):
                waiting += self._ranks.gather(s, degree, self._degrees(s))
        self._ranks.free = [rank for rank in self._ranks.free if rank not in waiting]
        self._ranks.run_images(queue, len(self._ranks.free))

    def run_late(self) -> None:
        """Late, then best-effort work: a narrow step that takes at most two rounds, or any on an idle pool."""
        taken = self._ranks.launched()
        left = [s for s in self._ready if s.late and s.stage is Stage.DIFFUSE and s.job.id not in taken]
        for s in sorted(left, key=lambda s: (s.job.request.deadline is None, s.job.request.arrived_at, s.job.id)):
            short = [k for k, step_s in s.pace.steps if step_s <= 2 * self._round_s]
            self._ranks.move(s, short[0])
        if not self._view.running and not self._ranks.launched():
            for s in sorted(self._ready, key=_urgency):
                able = sum(self._view.can_run(s.job, rank) for rank in self._view.free)
                fitting = [k for k, _ in s.pace.steps if k <= able] if s.stage is Stage.DIFFUSE else []
                self._ranks.free = list(self._view.free)
                if fitting and self._ranks.move(s, fitting[-1]):
                    return

    def widen(self) -> None:
        """Idle ranks to the videos that start."""
        if self._options.elastic:
            self._ranks.widen()

    def chunks(self) -> list[Chunk]:
        """Everything that starts now."""
        return self._ranks.chunks()

    def paused(self, launches: Sequence[Chunk]) -> tuple[str, ...]:
        """Videos under way that hold. One that only waits for its ranks (an encode was quicker) is not among them."""
        launched = {job for chunk in launches for job in chunk.jobs}
        held = [s.job for s in self._ready if _begun(s.job) and s.job.id not in launched]
        return tuple(job.id for job in held if job.id in self._memo.paused or job.id not in self._wanted)

    # -- the choice -----------------------------------------------------------------------------------------------

    def _capacity(self) -> int:
        """Ranks that can be had within a round: all but those in long chunks of images, encode and decode."""
        usable = len(self._view.free)
        videos = {s.job.id for s in self._videos}
        for running in self._view.running.values():
            soon = running.ends_at <= self._view.now + self._round_s
            if soon or not videos.isdisjoint(running.chunk.jobs):
                usable += len(running.chunk.group)
        return usable

    def _programmed(self, rest: Sequence[float]) -> list[int]:
        return chosen([self._list(s, len(rest) - 1) for s in self._videos], rest)

    def _greedy(self, rest: Sequence[float]) -> list[int]:
        """By slack, whoever fits, beside as many ranks as there are images that could be in time."""
        left = len(rest) - 1
        if self._options.preempt:
            left -= min(left, max(range(len(rest)), key=lambda r: (rest[r], -r)))
        found = dict.fromkeys((s.job.id for s in self._videos), 0)
        for s in sorted(self._videos, key=_urgency):
            best = max(self._list(s, left), key=lambda c: c.worth)
            found[s.job.id] = best.degree
            left -= best.degree
        return list(found.values())

    def _list(self, s: Standing, ranks: int) -> list[Candidate]:
        """A video's candidates; one that must go on is held only if nothing else is possible."""
        job = s.job
        current = len(job.home or ()) if _begun(job) and job.id not in self._memo.paused else 0
        degrees = [k for k in self._degrees(s) if k <= ranks]
        found = candidates(s, degrees, current, True, self._round_s)
        if current and not self._may_pause(job):
            found[0] = Candidate(degree=0, worth=FORCED)
        return found

    def _may_pause(self, job: Job) -> bool:
        full = any(self._latents.get(rank, 0) >= self._options.paused_per_gpu for rank in job.home or ())
        return self._options.preempt and not (full and job.shape.frames > 1)

    def _degrees(self, s: Standing) -> list[int]:
        degrees = [k for k, _ in s.pace.steps]
        if self._options.elastic:
            return degrees
        request, pace = s.job.request, s.pace
        time_s = s.deadline - request.arrived_at - pace.encode_s - pace.decode_units * pace.decode_s
        alone = [k for k in degrees if s.job.steps * pace.step_s(k) <= time_s]
        return [alone[0] if alone else min(degrees, key=pace.step_s)]

    def _as_video(self, s: Standing) -> bool:
        return s.job.shape.frames > 1 or (self._options.wide_images and slack_s(s, s.pace.steps[0][0]) < 0)


def _begun(job: Job) -> bool:
    """A video under way in its denoising, with its latent on some ranks."""
    return job.stage is Stage.DIFFUSE and job.done > 0 and job.home is not None


def _urgency(s: Standing) -> tuple[float, int, float, str]:
    """The least slack first."""
    return s.laxity, -s.job.request.priority, s.job.request.arrived_at, s.job.id
