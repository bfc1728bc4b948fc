"""Plays all points of a workload with all policies and seeds, and puts the trials together again, point by point."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from sfumato.cli.trials import BOUND, Ran, Trial, play
from sfumato.cli.worlds import World, world_of
from sfumato.core.values import Value
from sfumato.report.compare import Match, mean_of
from sfumato.report.tables import number

BOUNDED = 400  # requests a run up to which the bound is found without being asked for: a few seconds a seed


class Course(Value, frozen=True, kw_only=True):
    """A point that was played: `trial` says with what, `runs` holds what each policy's seeds came to."""

    match: Match
    trial: Trial
    world: World
    runs: dict[str, tuple[Ran, ...]]

    @property
    def seeds(self) -> range:
        return seeds_of(self.trial)


def courses_of(
    name: str,
    base: Trial,
    policies: Sequence[str],
    jobs: int | None = None,
    *,
    bounded: bool | None = None,
    fresh: bool = False,
    journal: Path | None = None,
) -> list[Course]:
    """Every point of `base`'s workload. `bounded` None: the bound is found where that is quick."""
    points = [(point, replace(base, workload=workload)) for point, workload in base.workload.swept()]
    worlds = [world_of(trial.workload, trial.sources, trial.factor) for _, trial in points]
    lines: list[tuple[int, str, Trial]] = []
    for place, (point, trial) in enumerate(points):
        for policy in [*policies, *([BOUND] if _bounds(trial, worlds[place], bounded) else ())]:
            for seed in seeds_of(trial):
                folder = journal and journal / name / point.replace("/", " per ") / _file_name(policy) / f"seed-{seed}"
                lines.append((place, policy, replace(trial, policy=policy, seed=seed, journal=str(folder or ""))))
    played: list[dict[str, list[Ran]]] = [{} for _ in points]
    for (place, policy, _), ran in zip(
        lines, play([t for *_, t in lines], jobs=jobs, fresh=fresh, what=name), strict=True
    ):
        played[place].setdefault(policy, []).append(ran)
    return [
        _course(point, trial, world, runs) for (point, trial), world, runs in zip(points, worlds, played, strict=True)
    ]


def seeds_of(trial: Trial) -> range:
    """One after the other from the workload's first."""
    return range(trial.workload.seed, trial.workload.seed + trial.workload.seeds)


def title_of(name: str, courses: Sequence[Course]) -> str:
    """What a table is about; it says what kind of times it rests on."""
    world, seeds = courses[0].world, len(courses[0].seeds)
    kinds = {str(profile.kind) for profile in world.profiles} or {"estimated"}
    counts = [float(run.figures["requests"]) for course in courses for runs in course.runs.values() for run in runs]
    scaled = f", modelled figures x {courses[0].trial.factor:g}" if courses[0].trial.factor != 1.0 else ""
    return (
        f"{name}, simulated: {number(mean_of(counts))} requests, {len(world.ranks)} ranks, "
        f"{seeds} seed{'s' * (seeds > 1)}, {' and '.join(sorted(kinds))} times{scaled}"
    )


def _course(point: str, trial: Trial, world: World, runs: dict[str, list[Ran]]) -> Course:
    bounds = tuple(ran.attainment for ran in runs.pop(BOUND, ()))
    figures = {policy: tuple(ran.figures for ran in found) for policy, found in runs.items()}
    return Course(
        match=Match(name=point, runs=figures, bounds=bounds),
        trial=trial,
        world=world,
        runs={policy: tuple(found) for policy, found in runs.items()},
    )


def _bounds(trial: Trial, world: World, wanted: bool | None) -> bool:
    if wanted is not None:
        return wanted
    return len(world.draw(trial.workload, trial.workload.seed)) <= BOUNDED


def _file_name(policy: str) -> str:
    return policy.replace(":", "-").replace("/", "-")
