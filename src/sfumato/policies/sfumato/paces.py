"""How fast every kind of request goes on every part of the pool: read off the cost model once a plan, as columns.

Kinds are numbered. What the cost model says of a kind is asked again in every plan, since it learns; where it says the
same as before, its columns stand. Degrees beyond the ranks of a machine are priced across as many as they need. Where
guided passes may run on two halves of a group, they do at every width at which that is the faster way. A unit
bears its share of what launching a chunk takes: without it, requests with little slack were begun and came late (up to
4 points of attainment). All seconds are of steps that are computed; `left` is the share of them that is expected of
requests whose steps may be reused.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, inf

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from sfumato.core.cost import Costs, Work
from sfumato.core.values import EXACT, Job, ModelSpec, Shape, Stage
from sfumato.core.view import View
from sfumato.policies.pace import Pace, worth_of
from sfumato.policies.sfumato.parts import Part, Parts
from sfumato.policies.sfumato.spans import Spans

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

NEAR = 1e-9  # what dividing floats may be off
KINDS = 10_000  # that are remembered
FREE = 1.02  # a step across machines that takes at most so many times as long as within one costs nothing


class Kind:
    """One kind of request: what to ask the cost model, what it said last, and the paces by part that follow."""

    __slots__ = (
        "across", "chunk_s", "decode_units", "family", "halved", "left", "paces", "reused", "said", "sample", "works",
    )  # fmt: skip

    def __init__(self, view: View, job: Job, parts: Parts, family: int) -> None:
        model = view.models[job.request.model]
        self.sample = replace(job, stage=Stage.ENCODE, done=0)  # whatever stage is seen first: all of it is ahead
        self.family = family
        self.decode_units = model.units(Stage.DECODE, job.shape, job.steps)
        self.works = tuple(tuple(_works(job, model, part)) for part in parts)
        self.across = tuple(_free_across(view, works, part) for works, part in zip(self.works, parts, strict=True))
        self.said: tuple[float, ...] = ()
        self.chunk_s = 0.0
        self.paces: tuple[Pace, ...] = ()
        # a step at its narrowest as it is expected, where steps may be reused
        quality = job.request.quality
        self.reused = None if quality == EXACT else replace(self.works[0][2], qualities=(quality,))
        self.left = 1.0
        self.halved: tuple[frozenset[int], ...] = ()  # by part: widths at which halves are faster

    def cfg(self, part: int, degree: int) -> int:
        """Into how many halves a group of `degree` ranks is best divided for a step."""
        return 2 if degree in self.halved[part] else 1

    def ask(self, costs: Costs, parts: Parts, chunk_s: float) -> bool:
        """Whether the cost model says something else than before, of units in chunks of `chunk_s`."""
        unit_s, here = costs.unit_s, (0,)
        said = tuple([unit_s(work) for works in self.works for work in works])
        said += tuple([costs.start_s(works[0], here, (here,)) for works in self.works])
        if self.reused is not None:
            said = (*said, unit_s(self.reused))
        if said == self.said and chunk_s == self.chunk_s:
            return False
        self.said, self.chunk_s = said, chunk_s
        if self.reused is not None:
            self.left = min(1.0, said[-1] / said[2])
        left = iter(said)
        units = [[next(left) for _ in works] for works in self.works]
        self.halved = tuple(_halved(works, each) for works, each in zip(self.works, units, strict=True))
        self.paces = tuple(
            self._pace(works, [part.slow * seconds for seconds in each], start_s)
            for works, part, each, start_s in zip(self.works, parts, units, left, strict=False)
        )
        return True

    def _pace(self, works: tuple[Work, ...], units_s: list[float], start_s: float) -> Pace:
        encode_s, decode_s, *steps_s = (
            seconds + start_s / max(1, int(self.chunk_s / seconds + NEAR)) if seconds else 0.0 for seconds in units_s
        )
        fastest: dict[int, float] = {}
        for work, seconds in zip(works[2:], steps_s, strict=True):
            fastest[work.degree] = min(seconds, fastest.get(work.degree, seconds))
        steps = tuple(fastest.items())
        return Pace(
            steps=steps,
            worth=worth_of(steps),
            fastest_s=min(fastest.values()),
            encode_s=encode_s,
            decode_s=decode_s,
            decode_units=self.decode_units,
            start_s=start_s,
        )


class Paces:
    """All kinds that are live. `degrees` and `seconds` of a step are by part, degree that is worth it, kind."""

    def __init__(self) -> None:
        self.age = 0  # grows whenever kinds are numbered anew
        self.live: list[int] = []  # kinds that were read last
        self.kinds: list[Kind] = []
        self._numbers: dict[tuple[str, Shape, bool, str], int] = {}
        self._families: dict[tuple[str, bool], int] = {}
        self._parts: Parts = ()
        self.spans = Spans(0.0, 0.0, 0.0)
        self._models: Mapping[str, ModelSpec] = {}
        self._size(0, 0)

    def begin(self, view: View, parts: Parts, spans: Spans) -> None:
        """A new plan."""
        self.spans = spans
        if parts is not self._parts or view.models is not self._models or len(self.kinds) > KINDS:
            self._parts, self._models = parts, view.models
            self.kinds.clear()
            self._numbers.clear()
            self.age += 1
            self._size(16, max(len(model.diffuse.layouts(guided=True)) for model in view.models.values()))

    def kind(self, view: View, job: Job) -> int:
        """The number of a job's kind."""
        request = job.request
        key = (request.model, job.shape, request.guided, request.quality)
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self.kinds)
            family = self._families.setdefault((request.model, request.guided), len(self._families))
            self.kinds.append(Kind(view, job, self._parts, family))
            if number == len(self.encode_s):
                self._grow()
            self.family[number] = family
        return number

    def read(self, view: View, kinds: Ints) -> None:
        """Ask the cost model about these kinds."""
        self.live = np.bincount(kinds).nonzero()[0].tolist()
        for number in self.live:
            kind = self.kinds[number]
            if kind.ask(view.costs, self._parts, self.spans.quantum_s):
                self.left[number] = kind.left
                self._write(number, kind.paces)

    def _write(self, number: int, paces: tuple[Pace, ...]) -> None:
        first = paces[0]
        self.encode_s[number], self.decode_s[number] = first.encode_s, first.decode_s
        self.fastest_s[number] = min(pace.fastest_s for pace in paces)
        self.beside_s[number] = self._beside_s(first) if len(paces) == 1 else 0.0
        for part, pace in enumerate(paces):
            self.scale[part, number] = first.least_s / pace.least_s
            worth = (*pace.worth, *[pace.worth[-1]] * (self.seconds.shape[1] - len(pace.worth)))
            for row, (degree, seconds) in enumerate(worth):
                self.degrees[part, row, number] = degree
                self.seconds[part, row, number] = seconds

    def _beside_s(self, pace: Pace) -> float:
        """A step beside others, of who goes fastest on all ranks of the pool; of anybody else 0."""
        if pace.worth[-1][0] < len(self._parts[0].ranks) or len(pace.steps) == 1:
            return 0.0
        return pace.steps[-2][1]

    def _size(self, kinds: int, degrees: int) -> None:
        self.encode_s, self.decode_s, self.fastest_s, self.beside_s = np.zeros((4, kinds))
        self.left: Floats = np.ones(kinds)
        self.family: Ints = np.zeros(kinds, dtype=np.intp)
        self.scale: Floats = np.ones((len(self._parts), kinds))
        self.degrees: Floats = np.zeros((len(self._parts), degrees, kinds))
        self.seconds: Floats = np.zeros((len(self._parts), degrees, kinds))

    def _grow(self) -> None:
        for name in ("encode_s", "decode_s", "fastest_s", "beside_s", "left", "family", "scale", "degrees", "seconds"):
            column = getattr(self, name)
            setattr(self, name, np.concatenate((column, np.zeros_like(column)), axis=-1))


