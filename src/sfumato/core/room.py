"""Can a request ever run here? Refused at its arrival are those whose largest stage no rank could hold, even alone.

Otherwise the first of them in line would wait for ever, and with a policy that keeps the line all that come after it.
The answer is for the weights that are resident now and the widest group that the stage allows. No ranks, no answer.
"""

from __future__ import annotations

from sfumato.core.cost import Work
from sfumato.core.values import STAGES, Job, Stage
from sfumato.core.view import View

_GIB = float(1 << 30)


def too_large(view: View, job: Job) -> str:
    """Why no rank can hold the job, empty if one could."""
    model = view.models[job.request.model]
    most = {info.device: 0 for info in view.ranks.values()}
    for rank, info in view.ranks.items():
        most[info.device] = max(most[info.device], info.memory_bytes - view.weight_bytes(rank))
    held = view.costs.held_bytes(job, model)
    for stage in STAGES if most else ():
        needs = {device: held + view.costs.peak_bytes(_work(view, job, stage, device)) for device in most}
        if all(needs[device] > most[device] for device in most):
            device = max(most, key=lambda device: most[device])
            return (
                f"{stage} of {job.shape} needs {needs[device] / _GIB:.1f} GiB beside the weights, "
                f"the largest rank has {most[device] / _GIB:.1f}; ask for a smaller size"
            )
    return ""


def _work(view: View, job: Job, stage: Stage, device: str) -> Work:
    degrees = view.models[job.request.model].stage(stage).degrees
    degree = max((degree for degree in degrees if degree <= len(view.ranks)), default=degrees[0])
    guided = job.request.guided
    return Work(model=job.request.model, stage=stage, shapes=(job.shape,), degree=degree, guided=guided, device=device)
