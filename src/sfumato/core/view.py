"""What a policy sees: a facade over backlog, pool and costs at one instant. It cannot change any of them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from sfumato.core.backlog import Backlog
from sfumato.core.cost import Costs, Work
from sfumato.core.pool import Pool
from sfumato.core.values import EXACT, STAGES, Chunk, Job, ModelSpec, PartId, Rank, RankInfo, Request, Running, Stage


def qualities_of(requests: Sequence[Request], stage: Stage) -> tuple[str, ...]:
    """As in Work."""
    if stage is not Stage.DIFFUSE or all(request.quality == EXACT for request in requests):
        return ()
    return tuple(request.quality for request in requests)


class View:
    """The state of the system at `now` (seconds). `memo` is what the policy's last plan wanted to remember."""

    __slots__ = ("_backlog", "_pool", "costs", "memo", "models", "now")

    def __init__(
        self, now: float, backlog: Backlog, pool: Pool, models: Mapping[str, ModelSpec], costs: Costs, memo: Any
    ) -> None:
        self.now = now
        self._backlog = backlog
        self._pool = pool
        self.models = models
        self.costs = costs
        self.memo = memo

    @property
    def jobs(self) -> Collection[Job]:
        """All live jobs, running ones included, in order of arrival."""
        return self._backlog.live.values()

    def ready(self) -> Iterator[Job]:
        """Jobs in no chunk, in order of arrival: what may be launched."""
        return self._backlog.ready()

    def job(self, job_id: str) -> Job | None:
        return self._backlog.get(job_id)

    @property
    def free(self) -> Sequence[Rank]:
        """Ranks without a chunk, sorted."""
        return self._pool.free

    @property
    def ranks(self) -> Mapping[Rank, RankInfo]:
        return self._pool.ranks

    @property
    def running(self) -> Mapping[int, Running]:
        return self._pool.running

    def free_at(self, rank: Rank) -> float:
        """When a rank is expected to be free: now, or the predicted end of its chunk."""
        seq = self._pool.on.get(rank)
        return self.now if seq is None else max(self.now, self._pool.running[seq].ends_at)

    def resident(self, rank: Rank) -> Collection[PartId]:
        return self._pool.resident[rank]

    def loading(self, rank: Rank) -> Collection[PartId]:
        return self._pool.loading[rank]

    def failed(self, rank: Rank) -> Mapping[PartId, int]:
        """How many loads of a part have failed in a row on a rank, where any has."""
        return self._pool.failed[rank]

    def weight_bytes(self, rank: Rank) -> int:
        """Memory taken by weights, also those on their way."""
        return self._pool.weight_bytes[rank]

    def spare_bytes(self, rank: Rank) -> int:
        """Memory not taken by weights and held jobs."""
        return self._pool.ranks[rank].memory_bytes - self._pool.used_bytes(rank)

    def units_left(self, job: Job) -> int:
        """Units left of the job's stage."""
        return self.models[job.request.model].units(job.stage, job.shape, job.steps) - job.done

    def can_run(self, job: Job, rank: Rank) -> bool:
        """Whether the weights of the job's stage are resident on a rank, and the job is not bound to another.

        Progress that no snapshot holds (a decode under way) cannot leave its home.
        """
        resident = self._pool.resident[rank]
        for part in self.models[job.request.model].stage(job.stage).parts:
            if part not in resident:
                return False
        return job.done <= job.saved or rank in (job.home or ())

    def fits(self, chunk: Chunk) -> bool:
        """Whether the memory of every rank of the chunk's group holds it beside what is there."""
        lead = self._backlog.live[chunk.jobs[0]]
        model = self.models[lead.request.model]
        peak = self.costs.peak_bytes(self.work(chunk))
        for rank in chunk.group:
            need = peak
            for job in chunk.jobs:
                if rank not in self._pool.held.get(job, ((), 0))[0]:
                    need += self.costs.held_bytes(self._backlog.live[job], model)
            if need > self.spare_bytes(rank):
                return False
        return True

    def work(self, chunk: Chunk) -> Work:
        """A chunk as the cost model sees it, by the slowest kind of device in it. Raises KeyError for unknown jobs."""
        live = self._backlog.live
        lead = live[chunk.jobs[0]]
        infos = [self._pool.ranks[rank] for rank in chunk.group]
        work = Work(
            model=lead.request.model,
            stage=chunk.stage,
            shapes=(lead.shape,) if len(chunk.jobs) == 1 else tuple(live[job].shape for job in chunk.jobs),
            degree=len(infos),
            guided=lead.request.guided,
            device=infos[0].device,
            nodes=len({info.node for info in infos}),
            cfg=chunk.cfg,
            qualities=qualities_of([live[job].request for job in chunk.jobs], chunk.stage),
        )
        kinds = {info.device for info in infos}
        if len(kinds) == 1:
            return work
        return max((replace(work, device=kind) for kind in sorted(kinds)), key=self.costs.unit_s)

    def unit_s(
        self, job: Job, stage: Stage | None = None, *, degree: int = 1, batch: int = 1, rank: Rank = -1
    ) -> float:
        """Seconds of one unit of a job's stage (default: the one it is in), batched with `batch - 1` equals.

        Of steps that are all computed, whatever the job's quality.
        """
        info = self._pool.ranks.get(rank)
        return self.costs.unit_s(
            Work(
                model=job.request.model,
                stage=job.stage if stage is None else stage,
                shapes=(job.shape,) * batch,
                degree=degree,
                guided=job.request.guided,
                device=info.device if info else self.device,
            )
        )

    @property
    def device(self) -> str:
        """The device kind of the lowest rank (estimates where no rank is chosen yet)."""
        for info in self._pool.ranks.values():
            return info.device
        return "cpu"

    def stages_left(self, job: Job) -> Iterator[tuple[Stage, int]]:
        """(stage, units left) for the job's stage and all later ones."""
        model = self.models[job.request.model]
        for stage in STAGES[STAGES.index(job.stage) :]:
            done = job.done if stage is job.stage else 0
            yield stage, model.units(stage, job.shape, job.steps) - done
