"""Plays all points of a workload with all policies and seeds, and puts the trials together again, point by point."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from sfumato.cli.trials import BOUND, Ran, Trial, play
from sfumato.core.values import Value
from sfumato.report.compare import Match, mean_of
from sfumato.report.tables import number
from sfumato.workload.points import swept

BOUNDED = 3000  # requests a run up to which the bound is found without being asked for: 1 to 20 s of a core a seed


class Course(Value, frozen=True, kw_only=True):
    """A point that was played: `trial` says with what, `runs` holds what each policy's seeds came to."""

    match: Match
    trial: Trial
    runs: dict[str, tuple[Ran, ...]]


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
    folder = journal and journal / name
    points = [(point, replace(base, workload=workload)) for point, workload in swept(base.workload)]
    asked = [
        tasks_of(
            trial,
            [*policies, *([BOUND] if _bounds(trial, bounded) else ())],
            folder and folder / point.replace("/", " per "),
        )
        for point, trial in points
    ]
    runs = iter(play([task for tasks in asked for task in tasks], jobs=jobs, fresh=fresh, what=name))
    return [
        course_of(point, trial, [(task, next(runs)) for task in tasks])
        for (point, trial), tasks in zip(points, asked, strict=True)
    ]


def tasks_of(trial: Trial, policies: Sequence[str], journal: Path | None = None) -> list[Trial]:
    """The trials of one point, with the folder of their journals if these are wanted."""
    return [
        replace(
            trial,
            policy=policy,
            seed=seed,
            journal=str(journal / _file_name(policy) / f"seed-{seed}") if journal and policy != BOUND else "",
        )
        for policy in policies
        for seed in trial.seeds
    ]


def course_of(point: str, trial: Trial, played: Sequence[tuple[Trial, Ran]]) -> Course:
    """A point out of its trials."""
    runs: dict[str, list[Ran]] = {}
    for task, ran in played:
        runs.setdefault(task.policy, []).append(ran)
    bounds = tuple(ran.attainment for ran in runs.pop(BOUND, ()))
    figures = {policy: tuple(ran.figures for ran in found) for policy, found in runs.items()}
    return Course(
        match=Match(name=point, runs=figures, bounds=bounds),
        trial=trial,
        runs={policy: tuple(found) for policy, found in runs.items()},
    )


def title_of(name: str, courses: Sequence[Course]) -> str:
    """What a table is about; it says what kind of times it rests on."""
    counts = [float(run.figures["requests"]) for course in courses for runs in course.runs.values() for run in runs]
    return f"{name}, simulated: {number(mean_of(counts))} requests, {setting_of(courses[0].trial)}"


def setting_of(trial: Trial) -> str:
    """On what it is played, how often, and what kind of times it rests on."""
    world, seeds = trial.world, len(trial.seeds)
    kinds = {str(profile.kind) for profile in world.profiles} or {"estimated"}
    scaled = f", modelled figures x {trial.factor:g}" if trial.factor != 1.0 else ""
    return f"{len(world.ranks)} ranks, {seeds} seed{'s' * (seeds > 1)}, {' and '.join(sorted(kinds))} times{scaled}"


def _bounds(trial: Trial, wanted: bool | None) -> bool:
    if wanted is not None:
        return wanted
    return len(trial.requests()) <= BOUNDED


def _file_name(policy: str) -> str:
    return policy.replace(":", "-").replace("/", "-")