def _works(job: Job, model: ModelSpec, part: Part) -> list[Work]:
    """An encode, a unit of decode, and a step of every layout that the part has ranks for, the narrowest first."""
    request = job.request

    def work(stage: Stage, degree: int, nodes: int = 1, cfg: int = 1) -> Work:
        return Work(
            model=request.model,
            stage=stage,
            shapes=(job.shape,),
            degree=degree,
            guided=request.guided,
            device=part.device,
            nodes=nodes,
            cfg=cfg,
        )

    layouts = model.diffuse.layouts(request.guided)
    fitting = [layout for layout in layouts if layout[0] <= len(part.ranks)] or layouts[:1]
    return [
        work(Stage.ENCODE, min(model.encode.degrees)),
        work(Stage.DECODE, min(model.decode.degrees)),
        *(work(Stage.DIFFUSE, k, ceil(k / part.widest), cfg) for k, cfg in fitting),
    ]


def _halved(works: tuple[Work, ...], units_s: list[float]) -> frozenset[int]:
    """The widths at which two halves take less than the whole group, or are the only way."""
    whole_s = {work.degree: seconds for work, seconds in zip(works, units_s, strict=True) if _steps(work, 1)}
    return frozenset(
        work.degree
        for work, seconds in zip(works, units_s, strict=True)
        if _steps(work, 2) and seconds < whole_s.get(work.degree, inf)
    )


def _steps(work: Work, cfg: int) -> bool:
    return work.stage is Stage.DIFFUSE and work.cfg == cfg


def _free_across(view: View, works: tuple[Work, ...], part: Part) -> bool:
    """Whether a group may as well lie across machines."""
    if len(part.nodes) == 1:
        return False
    steps = [work for work in works[2:] if 1 < work.degree <= part.widest]
    return all(
        view.costs.unit_s(replace(work, nodes=min(work.degree, len(part.nodes)))) <= FREE * view.costs.unit_s(work)
        for work in steps
    )
