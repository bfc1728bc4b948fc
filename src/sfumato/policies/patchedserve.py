"""`patchedserve`: mixed-size batches that a request joins only if it and the most urgent member still make it.

PatchedServe (arXiv 2501.09253, published as MixFusion, PPoPP'26), scheduler section. Slack = (deadline - now - time
left) / time alone. At each boundary, of those that wait the one with the least slack is tried: it is passed over if it
would miss even in the batch; while it is relaxed, the one that adds most throughput is tried instead; and if the batch
with it makes the most urgent member miss, nobody is admitted any more. Nothing is paused: who was admitted stays.

Decided here, the paper being silent or the setting another:
- Admission is the launch of encode, so that whoever has begun is in the batch. Decode goes first.
- A member that misses anyway protects nobody; the most urgent member is the one of least slack that would make it.
- The threshold of relaxation is not published: a slack of `relaxed`, in times alone. Throughput is the time that the
  members' steps take alone over the time that they take together.
- The paper drops who cannot make it. Here such a request is served when its rank has nothing better to do, as late;
  with `discard` it is refused once it could not even make it alone.
- Where a stage does not pack, the members take turns in batches of equals, and a step of all is the sum of the turns.
- The paper fits a network to measured latencies of mixed batches; here it is a line, fitted to the batches of the
  profile (`cost.latency`), and the cost model's table where there are too few of them (`latency="table"`: always). The
  per-patch cache that the paper adds is no scheduling matter.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Literal

from sfumato.core.cost import Predicts, Work
from sfumato.core.policy import Plan, Refusal
from sfumato.core.values import STAGES, Job, JobState, Rank, Shape, Stage
from sfumato.core.view import View
from sfumato.policies.batches import filled
from sfumato.policies.turns import Turns


class PatchedServe(Turns):
    """`patchedserve` in the table of policies."""

    name = "patchedserve"

    class Options(Turns.Options, frozen=True, kw_only=True, forbid_unknown_fields=True):
        """As of all batches; `relaxed`: the slack above which throughput decides; `discard`: refuse who cannot make
        it; `latency`: what tells the time of a mixed batch."""

        relaxed: float = 1.0
        latency: Literal["fitted", "table"] = "fitted"
        discard: bool = False

    _options: Options

    def plan(self, view: View) -> Plan:
        plan = super().plan(view)
        if not self._options.discard:
            return plan
        begun = {job for chunk in plan.launches for job in chunk.jobs}
        waiting = [job for job in view.ready() if job.state is JobState.WAITING and job.id not in begun]
        bench = self._bench(view, min(view.ranks, default=-1), ())
        lost = [job for job in waiting if bench.slack(job) < 0]
        reason = "its deadline cannot be met"
        return Plan(launches=plan.launches, refusals=tuple(Refusal(job=job.id, reason=reason) for job in lost))

    def batch(self, view: View, rank: Rank, jobs: Sequence[Job]) -> list[Job]:
        ending = [job for job in jobs if job.stage is Stage.DECODE]
        if ending:
            return filled(view, ending[0], ending, packed=True)
        waiting = [job for job in jobs if job.state is JobState.WAITING]
        bench = self._bench(view, rank, [job for job in jobs if job.state is not JobState.WAITING])
        begin = [job for job in bench.members if job.stage is Stage.ENCODE]
        begin += bench.admit(waiting, self._options.relaxed)
        if not begin and not bench.members:
            begin = waiting
        order = begin or sorted(bench.members, key=lambda job: (bench.slack(job) < 0, bench.slack(job), job.id))
        return filled(view, order[0], order, packed=True)

    def _bench(self, view: View, rank: Rank, members: Sequence[Job]) -> Bench:
        return Bench(view, rank, members, fitted=self._options.latency == "fitted")


class Bench:
    """The members of a rank's batch, and who may join them."""

    def __init__(self, view: View, rank: Rank, members: Sequence[Job], *, fitted: bool) -> None:
        self.members = list(members)
        self._view = view
        costs = view.costs
        self._price = costs.batch_s if fitted and isinstance(costs, Predicts) else costs.unit_s
        self._rank = rank

    def admit(self, waiting: Sequence[Job], relaxed: float) -> list[Job]:
        """Those that join now, in their order; they are members from here on."""
        slack = {job.id: self.slack(job) for job in waiting}
        left = sorted(waiting, key=lambda job: (slack[job.id], job.request.arrived_at, job.id))
        joined: list[Job] = []
        while left:
            able = [job for job in left if self._has_room(job) and self._makes_it(job, [*self.members, job])]
            if not able:
                break
            tried = able[0] if slack[able[0].id] <= relaxed else max(able, key=self._gain)
            urgent = min((m for m in self.members if self._makes_it(m, self.members)), key=self.slack, default=None)
            if urgent is not None and not self._makes_it(urgent, [*self.members, tried]):
                break
            left.remove(tried)
            joined.append(tried)
            self.members.append(tried)
        return joined

    def slack(self, job: Job) -> float:
        """Times that it could still be served alone, beyond the once that is left of it."""
        if job.request.deadline is None:
            return inf
        left_s = self._steps(job) * self._unit_s(job, Stage.DIFFUSE) + self._ends_s(job)
        model = self._view.models[job.request.model]
        alone_s = sum(model.units(stage, job.shape, job.steps) * self._unit_s(job, stage) for stage in STAGES)
        return (job.request.deadline - self._view.now - left_s) / max(alone_s, 1e-9)

    def _makes_it(self, job: Job, members: Sequence[Job]) -> bool:
        """Whether it is on time if these stay together to its end."""
        if job.request.deadline is None:
            return True
        end = self._view.now + self._steps(job) * self._step_s(members) + self._ends_s(job)
        return end <= job.request.deadline

    def _gain(self, job: Job) -> float:
        """Throughput with it: the time of a step of each alone, over the time of one of all."""
        members = [*self.members, job]
        together_s = self._step_s(members)
        alone_s = sum(self._unit_s(member, Stage.DIFFUSE) for member in members)
        return alone_s / together_s if together_s > 0 else 1.0

    def _has_room(self, job: Job) -> bool:
        mine = sum(member.request.model == job.request.model for member in self.members)
        return mine < self._view.models[job.request.model].diffuse.max_batch

    def _step_s(self, members: Sequence[Job]) -> float:
        """Seconds of a step of all of them: one batch, or one after the other where they cannot share."""
        batches: dict[tuple[str, bool, Shape | None], list[Shape]] = {}
        for job in members:
            packs = self._view.models[job.request.model].diffuse.packs
            key = job.request.model, job.request.guided, None if packs else job.shape
            batches.setdefault(key, []).append(job.shape)
        return sum(
            self._batch_s(model, Stage.DIFFUSE, guided, tuple(shapes)) for (model, guided, _), shapes in batches.items()
        )

    def _unit_s(self, job: Job, stage: Stage) -> float:
        return self._batch_s(job.request.model, stage, job.request.guided, (job.shape,))

    def _batch_s(self, model: str, stage: Stage, guided: bool, shapes: tuple[Shape, ...]) -> float:
        degree = min(self._view.models[model].stage(stage).degrees)
        device = self._view.ranks[self._rank].device if self._rank in self._view.ranks else self._view.device
        work = Work(model=model, stage=stage, shapes=shapes, degree=degree, guided=guided, device=device)
        return self._price(work)

    def _steps(self, job: Job) -> int:
        return 0 if job.stage is Stage.DECODE else job.steps - (job.done if job.stage is Stage.DIFFUSE else 0)

    def _ends_s(self, job: Job) -> float:
        """Seconds of encode and decode that are left."""
        return sum(
            units * self._unit_s(job, stage)
            for stage, units in self._view.stages_left(job)
            if stage is not Stage.DIFFUSE
        )
