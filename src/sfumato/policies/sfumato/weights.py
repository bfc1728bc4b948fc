"""Which weights to load and to drop, where not all of them are resident on every rank.

The pressure on a (model, stage) is the GPU-seconds that live requests still need of it, and those expected soon,
over the ranks that have its weights or get them; who waits makes it grow, the faster the less time is left. A
free rank loads what it lacks of the stage under the most pressure. Where its memory is short, parts make room that are
under less than half that pressure, and only if the load takes less than half of the work that the rank would take over.
Progress without a snapshot keeps its weights. Loads run beside chunks; a rank that drops something sits this plan out.
What is loaded leaves room for the chunks of all that is there: weights without that are as good as absent. So are those
on their way where they failed to load before: another rank tries them too, but only for who is there already.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from sfumato.core.commands import Drop, Load
from sfumato.core.policy import Swap
from sfumato.core.values import STAGES, Job, PartId, Rank, Stage
from sfumato.core.view import View
from sfumato.policies.sfumato.memo import Load as Expected
from sfumato.policies.sfumato.memo import Memo
from sfumato.policies.sfumato.memory import Bytes
from sfumato.policies.sfumato.outlook import Outlook, Outlooks

GAIN = 2.0  # what is loaded must be under so many times the pressure of what makes room for it
PATIENT = 10.0  # demand doubles when it has waited for so many loads

Key = tuple[str, Stage]


def all_there(view: View) -> bool:
    """Whether every rank has every weight: nothing to decide, in most pools and most of the time."""
    parts = {part for model in view.models.values() for stage in STAGES for part in model.stage(stage).parts}
    return not parts or all(len(view.resident(rank)) >= len(parts) for rank in view.ranks)


def crowded(view: View, kinds: Iterable[Job], sizes: Bytes) -> bool:
    """Whether the weights on some rank leave no room for a chunk of some kind of job, even on the widest group."""
    if not any(model.part_bytes for model in view.models.values()):
        return False
    most = 0
    for job in kinds:
        held = view.costs.held_bytes(job, view.models[job.request.model])
        widest = _widest(view, job.request.model, Stage.DIFFUSE)
        most = max(most, held + sizes.ahead(view, job, widest, view.device))
    return any(most > info.memory_bytes - view.weight_bytes(rank) for rank, info in view.ranks.items())


def _widest(view: View, model: str, stage: Stage) -> int:
    degrees = view.models[model].stage(stage).degrees
    return max(k for k in degrees if k <= max(min(degrees), len(view.ranks)))


class Exchange:
    """Demand and supply of weights; every load counts as supply for the next rank."""

    def __init__(self, view: View, outlooks: Outlooks, memo: Memo, sizes: Bytes) -> None:
        self._view, self._bytes = view, sizes
        self.loads: list[Load] = []
        self.drops: list[Drop] = []
        self.swaps: list[Swap] = []
        self._parts: dict[Key, tuple[PartId, ...]] = {
            (name, stage): model.stage(stage).parts for name, model in view.models.items() for stage in STAGES
        }
        self._sizes = {part: size for model in view.models.values() for part, size in model.part_bytes.items()}
        self._there = {
            rank: {*view.resident(rank), *(part for part in view.loading(rank) if part not in view.failed(rank))}
            for rank in view.ranks
        }
        self._failed = {part for rank in view.ranks for part in view.failed(rank)}
        self._work: dict[Key, float] = {}
        self._wide: dict[Key, int] = {}
        self._chunk: dict[Key, int] = {}
        self._least: dict[Key, int] = {}  # bytes of a chunk on the widest group
        self._able: dict[Key, set[Rank]] = {}  # who has the weights, with room
        self._bound: set[Rank] = set()
        for o in outlooks:
            self._add(o)
        for load in memo.loads:
            self._expect(load, memo.horizon_s)

    def decide(self) -> None:
        """Consider every free rank that is not loading yet."""
        for rank in self._view.free:
            if not self._view.loading(rank):
                missing = [key for key in self._work if not self._has(rank, key)]
                for key in sorted(missing, key=lambda key: (-self._pressure(key), key)):
                    if self._exchange(rank, key):
                        break

    def _add(self, o: Outlook) -> None:
        """Count what a request still needs of each stage."""
        view, job = self._view, o.job
        if job.done > job.saved:
            self._bound.update(job.home or ())
        for stage, units in view.stages_left(job):
            key = job.request.model, stage
            if not self._parts[key]:
                continue
            load_s = self._load_s(key)
            bears_s = max(load_s, min(PATIENT * load_s, o.start_by - view.now))
            waited = 1.0 + (view.now - job.request.arrived_at) / bears_s if bears_s > 0 else 1.0
            narrowest, widest = min(view.models[key[0]].stage(stage).degrees), _widest(view, *key)
            wide = o.degree if stage is job.stage and stage is Stage.DIFFUSE else narrowest
            work = units * narrowest * o.paces[0].unit_s(stage, o.paces[0].worth[0][0])
            held = view.costs.held_bytes(job, view.models[key[0]])
            peak = self._bytes.chunk(view, job, stage, narrowest, view.device)
            self._work[key] = self._work.get(key, 0.0) + work * waited
            self._wide[key] = max(self._wide.get(key, 1), wide)
            self._chunk[key] = max(self._chunk.get(key, 0), held + peak)
            least = held + self._bytes.chunk(view, job, stage, widest, view.device)
            self._least[key] = max(self._least.get(key, 0), least)

    def _expect(self, load: Expected, horizon_s: float) -> None:
        """Count what will come in the time of `PATIENT` loads, at the rate that was seen."""
        rate = load.count_at(self._view.now, horizon_s) / (10 * horizon_s) if horizon_s else 0.0
        for stage in STAGES:
            key = load.model, stage
            if self._parts.get(key) and self._failed.isdisjoint(self._parts[key]):
                self._work[key] = self._work.get(key, 0.0) + rate * load.work * PATIENT * self._load_s(key)

    def _load_s(self, key: Key, there: Collection[PartId] = (), device: str = "") -> float:
        """Seconds to load what a stage needs and is not there."""
        device = device or self._view.device
        absent = [part for part in self._parts[key] if part not in there]
        return sum(self._view.costs.load_s(part, self._size(part, key[0]), device) for part in absent)

    def _exchange(self, rank: Rank, key: Key) -> bool:
        """Load what a rank lacks for `key`, after drops if they are worth it."""
        absent = [part for part in self._parts[key] if part not in self._there[rank]]
        beside = max((self._least[other] for other in self._work if self._can_keep(rank, other)), default=0)
        need = sum(self._size(part, key[0]) for part in absent) + max(self._chunk.get(key, 0), beside)
        gone = self._victims(rank, key, need - self._view.spare_bytes(rank))
        if gone is None:
            return False
        self.swaps.append(Swap(rank=rank, loads=tuple(absent), drops=tuple(gone), why=self._why(rank, key, gone)))
        for part in gone:
            self.drops.append(Drop(rank=rank, part=part))
            self._there[rank].discard(part)
        for part in absent:
            self.loads.append(Load(rank=rank, part=part))
            if part not in self._view.failed(rank):
                self._there[rank].add(part)
        for other, able in self._able.items():
            (able.add if self._suits(rank, other) else able.discard)(rank)
        return True

    def _why(self, rank: Rank, key: Key, gone: Sequence[PartId]) -> str:
        """Before anything is changed."""
        supply, work = self._supply(key), self._work[key]
        why = f"{key[0]} has {work:.3g} s of {key[1]} to do and {supply} rank{'s' * (supply != 1)} with the weights"
        if gone:
            why += f"; those dropped are wanted for {max(self._value(rank, part) for part in gone):.3g} s a rank"
        return why

    def _victims(self, rank: Rank, key: Key, short: int) -> list[PartId] | None:
        """Parts that make room for `short` bytes; None: there are none that `key` is worth more than."""
        if short <= 0:
            return []
        if rank in self._bound or not self._pays(rank, key):
            return None
        values = {part: self._value(rank, part) for part in self._view.resident(rank) if part not in self._parts[key]}
        gone: list[PartId] = []
        for part in sorted(values, key=lambda part: (values[part], part)):
            if values[part] * GAIN >= self._pressure(key):
                return None
            gone.append(part)
            short -= self._size(part)
            if short <= 0:
                break
        for part in reversed(gone[:-1]):  # what made too little room stays, the most valuable first
            if short + self._size(part) <= 0:
                short += self._size(part)
                gone.remove(part)
        return gone if short <= 0 else None

    def _pays(self, rank: Rank, key: Key) -> bool:
        """Whether loading takes less than half of the work that this rank would take over."""
        load_s = self._load_s(key, self._there[rank], self._view.ranks[rank].device)
        supply = self._supply(key)
        return supply < self._wide.get(key, 1) or GAIN * load_s < self._work[key] / (supply + 1)

    def _value(self, rank: Rank, part: PartId) -> float:
        """The most pressure that any stage which uses the part would be under without this rank."""
        users = (key for key in self._work if part in self._parts[key] and self._has(rank, key))
        return max((self._pressure(key, without=1) for key in users), default=0.0)

    def _pressure(self, key: Key, without: int = 0) -> float:
        """Seconds of work for each rank with the weights; ranks that are too few for a group count a quarter."""
        ranks = self._supply(key) - without
        return self._work[key] / (ranks if ranks >= self._wide.get(key, 1) else (ranks + 1) / 4)

    def _supply(self, key: Key) -> int:
        return len(self._having(key))

    def _has(self, rank: Rank, key: Key) -> bool:
        return rank in self._having(key)

    def _having(self, key: Key) -> set[Rank]:
        """Found once a plan: asked anew for every rank, it was nine tenths of a plan for 128 ranks."""
        able = self._able.get(key)
        if able is None:
            able = self._able[key] = {rank for rank in self._there if self._suits(rank, key)}
        return able

    def _suits(self, rank: Rank, key: Key) -> bool:
        """Whether the weights are there, or on their way, with room for a chunk beside all others."""
        there = self._there[rank]
        if not there.issuperset(self._parts[key]):
            return False
        taken = sum(self._size(part) for part in there)
        return taken + self._least.get(key, 0) <= self._view.ranks[rank].memory_bytes

    def _can_keep(self, rank: Rank, key: Key) -> bool:
        """Whether a stage with work runs here now, and should go on to."""
        return key in self._least and self._has(rank, key)

    def _size(self, part: PartId, model: str | None = None) -> int:
        if model is not None:
            return self._view.models[model].part_bytes.get(part, 0)
        return self._sizes.get(part, 0)
