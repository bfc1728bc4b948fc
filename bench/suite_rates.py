"""The highest rate at which 95% are in time: of sfumato, and of the best other policy."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial

from msgspec.structs import replace

from sfumato.cli.searches import distinct, held_at
from sfumato.cli.trials import Trial
from sfumato.config import usable_cores
from sfumato.core.values import Value
from sfumato.sim.search import most
from sfumato.sim.sweep import Kept, sweep

OURS = "sfumato"
HELD = 0.95
SEEDS = 3
CLOSE = 1.05  # how near the edge is sought


class Search(Value, frozen=True, kw_only=True):
    """For which workload; `ranked` begins with the policy that is likeliest to hold the highest rate."""

    trial: Trial
    ranked: tuple[str, ...]


class Edge(Value, frozen=True, kw_only=True):
    """Rates as factors of the file's: that of sfumato, and the best of the others with who holds it."""

    ours: float
    theirs: float
    holder: str = ""
    cpu_s: float = 0.0

    @property
    def gain(self) -> float | None:
        return self.ours / self.theirs if self.theirs else None


def edge_of(search: Search) -> Edge:
    """The others come first and know nothing of ours: a change of ours leaves what is kept of them.

    After the first of them, a policy is asked only whether it holds more than the best so far.
    """
    spent: list[float] = []
    held = cache(partial(_holds, search.trial, spent.append))
    best, holder = 0.0, ""
    for policy in search.ranked:
        start = best * CLOSE or 1.0
        if best and not held(policy, start):
            continue
        found = most(partial(held, policy), start=start, within=CLOSE - 1.0)
        if found > best:
            best, holder = found, policy
    ours = most(partial(held, OURS), start=best or 1.0, within=CLOSE - 1.0)
    return Edge(ours=ours, theirs=best, holder=holder, cpu_s=round(sum(spent), 1))


def edges_of(bases: Mapping[str, Trial], ranked: Mapping[str, Sequence[str]]) -> dict[str, Edge]:
    """By workload, points that differ in rate alone taken as one; each search on one core. `ranked` is by file."""
    searches = []
    for file, base in bases.items():
        for name, workload in distinct(base.workload):
            few = replace(workload, seeds=min(SEEDS, workload.seeds))
            search = Search(trial=replace(base, workload=few), ranked=tuple(ranked[file]))
            searches.append((f"{file} {name}".strip(), search))
    names = {id(search): name for name, search in searches}

    def watch(search: Search) -> None:
        print(f"rate of {names[id(search)]} found", file=sys.stderr, flush=True)

    edges = sweep(searches, edge_of, Kept(None, Edge), processes=usable_cores(), watch=watch)
    return {name: edge for (name, _), edge in zip(searches, edges, strict=True)}


def _holds(base: Trial, spend: Callable[[float], object], policy: str, factor: float) -> bool:
    faster = replace(base.workload, rate_factor=base.workload.rate_factor * factor)
    trial = replace(base, workload=faster, policy=policy)
    return held_at(trial, HELD, jobs=1, watch=lambda ran: spend(ran.cpu_s))
