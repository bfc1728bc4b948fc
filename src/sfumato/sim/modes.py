"""The cheapest ways to run a unit of a request: what the offline bound charges for it.

A mode is a degree, a batch and a group's slowest kind of device, which sets its pace, with the wall seconds of a unit
and the rank-seconds that fall to one member. A group is on no more nodes than it must be. Batching is ideal: who finds
enough partners within their windows finds them at the same unit. Partners that will be late are no help, since a batch
takes no less than a part of it; where a profile says otherwise, the part is taken to be as fast as the whole. Where a
stage packs unlike shapes, a member's share of a batch is in proportion to its seconds alone, scaled so that no batch of
the workload's shapes is charged for more than it takes; past `BATCHES` of them it is taken that a batch is no faster
than its slowest member alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations_with_replacement
from math import comb
from typing import NamedTuple

from msgspec.structs import replace

from sfumato.core.cost import Costs, Work
from sfumato.core.values import EXACT, ModelSpec, RankInfo, Request, Shape, Stage

BATCHES = 3000  # unlike batches of one size that are priced one by one

Seconds = dict[tuple[Shape, ...], float]  # of a unit, by the shapes of the batch


class Mode(NamedTuple):
    """Wall seconds of a unit, and rank-seconds of it for one member, of which `pace_s` by each rank of the group.

    At least one of these is of `device`, the others are of `company`: kinds that are no slower at some batch of this.
    """

    wall_s: float
    rank_s: float
    pace_s: float
    batch: int
    device: str
    company: frozenset[str]


class Catalogue:
    """Modes by model, stage, guidance and shape, each found once."""

    def __init__(
        self, requests: Sequence[Request], ranks: Sequence[RankInfo], models: Mapping[str, ModelSpec], costs: Costs
    ) -> None:
        self._ranks = len(ranks)
        self._nodes = sorted(Counter(info.node for info in ranks).values(), reverse=True)
        self._devices = sorted({info.device for info in ranks})
        self._models = models
        self._costs = costs
        self._found: dict[tuple[str, Stage, bool], Mapping[Shape, Sequence[Mode]]] = {}
        self._shapes: dict[tuple[str, bool], list[Shape]] = {}
        self._qualities: dict[tuple[str, bool], set[str]] = {}
        for request in requests:
            self._shapes.setdefault((request.model, request.guided), []).append(request.shape)
            self._qualities.setdefault((request.model, request.guided), set()).add(request.quality)

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
        for degree, cfg in (layout for layout in spec.layouts(guided) if layout[0] <= self._ranks):
            nodes = next(n for n in range(1, len(self._nodes) + 1) if sum(self._nodes[:n]) >= degree)
            work = Work(model=model, stage=stage, shapes=(), degree=degree, guided=guided, nodes=nodes, cfg=cfg)
            for pool in pools:
                self._enter(found, work, pool, min(spec.max_batch, sum(s in pool for s in shapes)))
        return found

    def _enter(self, found: dict[Shape, list[Mode]], work: Work, pool: Sequence[Shape], most: int) -> None:
        """Add the modes of all batches of the shapes of `pool`, up to `most` members, on every kind of device."""
        alone = {device: self._priced(work, device, pool, 1) for device in self._devices}
        least: dict[str, Seconds] = {device: {} for device in self._devices}
        company = {device: {device} for device in self._devices}
        for batch in range(most, 0, -1):
            known = comb(len(pool) + batch - 1, batch) <= BATCHES
            priced = {device: self._priced(work, device, pool, batch) for device in self._devices} if known else alone
            for device, mine in priced.items():
                rivals = (other for other in priced if any(priced[other][group] <= mine[group] for group in mine))
                company[device].update(rivals if known else self._devices)
                if known:
                    least[device] = _lowered(mine, least[device], pool)
                for shape in pool:
                    wall_s, share = alone[device][shape,], 1.0 / batch
                    if known:
                        wall_s = min(seconds for group, seconds in least[device].items() if shape in group)
                        share = _share(least[device], alone[device])
                    pace_s = alone[device][shape,] * share
                    kinds = frozenset(company[device])
                    found[shape].append(Mode(wall_s, work.degree * pace_s, pace_s, batch, device, kinds))

    def _priced(self, work: Work, device: str, pool: Sequence[Shape], batch: int) -> Seconds:
        """Of every batch, as if all of it were of the quality that takes the least."""
        groups = combinations_with_replacement(pool, batch)
        steps = work.stage is Stage.DIFFUSE
        kinds = sorted(self._qualities[work.model, work.guided]) if steps else [EXACT]
        qualities = [() if kind == EXACT else (kind,) * batch for kind in kinds]
        return {
            group: min(
                self._costs.unit_s(replace(work, shapes=group, device=device, qualities=each)) for each in qualities
            )
            for group in groups
        }


def _lowered(priced: Seconds, larger: Seconds, pool: Sequence[Shape]) -> Seconds:
    """Seconds of every batch: its own, or those of a larger one that holds it and is faster."""
    return {
        group: min(seconds, *(larger.get(tuple(sorted((*group, shape), key=pool.index)), seconds) for shape in pool))
        for group, seconds in priced.items()
    }


def _share(priced: Seconds, alone: Seconds) -> float:
    """The least that a batch takes of what its members take apart."""
    apart = {group: sum(alone[shape,] for shape in group) for group in priced}
    return min((priced[group] / apart[group] for group in priced if apart[group]), default=1.0)


def _useful(modes: Sequence[Mode]) -> list[Mode]:
    """Without those that another of the same device, as free in its ranks and partners, beats or equals."""
    kept: list[Mode] = []
    for mode in sorted(modes, key=lambda m: (m.wall_s, m.rank_s, m.batch, m.device)):
        beaten = (
            best.device == mode.device
            and best.rank_s <= mode.rank_s
            and best.pace_s <= mode.pace_s
            and best.batch <= mode.batch
            and best.company >= mode.company
            for best in kept
        )
        if not any(beaten):
            kept.append(mode)
    return kept
