"""The cheapest ways to run a unit of a request: what the offline bound charges for it.

A mode is a kind of device for the group's first rank, a degree and a batch, with the wall seconds of a unit and the
rank-seconds that fall to one member. Batching is ideal: who finds enough partners within their windows finds them
at the same unit. Partners that will be late are no help, since a batch takes no less than a part of it; where a
profile says otherwise, the part is taken to be as fast as the whole. Where a stage packs unlike shapes, a member's
share of a batch is in proportion to its seconds alone, scaled so that no batch of the workload's shapes is charged for
more than it takes; past `BATCHES` of them it is taken that a batch is no faster than its slowest member alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement
from math import comb
from typing import NamedTuple

from msgspec.structs import replace

from sfumato.core.cost import Costs, Work
from sfumato.core.values import ModelSpec, RankInfo, Request, Shape, Stage

BATCHES = 3000  # unlike batches of one size that are priced one by one

Batch = tuple[Shape, ...]


class Mode(NamedTuple):
    """Wall seconds of a unit; rank-seconds of it for one member; the same of the group's first rank, of `device`."""

    wall_s: float
    rank_s: float
    lead_s: float
    device: str
    batch: int


class Catalogue:
    """Modes by model, stage, guidance and shape, each found once."""

    def __init__(
        self, requests: Sequence[Request], ranks: Sequence[RankInfo], models: Mapping[str, ModelSpec], costs: Costs
    ) -> None:
        self._ranks = len(ranks)
        self._devices = sorted({info.device for info in ranks})
        self._models = models
        self._costs = costs
        self._found: dict[tuple[str, Stage, bool], Mapping[Shape, Sequence[Mode]]] = {}
        self._shapes: dict[tuple[str, bool], list[Shape]] = {}
        for request in requests:
            self._shapes.setdefault((request.model, request.guided), []).append(request.shape)

    def modes(self, request: Request, stage: Stage) -> Sequence[Mode]:
        """Those that are not worse in every respect than another."""
        key = request.model, stage, request.guided
        if key not in self._found:
            self._found[key] = {shape: _useful(modes) for shape, modes in self._price(*key).items()}
        return self._found[key][request.shape]

    def _price(self, model: str, stage: Stage, guided: bool) -> dict[Shape, list[Mode]]:
        spec = self._models[model].stage(stage)
        shapes = sorted(self._shapes[model, guided], key=lambda s: (s.height, s.width, s.frames))
        found: dict[Shape, list[Mode]] = {shape: [] for shape in shapes}
        pools = [list(found)] if spec.packs else [[shape] for shape in found]
        degrees = {degree * cfg for degree in spec.degrees for cfg in ((1, 2) if guided else (1,))}
        for device in self._devices:
            for degree in sorted(d for d in degrees if d <= self._ranks):
                work = Work(model=model, stage=stage, shapes=(), degree=degree, guided=guided, device=device)
                for pool in pools:
                    self._enter(found, work, pool, min(spec.max_batch, sum(s in pool for s in shapes)))
        return found

    def _enter(self, found: dict[Shape, list[Mode]], work: Work, pool: Sequence[Shape], most: int) -> None:
        """Add the modes of all batches of the shapes of `pool`, up to `most` members."""
        alone = {shape: self._costs.unit_s(replace(work, shapes=(shape,))) for shape in pool}
        larger: dict[Batch, float] = {}
        for batch in range(most, 0, -1):
            wall, scale = dict(alone), 1.0 / batch
            if comb(len(pool) + batch - 1, batch) <= BATCHES:
                larger = priced = self._batches(work, pool, batch, larger)
                wall = {shape: min(seconds for group, seconds in priced.items() if shape in group) for shape in pool}
                apart = {group: sum(alone[shape] for shape in group) for group in priced}
                scale = min(priced[group] / apart[group] if apart[group] else scale for group in priced)
            for shape in pool:
                lead_s = alone[shape] * scale
                found[shape].append(Mode(wall[shape], work.degree * lead_s, lead_s, work.device, batch))

    def _batches(
        self, work: Work, pool: Sequence[Shape], batch: int, larger: Mapping[Batch, float]
    ) -> dict[Batch, float]:
        """Seconds of every batch of this size: its own, or those of a larger one that holds it and is faster."""
        priced = {}
        for group in combinations_with_replacement(pool, batch):
            seconds = self._costs.unit_s(replace(work, shapes=group))
            wholes = (tuple(sorted((*group, shape), key=pool.index)) for shape in pool)
            priced[group] = min(seconds, *(larger.get(whole, seconds) for whole in wholes))
        return priced


def _useful(modes: Sequence[Mode]) -> list[Mode]:
    """Without those that another of the same device, with no more partners, beats or equals in all three."""
    kept: list[Mode] = []
    for mode in sorted(modes):  # by wall seconds
        beaten = (
            best.device == mode.device
            and best.rank_s <= mode.rank_s
            and best.lead_s <= mode.lead_s
            and best.batch <= mode.batch
            for best in kept
        )
        if not any(beaten):
            kept.append(mode)
    return kept
