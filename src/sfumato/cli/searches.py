"""`--find-rate` (goodput) and `--find-ranks`: for each policy the edge at which it still holds an attainment.

A probe plays all seeds; a run in which more are missed than all runs of the probe together may miss ends it. Points
that differ in rate alone are one question.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from math import ceil
from typing import Any

from msgspec.structs import replace

from sfumato.cli.trials import Ran, Trial, play
from sfumato.report.compare import mean_of
from sfumato.report.tables import NONE, Table, number
from sfumato.sim.search import least, most
from sfumato.workload.points import per_minute, swept
from sfumato.workload.spec import Point, Workload

Found = tuple[Table, dict[str, Any]]


def find_rates(
    name: str, base: Trial, policies: Sequence[str], attainment: float, jobs: int | None = None, *, fresh: bool = False
) -> Found:
    """The highest arrival rate, in requests a minute (as a factor where the file does not say one)."""

    def edge(trial: Trial, held: Callable[[Workload], bool]) -> float:
        own = trial.workload
        factor = most(lambda f: held(replace(own, rate_factor=own.rate_factor * f)))
        return factor * (per_minute(own) or 1.0)

    found = _edges(base, policies, attainment, edge, jobs, name, fresh=fresh)
    stated = per_minute(base.workload) > 0
    return _table(f"highest rate {'a minute' if stated else '(x the file)'}", found), found


def find_ranks(
    name: str, base: Trial, policies: Sequence[str], attainment: float, jobs: int | None = None, *, fresh: bool = False
) -> Found:
    """The smallest pool; ranks of the first kind are added or taken, whole nodes as they are written."""

    def edge(trial: Trial, held: Callable[[Workload], bool]) -> int | None:
        pool = trial.workload.pool
        each = ceil(pool.ranks / pool.nodes)

        def enough(ranks: int) -> bool:
            resized = replace(pool, ranks=ranks, nodes=ceil(ranks / each))
            return held(replace(trial.workload, pool=resized))

        return least(enough, start=pool.ranks)

    found = _edges(base, policies, attainment, edge, jobs, name, fresh=fresh)
    return _table("fewest ranks", found), found


def distinct(workload: Workload) -> Iterator[tuple[str, Workload]]:
    """The points that are left when the rate does not count, each at the file's own rate."""
    found: dict[object, Point] = {}
    for point in workload.points or (Point(),):
        found.setdefault((point.slo_factor, tuple(sorted(point.shares.items()))), replace(point, rate_factor=1.0))
    yield from swept(replace(workload, points=tuple(found.values())))


def held_at(
    trial: Trial,
    attainment: float,
    jobs: int | None = None,
    what: str = "",
    *,
    fresh: bool = False,
    watch: Callable[[Ran], object] = lambda _: None,
) -> bool:
    """Whether a policy holds an attainment as the mean over its seeds; on one core they are played one by one.

    `watch` is told of every run.
    """
    missable = len(trial.seeds) * (1.0 - attainment)
    trials = [replace(trial, seed=seed, missable=missable) for seed in trial.seeds]
    runs: list[Ran] = []
    for together in [[one] for one in trials] if jobs == 1 else [trials]:
        runs += (found := play(together, jobs=jobs, fresh=fresh, what=what))
        for run in found:
            watch(run)
        if any(run.gave_up for run in runs):
            return False
    reached = mean_of([run.attainment for run in runs])
    return reached is not None and reached >= attainment


def _edges(
    base: Trial,
    policies: Sequence[str],
    attainment: float,
    edge: Callable[[Trial, Callable[[Workload], bool]], float | None],
    jobs: int | None,
    what: str,
    *,
    fresh: bool,
) -> dict[str, dict[str, float | None]]:
    """By point and policy."""
    found: dict[str, dict[str, float | None]] = {}
    for point, workload in distinct(base.workload):
        for policy in policies:
            trial = replace(base, workload=workload, policy=policy)

            def held(workload: Workload, trial: Trial = trial) -> bool:
                return held_at(replace(trial, workload=workload), attainment, jobs, what, fresh=fresh)

            found.setdefault(point, {})[policy] = edge(trial, held)
    return found


def _table(title: str, found: dict[str, dict[str, float | None]]) -> Table:
    policies = list(next(iter(found.values())))
    rows = tuple((point or "as it is", *(_cell(row[policy]) for policy in policies)) for point, row in found.items())
    return Table(title=title, columns=("point", *policies), rows=rows)


def _cell(edge: float | None) -> str:
    if edge is None:
        return NONE
    return str(edge) if isinstance(edge, int) else number(edge)
