"""Law L5: is a plan legal? `check` raises LawError before anything of the plan takes effect.

Legal: jobs are known and in no chunk; ranks are up, free and used once; stage and units are what the job has left;
degree and batch are what the model allows; weights are resident; memory fits; a batch has one model, stage, guidance
and (unless the stage packs) shape; progress without a snapshot stays at its home.
"""

from __future__ import annotations

from sfumato.core.policy import Plan
from sfumato.core.values import Chunk, Job, JobState
from sfumato.core.view import View
from sfumato.errors import LawError


def check(plan: Plan, view: View) -> None:
    """Raise LawError (L5, or L4 for a rank used twice) if the plan is not legal in this view."""
    ranks: set[int] = set()
    jobs: set[str] = {refusal.job for refusal in plan.refusals}
    for refusal in plan.refusals:
        _require(_waiting(view, refusal.job), f"refuses {refusal.job}, which is not waiting")
    for admission in plan.admissions:
        known = view.job(admission.job)
        _require(_waiting(view, admission.job), f"admits {admission.job}, which is not waiting")
        assert known is not None
        _require(known.request.degradable, f"lowers {admission.job}, which does not allow it")
        _require(admission.steps > 0, f"gives {admission.job} {admission.steps} steps")
    for halt in plan.halts:
        _require(halt.seq in view.running, f"halts chunk {halt.seq}, which does not run")
    for load in plan.loads:
        _require(load.rank in view.ranks, f"loads on rank {load.rank}, which is not up")
        _require(load.part not in view.resident(load.rank), f"loads {load.part}, which is resident on rank {load.rank}")
    for drop in plan.drops:
        _require(drop.rank in view.ranks and drop.rank in view.free, f"drops weights of rank {drop.rank}, not free")
        _require(drop.part in view.resident(drop.rank), f"drops {drop.part}, not resident on rank {drop.rank}")
    dropped = {(drop.rank, drop.part) for drop in plan.drops}
    for chunk in plan.launches:
        _check_chunk(chunk, view, ranks, jobs, dropped)


def _check_chunk(chunk: Chunk, view: View, ranks: set[int], jobs: set[str], dropped: set[tuple[int, str]]) -> None:
    _require(bool(chunk.jobs and chunk.group and chunk.units > 0), f"has an empty chunk {chunk}")
    lead = _job(view, chunk.jobs[0])
    spec = view.models[lead.request.model].stage(chunk.stage)
    degree = len(chunk.group) // chunk.cfg
    _require(
        degree in spec.degrees, f"runs {lead.request.model} {chunk.stage} at degree {degree}, not in {spec.degrees}"
    )
    _require(len(chunk.jobs) <= spec.max_batch, f"batches {len(chunk.jobs)} jobs, {spec.max_batch} at most")
    for job_id in chunk.jobs:
        _check_member(chunk, _job(view, job_id), lead, view, jobs)
        jobs.add(job_id)
    _require(list(chunk.group) == sorted(set(chunk.group)), f"has an unsorted group {chunk.group}")
    for rank in chunk.group:
        if rank in ranks:
            raise LawError("L4", f"the plan uses rank {rank} twice")
        _require(rank in view.ranks and rank in view.free, f"uses rank {rank}, which is not free")
        _require(
            all(view.can_run(_job(view, j), rank) for j in chunk.jobs), f"runs {chunk.jobs} where it cannot: {rank}"
        )
        _require(not any((rank, part) in dropped for part in spec.parts), f"drops what it launches on rank {rank}")
        ranks.add(rank)
    _require(view.fits(chunk), f"has a chunk that memory does not hold: {chunk}")


def _check_member(chunk: Chunk, job: Job, lead: Job, view: View, jobs: set[str]) -> None:
    _require(job.id not in jobs, f"uses job {job.id} twice")
    _require(job.chunk is None, f"launches {job.id}, which is in a chunk")
    _require(job.stage is chunk.stage, f"runs {chunk.stage} of {job.id}, which is in {job.stage}")
    _require(chunk.units <= view.units_left(job), f"runs {chunk.units} units of {job.id}, {view.units_left(job)} left")
    if job is lead:
        return
    alike = job.request.model == lead.request.model and job.request.guided == lead.request.guided
    packs = view.models[lead.request.model].stage(chunk.stage).packs
    _require(alike and (packs or job.shape == lead.shape), f"batches {job.id} with {lead.id}, which is unlike it")


def _job(view: View, job_id: str) -> Job:
    job = view.job(job_id)
    if job is None:
        raise LawError("L5", f"the plan uses job {job_id}, which is not live")
    return job


def _waiting(view: View, job_id: str) -> bool:
    job = view.job(job_id)
    return job is not None and job.state is JobState.WAITING


def _require(legal: bool, otherwise: str) -> None:
    if not legal:
        raise LawError("L5", f"the plan {otherwise}")
