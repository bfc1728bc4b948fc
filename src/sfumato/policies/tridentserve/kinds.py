"""What the Profiler of TridentServe knows of a request: seconds and bytes of its stages, which degrees are efficient.

Requests of one kind (model, shape, steps, guidance, quality) on one kind of device share a `Kind`, read off the cost
model once a plan. A stage is a letter, as in the paper: E, D, C for encode, diffuse, decode.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import inf

from sfumato.core.cost import Work
from sfumato.core.values import Job, ModelSpec, PartId, Shape, Stage, Value
from sfumato.core.view import View

STAGE = {"E": Stage.ENCODE, "D": Stage.DIFFUSE, "C": Stage.DECODE}
LETTER = {stage: letter for letter, stage in STAGE.items()}
GROWTH = 1.2  # "batch doubled while time grows <= 20%" (the public code)


class Kind(Value, frozen=True, kw_only=True):
    """Seconds of encode, of a step by degree (ascending), of the whole decode, of a launch; bytes on each rank."""

    model: str
    encode_s: float
    step_s: dict[int, float]
    decode_s: float
    start_s: float
    steps: int
    held: int
    encode_peak: int
    step_peak: dict[int, int]
    decode_peak: int
    batch: int

    @property
    def efficient(self) -> dict[int, float]:
        """Speed-up over the narrowest degree a rank added, by degree."""
        least = min(self.step_s)
        alone_s = self.step_s[least]
        return {k: alone_s * least / (s * k) if s > 0 else 1.0 for k, s in self.step_s.items()}

    def room(self, letter: str, degree: int) -> int:
        """Bytes that a request takes on a rank of its group in a stage, beside weights."""
        peaks = {"E": self.encode_peak, "C": self.decode_peak}
        return self.held + (peaks[letter] if letter in peaks else self.step_peak[degree])

    def makes(self, job: Job, now: float) -> bool:
        """Whether a request of this kind would be on time if it had all the ranks it likes from now on."""
        steps = self.steps - (job.done if job.stage is Stage.DIFFUSE else 0)
        left_s = steps * min(self.step_s.values()) + self.decode_s
        left_s += self.encode_s if job.stage is Stage.ENCODE else 0.0
        return now + left_s <= (job.request.deadline or -inf)

    def works(self, degree: int) -> tuple[float, float, float]:
        """Rank-seconds of the three stages, the steps at `degree`."""
        return self.encode_s, self.steps * degree * self.step_s[degree], self.decode_s


class Kinds:
    """The kinds of the live jobs, for one plan."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._known: dict[tuple[str, Shape, int, bool, str, str], Kind] = {}
        self._parts: dict[tuple[str, str], dict[PartId, int]] = {}

    def of(self, job: Job, device: str) -> Kind:
        request = job.request
        key = (request.model, job.shape, job.steps, request.guided, request.quality, device)
        known = self._known.get(key)
        if known is None:
            known = self._known[key] = self._read(job, device)
        return known

    @property
    def sizes(self) -> dict[PartId, int]:
        """Bytes of every weight part."""
        return {part: size for model in self._view.models.values() for part, size in model.part_bytes.items()}

    def parts(self, model: str, letters: str) -> dict[PartId, int]:
        """The weight parts of some stages and their bytes."""
        known = self._parts.get((model, letters))
        if known is None:
            known = self._parts[model, letters] = parts_of(self._view.models[model], letters)
        return known

    def _read(self, job: Job, device: str) -> Kind:
        model = self._view.models[job.request.model]
        steps = {k: self._work(job, Stage.DIFFUSE, device, k) for k in self._degrees(model)}
        encode = self._work(job, Stage.ENCODE, device, min(model.encode.degrees))
        decode = self._work(job, Stage.DECODE, device, min(model.decode.degrees))
        costs = self._view.costs
        return Kind(
            model=model.name,
            encode_s=costs.unit_s(encode),
            step_s={k: costs.unit_s(work) for k, work in steps.items()},
            decode_s=model.units(Stage.DECODE, job.shape, job.steps) * costs.unit_s(decode),
            start_s=costs.start_s(encode, (0,), ((-1,),)),
            steps=job.steps,
            held=costs.held_bytes(job, model),
            encode_peak=costs.peak_bytes(encode),
            step_peak={k: costs.peak_bytes(work) for k, work in steps.items()},
            decode_peak=costs.peak_bytes(decode),
            batch=self._best_batch(job, device, model),
        )

    def _degrees(self, model: ModelSpec) -> list[int]:
        return sorted(k for k in model.diffuse.degrees if k <= len(self._view.ranks)) or [min(model.diffuse.degrees)]

    def _work(self, job: Job, stage: Stage, device: str, degree: int, batch: int = 1) -> Work:
        request = job.request
        shapes = (job.shape,) * batch
        return Work(
            model=request.model, stage=stage, shapes=shapes, degree=degree, guided=request.guided, device=device
        )

    def _best_batch(self, job: Job, device: str, model: ModelSpec) -> int:
        """Of equals on the fewest ranks."""
        least, batch = min(model.diffuse.degrees), 1
        while 2 * batch <= model.diffuse.max_batch:
            now_s, then_s = (
                self._view.costs.unit_s(self._work(job, Stage.DIFFUSE, device, least, b)) for b in (batch, 2 * batch)
            )
            if then_s > GROWTH * now_s:
                break
            batch *= 2
        return batch


def parts_of(model: ModelSpec, letters: Iterable[str]) -> dict[PartId, int]:
    """The weight parts of some stages of a model and their bytes."""
    return {part: model.part_bytes.get(part, 0) for letter in letters for part in model.stage(STAGE[letter]).parts}
