"""The cheapest ways to run a unit of a request: what the offline bound charges for it.

A mode is a kind of device for the group's first rank, a degree and a batch, with the wall seconds of a unit and the
rank-seconds that fall to one member. Batching is ideal: a request finds all partners it may have under the laws, at
any time. Where a stage packs unlike shapes, a member's share of a batch is in proportion to its seconds alone, scaled
so that no batch of the workload's shapes is charged for more than it takes; past `BATCHES` of them it is taken that a
batch is no faster than its slowest member alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement, groupby
from math import comb
from typing import NamedTuple

from msgspec.structs import replace

from sfumato.core.cost import Costs, Work
from sfumato.core.values import ModelSpec, RankInfo, Request, Shape, Stage

BATCHES = 3000  # unlike batches of one size that are priced one by one


class Mode(NamedTuple):
    """Wall seconds of a unit; rank-seconds of it for one member; the same of the group's first rank, of `device`."""

    wall_s: float
    rank_s: float
    lead_s: float
    device: str


Modes = Mapping[Shape, Sequence[Mode]]


class Catalogue:
    """Modes by model, stage, guidance and shape, each found once."""

    def __init__(
        self, requests: Sequence[Request], ranks: Sequence[RankInfo], models: Mapping[str, ModelSpec], costs: Costs
    ) -> None:
        self._ranks = len(ranks)
        self._devices = sorted({info.device for info in ranks})
        self._models = models
        self._costs = costs
        self._found: dict[tuple[str, Stage, bool], Modes] = {}
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
                    for batch in range(1, min(spec.max_batch, sum(s in pool for s in shapes)) + 1):
                        self._enter(found, work, pool, batch)
        return found

    def _enter(self, found: dict[Shape, list[Mode]], work: Work, pool: Sequence[Shape], batch: int) -> None:
        """Add the modes of a batch of this many out of the shapes of `pool`."""
        alone = {shape: self._costs.unit_s(replace(work, shapes=(shape,))) for shape in pool}
        wall, scale = dict(alone), 1.0 / batch
        if comb(len(pool) + batch - 1, batch) <= BATCHES:
            priced = [
                (group, self._costs.unit_s(replace(work, shapes=group)))
                for group in combinations_with_replacement(pool, batch)
            ]
            wall = {shape: min(seconds for group, seconds in priced if shape in group) for shape in pool}
            scale = min(seconds / sum(alone[shape] for shape in group) for group, seconds in priced)
        for shape in pool:
            lead_s = alone[shape] * scale
            mode = Mode(wall_s=wall[shape], rank_s=work.degree * lead_s, lead_s=lead_s, device=work.device)
            found[shape].append(mode)


def _useful(modes: Sequence[Mode]) -> list[Mode]:
    """Without those that another of the same device beats or equals in all three."""
    kept: list[Mode] = []
    for _, group in groupby(sorted(modes, key=lambda m: (m.device, *m)), key=lambda m: m.device):
        front: list[Mode] = []
        for mode in group:  # by wall seconds
            if not any(best.rank_s <= mode.rank_s and best.lead_s <= mode.lead_s for best in front):
                front.append(mode)
        kept += front
    return kept
