"""Laws L4 and L5: is a plan legal? `check` raises LawError before anything of the plan takes effect.

Legal: jobs are known and in no chunk; ranks are up, free and used once; stage and units are what the job has left;
degree and batch are what the model allows; weights are resident; memory fits; a batch has one model, stage, guidance
and (unless the stage packs) shape; progress without a snapshot stays at its home.

Each rule yields its complaint only when it is broken, so that a legal plan (every plan, in practice) formats nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise

from sfumato.core.policy import Admission, Plan
from sfumato.core.values import Chunk, Job, JobState, Stage, StageSpec
from sfumato.core.view import View
from sfumato.errors import LawError


def check(plan: Plan, view: View) -> None:
    """Raise LawError if the plan is not legal in this view."""
    for law, complaint in _complaints(plan, view):
        raise LawError(law, f"the plan {complaint}")


def _complaints(plan: Plan, view: View) -> Iterator[tuple[str, str]]:
    """(law, what is wrong), lazily."""
    if plan.refusals or plan.admissions or plan.halts or plan.loads or plan.drops:
        for complaint in _odd_requests(plan, view):
            yield "L5", complaint
    ranks: set[int] = set()
    jobs = {refusal.job for refusal in plan.refusals}
    dropped = {(drop.rank, drop.part) for drop in plan.drops}
    admitted = {admission.job: admission for admission in plan.admissions}
    for chunk in plan.launches:
        lead = view.job(chunk.jobs[0]) if chunk.jobs else None
        if lead is None or not chunk.group or chunk.units <= 0:
            yield "L5", f"has a chunk of nothing or nobody: {chunk}"
            return
        spec = view.models[lead.request.model].stage(chunk.stage)
        for complaint in _odd_batch(chunk, lead, spec, view, jobs):
            yield "L5", complaint
        for rank in chunk.group:
            if rank in ranks:
                yield "L4", f"uses rank {rank} twice"
            ranks.add(rank)
        for complaint in _odd_group(chunk, spec, view, dropped):
            yield "L5", complaint
        if chunk.onward:
            for complaint in _odd_onward(chunk, lead, view, dropped, admitted):
                yield "L5", complaint
        jobs.update(chunk.jobs)


def _odd_requests(plan: Plan, view: View) -> Iterator[str]:
    """Refusals, admissions, halts, loads and drops that cannot be."""
    for refusal in plan.refusals:
        if not _waits(view, refusal.job):
            yield f"refuses {refusal.job}, which is not waiting"
    for admission in plan.admissions:
        job = view.job(admission.job)
        if job is None or not _waits(view, admission.job):
            yield f"admits {admission.job}, which is not waiting"
        elif not job.request.degradable or admission.steps <= 0:
            yield f"lowers {admission.job} to {admission.steps} steps of {admission.shape}, which it does not allow"
    for halt in plan.halts:
        if halt.seq not in view.running:
            yield f"halts chunk {halt.seq}, which does not run"
    for load in plan.loads:
        if load.rank not in view.ranks or load.part in view.resident(load.rank) or load.part in view.loading(load.rank):
            yield f"loads {load.part} on rank {load.rank}, which is not up or has it"
    for drop in plan.drops:
        if drop.rank not in view.free or drop.part not in view.resident(drop.rank):
            yield f"drops {drop.part} of rank {drop.rank}, which is not free or does not have it"


def _odd_batch(chunk: Chunk, lead: Job, spec: StageSpec, view: View, jobs: set[str]) -> Iterator[str]:
    """Jobs that cannot be in this chunk, or not together."""
    if len(chunk.jobs) > spec.max_batch or len(set(chunk.jobs)) != len(chunk.jobs):
        yield f"batches {chunk.jobs}; {spec.max_batch} unlike jobs at most"
    for job_id in chunk.jobs:
        job = view.job(job_id)
        if job is None or job_id in jobs or job.chunk is not None:
            yield f"launches {job_id}, which is not live, or in a chunk, or used twice"
            return
        if job.stage is not chunk.stage or chunk.units > view.units_left(job):
            yield f"runs {chunk.units} {chunk.stage} of {job_id}, which has {view.units_left(job)} {job.stage} left"
        if chunk.cfg != 1 and not job.request.guided:
            yield f"runs the passes of {job_id} side by side, which has only one"
        if job is not lead and not _alike(job, lead, spec):
            yield f"batches {job_id} with {lead.id}, which is unlike it"


def _odd_group(chunk: Chunk, spec: StageSpec, view: View, dropped: set[tuple[int, str]]) -> Iterator[str]:
    """Ranks that cannot run this chunk."""
    group = chunk.group
    if chunk.cfg != 1 and not (chunk.cfg == 2 and spec.halves and len(group) % 2 == 0):
        yield f"runs {chunk.stage} in {chunk.cfg} halves of {len(group)} ranks, which it does not allow"
    elif len(group) // chunk.cfg not in spec.degrees:
        yield f"runs {chunk.stage} at degree {len(group) // chunk.cfg}, not one of {spec.degrees}"
    if any(one >= other for one, other in pairwise(group)):
        yield f"has an unsorted group {group}"
    for rank in group:
        if rank not in view.ranks or rank not in view.free:
            yield f"uses rank {rank}, which is not free"
            return
        for job_id in chunk.jobs:
            job = view.job(job_id)
            if job is not None and not view.can_run(job, rank):
                yield f"runs {job_id} on rank {rank}, which lacks weights or its state"
        if dropped and any((rank, part) in dropped for part in spec.parts):
            yield f"drops what it launches on rank {rank}"
    if not view.fits(chunk):
        yield f"has a chunk that memory does not hold: {chunk}"


def _odd_onward(
    chunk: Chunk, lead: Job, view: View, dropped: set[tuple[int, str]], admitted: Mapping[str, Admission]
) -> Iterator[str]:
    """What a rank cannot go on with."""
    jobs = [job for name in chunk.jobs if (job := view.job(name)) is not None]
    if chunk.stage is Stage.DECODE or chunk.onward < 0 or any(chunk.units != view.units_left(job) for job in jobs):
        yield f"goes on from {chunk.units} {chunk.stage}, which do not end the stage of {chunk.jobs} before another"
        return
    following, model = chunk.following, view.models[lead.request.model]
    spec = model.stage(following.stage)
    if len(chunk.group) != 1 or 1 not in spec.degrees or len(jobs) > spec.max_batch:
        yield f"goes on with {following.stage} of {chunk.jobs} on ranks {chunk.group}; on one at most, and if allowed"
    for job in jobs:
        asked = admitted.get(job.id, job)
        if following.units > model.units(following.stage, asked.shape, asked.steps) or not _alike(job, lead, spec):
            yield f"goes on with {following.units} {following.stage} of {job.id}, which it has not, or not with others"
    for part in spec.parts:
        if part not in view.resident(chunk.group[0]) or (chunk.group[0], part) in dropped:
            yield f"goes on with {following.stage} on rank {chunk.group[0]}, which lacks {part}"
    if not view.fits(following):
        yield f"goes on with what memory does not hold: {following}"


def _alike(job: Job, lead: Job, spec: StageSpec) -> bool:
    same = job.request.model == lead.request.model and job.request.guided == lead.request.guided
    return same and (spec.packs or job.shape == lead.shape)


def _waits(view: View, job_id: str) -> bool:
    job = view.job(job_id)
    return job is not None and job.state is JobState.WAITING
