"""Can a request ever run here? Refused at its arrival are those whose largest stage no rank could hold, even alone.

Otherwise the first of them in line would wait for ever, and with a policy that keeps the line all that come after it.
The answer is for the widest group that the stage allows, beside the weights that are resident now; under a policy that
makes room by dropping weights, beside those of the stage alone. No ranks, no answer.
"""

from __future__ import annotations

from msgspec.structs import replace

from sfumato.core.cost import Work
from sfumato.core.values import EXACT, STAGES, Job, Rank, Shape, Stage
from sfumato.core.view import View

_GIB = float(1 << 30)
_KINDS = 10_000  # that are remembered

Kind = tuple[str, Shape, bool, str, int, str]


class Room:
    """Remembers what each kind of request needs, so that an arrival costs a look."""

    def __init__(self, *, drops: bool = False) -> None:
        """`drops`: whether the policy makes room by dropping weights."""
        self._drops = drops
        self._needs: dict[Kind, tuple[int, Stage]] = {}

    def too_large(self, view: View, job: Job) -> str:
        """Why no rank can hold the job, empty if one could."""
        shortest: tuple[int, str] | None = None
        for rank in view.ranks:
            need, room, stage = self._measure(view, job, rank)
            if need <= room:
                return ""
            reason = (
                f"{stage} of {job.shape} needs {need / _GIB:.1f} GiB beside the weights, {room / _GIB:.1f} are there"
            )
            shortest = min(shortest or (need - room, reason), (need - room, reason))
        smaller = "a smaller size or fewer frames" if job.shape.frames > 1 else "a smaller size"
        exact = replace(job, request=replace(job.request, quality=EXACT))
        if any(self.holds(view, exact, rank) for rank in view.ranks):
            smaller += f", or for quality {EXACT}"
        return f"{shortest[1]}; ask for {smaller}" if shortest else ""

    def holds(self, view: View, job: Job, rank: Rank) -> bool:
        """Whether a rank could hold the job."""
        need, room, _ = self._measure(view, job, rank)
        return need <= room

    def _measure(self, view: View, job: Job, rank: Rank) -> tuple[int, int, Stage]:
        """The most bytes that the job takes, those that the rank has for it, and in which stage."""
        info = view.ranks[rank]
        need, stage = self._need(view, job, info.device)
        weights = view.weight_bytes(rank)
        if self._drops:
            weights = min(weights, _own_bytes(view, job, stage))
        return need, info.memory_bytes - weights, stage

    def _need(self, view: View, job: Job, device: str) -> tuple[int, Stage]:
        """The most bytes that a rank of the device takes for the job, and in which stage."""
        request = job.request
        kind = (request.model, job.shape, request.guided, request.quality, len(view.ranks), device)
        known = self._needs.get(kind)
        if known is None:
            if len(self._needs) >= _KINDS:
                self._needs.clear()
            begun = replace(job, stage=Stage.ENCODE)  # whatever stage is asked about first
            held = view.costs.held_bytes(begun, view.models[request.model])
            peaks = [(view.costs.peak_bytes(_work(view, job, stage, device)), stage) for stage in STAGES]
            most, stage = max(peaks, key=lambda peak: peak[0])
            known = self._needs[kind] = held + most, stage
        return known


def _own_bytes(view: View, job: Job, stage: Stage) -> int:
    """The weights that a stage of the job needs."""
    model = view.models[job.request.model]
    return sum(model.part_bytes.get(part, 0) for part in model.stage(stage).parts)


def _work(view: View, job: Job, stage: Stage, device: str) -> Work:
    degrees = view.models[job.request.model].stage(stage).degrees
    degree = max((degree for degree in degrees if degree <= len(view.ranks)), default=degrees[0])
    guided = job.request.guided
    return Work(model=job.request.model, stage=stage, shapes=(job.shape,), degree=degree, guided=guided, device=device)
