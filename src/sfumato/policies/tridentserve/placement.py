"""The Dynamic Orchestrator: which stages of which model each rank hosts (TridentServe, algorithm 2).

A virtual replica is a set of ranks that together host E, D and C. Its types, by growing communication: {EDC};
{DC} {E}; {ED} {C}; {D} {E} {C}. A request's optimal type is the first whose roles all have the memory for it. Types
share the ranks by demand, and the ranks of a type are split into primaries (with D) and auxiliaries in proportion to
the work that each has, so that their throughputs match. Ranks are dealt out node by node; a rank keeps its role where
the new plan has one like it.

Decided here: demand is rank-seconds, not a count of requests, over about the last `MEMORY` arrivals. Where one rank
holds all stages of all models, every rank does. Each type gets the ranks that its widest floor needs; a pool too small
for that hosts everything everywhere, and weights take turns. The plan is made anew when the fastest placement has 1.5
times the throughput of the slowest and the new plan would have less of that, or a stage has no host.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from math import inf

from msgspec.structs import replace

from sfumato.core.values import ModelSpec, Rank, RankInfo, Value
from sfumato.policies.tridentserve.kinds import Kind, parts_of

Duty = tuple[str, str]  # model, letters of the stages hosted
Duties = tuple[Duty, ...]
REPLICAS: tuple[tuple[str, ...], ...] = (("EDC",), ("DC", "E"), ("ED", "C"), ("D", "E", "C"))
MEMORY = 64  # arrivals that the demand remembers
IMBALANCE = 1.5  # of the paper
BETTER = 1.25  # a new plan has an imbalance lower by this factor: weights do not move for less


class Post(Value, frozen=True, kw_only=True):
    """What a rank hosts."""

    rank: Rank
    duties: Duties

    def letters(self, model: str) -> str:
        """The stages of a model that are hosted here."""
        return next((letters for name, letters in self.duties if name == model), "")


class Demand(Value, frozen=True, kw_only=True):
    """Rank-seconds of E, D, C asked of a model by requests of one replica type; `width`: ranks that D needs at least.

    `shared`: whether a rank has the memory for these beside the weights of all models.
    """

    model: str
    replica: int
    works: tuple[float, float, float]
    width: int
    shared: bool


def asked(kind: Kind, models: Mapping[str, ModelSpec], memory: int, *, virtual: bool) -> Demand:
    """The demand of one request of a kind, on ranks of this much memory."""
    own = models[kind.model]
    everything = {part: size for model in models.values() for part, size in parts_of(model, "EDC").items()}
    widths = [_width(kind, own, roles, memory) for roles in REPLICAS]
    last = len(REPLICAS) - 1
    replica = next((place for place, width in enumerate(widths) if width is not None), last) if virtual else 0
    width = widths[replica] or min(kind.step_s)
    room = max(kind.room(letter, max(kind.step_s)) for letter in "EDC")
    shared = sum(everything.values()) + room <= memory
    return Demand(model=kind.model, replica=replica, works=kind.works(width), width=width, shared=shared)


def remembered(demands: Sequence[Demand], new: Iterable[Demand]) -> tuple[Demand, ...]:
    """Demand with new arrivals: old work fades by one in `MEMORY` with each."""
    found = {(demand.model, demand.replica): demand for demand in demands}
    for demand in new:
        for key, old in found.items():
            found[key] = replace(old, works=_scaled(old.works, 1 - 1 / MEMORY))
        key = demand.model, demand.replica
        old = found.get(key, replace(demand, works=(0.0, 0.0, 0.0), shared=True))
        works = tuple(one + other for one, other in zip(old.works, demand.works, strict=True))
        both = old.shared and demand.shared
        found[key] = replace(demand, works=works, width=max(old.width, demand.width), shared=both)
    return tuple(found[key] for key in sorted(found))


def placed(demands: Sequence[Demand], ranks: Sequence[RankInfo], posts: Sequence[Post]) -> tuple[Post, ...]:
    """A post for every rank, as like the old ones as the demand allows."""
    before = {post.rank: post.duties for post in posts}
    quotas = _quotas(demands, len(ranks))
    order = sorted(ranks, key=lambda info: (info.node, info.rank))
    found: dict[Rank, Duties] = {}
    for info in order:
        duties = before.get(info.rank)
        if duties is not None and quotas.get(duties, 0) > 0:
            quotas[duties] -= 1
            found[info.rank] = duties
    vacant = [duties for duties, count in quotas.items() for _ in range(count)]
    rest = [info.rank for info in order if info.rank not in found]
    found.update(zip(rest, vacant, strict=True))
    return tuple(Post(rank=rank, duties=found[rank]) for rank in sorted(found))


def imbalance(demands: Sequence[Demand], posts: Sequence[Post]) -> float:
    """Throughput of the fastest placement over that of the slowest; infinite where a stage has no host."""
    ranks = Counter(post.duties for post in posts)
    rates = []
    for duties, work in _works(demands, tuple(ranks)).items():
        if work > 0:
            rates.append(ranks[duties] / work)
    return inf if not rates or min(rates) == 0 else max(rates) / min(rates)


def uncovered(models: Iterable[str], posts: Sequence[Post]) -> bool:
    """Whether a stage of one of the models has no host."""
    hosted = {(model, letter) for post in posts for model, letters in post.duties for letter in letters}
    return any((model, letter) not in hosted for model in models for letter in "EDC")


# -- quotas -----------------------------------------------------------------------------------------------------------


def _quotas(demands: Sequence[Demand], ranks: int) -> dict[Duties, int]:
    """How many ranks have which duties."""
    needs = [demand.width + len(REPLICAS[demand.replica]) - 1 for demand in demands]
    if all(demand.shared for demand in demands) or sum(needs) > ranks:
        models = sorted({demand.model for demand in demands})
        return {tuple((model, "EDC") for model in models): ranks}
    counts = _shares([sum(demand.works) for demand in demands], needs, ranks)
    quotas: Counter[Duties] = Counter()
    for demand, count in zip(demands, counts, strict=True):
        roles = REPLICAS[demand.replica]
        works = [_role_work(demand, role) for role in roles]
        least = [demand.width, *(1 for _ in roles[1:])]
        for role, number in zip(roles, _shares(works, least, count), strict=True):
            quotas[((demand.model, role),)] += number
    return dict(quotas)


def _shares(works: Sequence[float], least: Sequence[int], ranks: int) -> list[int]:
    """`ranks` in proportion to the works, nobody below its least: one by one to whom most work a rank is left."""
    counts = list(least)
    for _ in range(ranks - sum(counts)):
        place = max(range(len(works)), key=lambda at: (works[at] / counts[at], -at))
        counts[place] += 1
    return counts


def _works(demands: Sequence[Demand], known: Sequence[Duties]) -> dict[Duties, float]:
    """The work that falls to ranks of each kind; infinite slowness is a duty nobody has."""
    models = tuple(sorted({demand.model for demand in demands}))
    everyone: Duties = tuple((model, "EDC") for model in models)
    works: dict[Duties, float] = dict.fromkeys(known, 0.0)
    for demand in demands:
        if everyone in works and len(known) == 1:
            works[everyone] += sum(demand.works)
            continue
        for role in REPLICAS[demand.replica]:
            duties = ((demand.model, role),)
            works[duties] = works.get(duties, 0.0) + _role_work(demand, role)
    return works


def _role_work(demand: Demand, role: str) -> float:
    return sum(work for letter, work in zip("EDC", demand.works, strict=True) if letter in role)


def _width(kind: Kind, model: ModelSpec, roles: Sequence[str], memory: int) -> int | None:
    """The fewest ranks for D with which every role of a replica has the memory, None if there is no such number."""
    for role in roles[1:]:
        weights = sum(parts_of(model, role).values())
        if any(weights + kind.room(letter, 1) > memory for letter in role):
            return None
    weights = sum(parts_of(model, roles[0]).values())
    for degree in kind.step_s:
        if all(weights + kind.room(letter, degree) <= memory for letter in roles[0]):
            return degree
    return None


def _scaled(works: tuple[float, float, float], factor: float) -> tuple[float, float, float]:
    encode, diffuse, decode = works
    return encode * factor, diffuse * factor, decode * factor
