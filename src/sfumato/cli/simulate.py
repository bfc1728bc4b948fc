"""`sfumato simulate`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
from msgspec.structs import replace
from rich.console import Console

from sfumato.assemble import explains
from sfumato.cli.checks import check_policy
from sfumato.cli.choices import named
from sfumato.cli.drawings import draw_all
from sfumato.cli.matches import BOUNDED, Course, courses_of, setting_of, title_of
from sfumato.cli.searches import find_ranks, find_rates
from sfumato.cli.shipped import PROFILE, WORKLOAD
from sfumato.cli.trials import Trial, story_of
from sfumato.core.values import Value
from sfumato.errors import ConfigError
from sfumato.report.compare import gains, standings
from sfumato.report.reasons import reason_tables
from sfumato.report.tables import Table
from sfumato.workload.load import load
from sfumato.workload.spec import Workload

SEARCHES = {"highest_rate": find_rates, "fewest_ranks": find_ranks}
WIDE = 160  # where nobody looks at a terminal, tables keep their width

_Folder = click.Path(file_okay=False, path_type=Path)
_Factor = click.FloatRange(min=0, min_open=True)


class Asked(Value, frozen=True, kw_only=True):
    """The options that decide what is run."""

    policies: tuple[str, ...]
    seeds: int | None
    first_seed: int | None
    profiles: tuple[Path, ...]
    rate_factor: float | None
    slo_factor: float | None
    modelled_factor: float
    jobs: int | None
    fresh: bool
    explain: bool

    def workload(self, path: Path) -> Workload:
        """The file with what the options change in it."""
        found = load(path)
        return replace(
            found,
            seed=found.seed if self.first_seed is None else self.first_seed,
            seeds=self.seeds or found.seeds,
            rate_factor=found.rate_factor * (self.rate_factor or 1.0),
            slo_factor=found.slo_factor * (self.slo_factor or 1.0),
        )

    @property
    def telling(self) -> list[str]:
        """The policies that tell their reasons."""
        return [policy for policy in self.policies if explains(named(policy)[0])]

    def trial(self, workload: Workload) -> Trial:
        """What trials of a workload have in common."""
        sources = tuple(map(str, self.profiles))
        return Trial(
            workload=workload,
            policy="",
            seed=workload.seed,
            sources=sources,
            factor=self.modelled_factor,
            explain=self.explain,
        )


@click.command("simulate", epilog="Try it: sfumato simulate tetriserve-uniform --policy fixed --policy sfumato")
@click.argument("workloads", nargs=-1, required=True, type=WORKLOAD)
@click.option(
    "--policy",
    "policies",
    multiple=True,
    default=("fixed", "sfumato"),
    show_default=True,
    metavar="NAME[,KEY=VALUE...]",
    help="May be repeated. A policy of the table with its options, or package.module:Class. A value may be JSON: "
    """'sfumato,shares={"video": 0.3}'.""",
)
@click.option("--seeds", type=click.IntRange(min=1), help="Runs a policy, paired.  [default: the workload's, 5]")
@click.option("--first-seed", type=click.IntRange(min=0), help="Of the first run.  [default: the workload's, 0]")
@click.option(
    "--profile",
    "profiles",
    multiple=True,
    type=PROFILE,
    help="File, folder or shipped name, for models whose profile the workload does not name.",
)
@click.option("--rate-factor", type=_Factor, help="Multiplies every arrival rate.")
@click.option("--slo-factor", type=_Factor, help="Multiplies every SLO.")
@click.option(
    "--modelled-factor",
    type=_Factor,
    default=1.0,
    help="Multiplies what the profiles model beside the steps (encode, decode, batches, bytes): is it what decides?",
)
@click.option(
    "--bound/--no-bound",
    "bounded",
    default=None,
    help=f"Compare with the most that any schedule could serve in time.  [default: up to {BOUNDED} requests a run]",
)
@click.option("--find-rate", "by_rate", is_flag=True, help="The highest rate at which --attainment is held, by policy.")
@click.option(
    "--find-ranks", "by_ranks", is_flag=True, help="The smallest pool in which --attainment is held, by policy."
)
@click.option("--attainment", type=click.FloatRange(0, 1, min_open=True), default=0.95, show_default=True)
@click.option("--jobs", type=click.IntRange(min=1), help="Processes.  [default: one a core]")
@click.option("--fresh", is_flag=True, help="Run again what earlier calls have kept.")
@click.option("--explain", is_flag=True, help="Say why chunks were launched; a --journal then has the reason of each.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Also write all figures as JSON.")
@click.option("--plots", type=_Folder, help="Draw attainment over rate and SLO, latencies and a Gantt chart here.")
@click.option(
    "--journal", type=_Folder, help="Keep journals: WORKLOAD[/POINT]/POLICY/SEED. Such runs are always made again."
)
def command(
    *,
    workloads: tuple[Path, ...],
    bounded: bool | None,
    by_rate: bool,
    by_ranks: bool,
    attainment: float,
    out: Path | None,
    plots: Path | None,
    journal: Path | None,
    **options: Any,
) -> None:
    """Play workloads on a simulated pool, with the very planner that serves.

    WORKLOADS are TOML files, or names of those that come with Sfumato (demo, tetriserve-uniform, genserve, ...).

    Every policy gets the same arrivals and the same noise, seed by seed, so the runs are paired. A file may sweep over
    points (see workload/spec.py). Runs are kept, by all that they depend on, and not made twice.
    """
    asked = Asked(**options)
    if asked.explain and not asked.telling:
        raise ConfigError("--explain: none of the policies tells reasons; add --policy sfumato", field="explain")
    finds = [name for name, wanted in (("highest_rate", by_rate), ("fewest_ranks", by_ranks)) if wanted]
    if finds and (lost := _unheard(asked, plots, journal)):
        raise ConfigError(f"--{lost}: a search keeps no single run; leave it out", field=lost)
    played = [(path.stem, asked.workload(path)) for path in workloads]
    for _, workload in played:
        for policy in asked.policies:
            check_policy(policy, asked.trial(workload), resized=by_ranks)
    console = Console() if sys.stdout.isatty() else Console(width=WIDE)
    figures: dict[str, Any] = {}
    for name, workload in played:
        if finds:
            figures[name] = _searched(name, workload, asked, finds, attainment, console)
        else:
            figures |= dict(_compared(name, workload, asked, bounded, console, plots, journal))
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(figures, indent=1))
        click.echo(f"written to {out}")


def _unheard(asked: Asked, plots: Path | None, journal: Path | None) -> str:
    """An option that a search would not hear."""
    given = {"plots": plots, "journal": journal, "explain": asked.explain}
    return next((name for name, value in given.items() if value), "")


def _searched(
    name: str, workload: Workload, asked: Asked, finds: Sequence[str], attainment: float, console: Console
) -> dict[str, Any]:
    """Find and print; the figures."""
    trial = asked.trial(workload)
    _remark(trial, console)
    console.print(f"{name}, simulated: what holds {attainment:.0%} in time, {setting_of(trial)}", soft_wrap=True)
    figures: dict[str, Any] = {**_setting(trial), "attainment": attainment}
    for find in finds:
        table, figures[find] = SEARCHES[find](name, trial, asked.policies, attainment, asked.jobs, fresh=asked.fresh)
        console.print(table.rich())
    return figures


def _compared(
    name: str,
    workload: Workload,
    asked: Asked,
    bounded: bool | None,
    console: Console,
    plots: Path | None,
    journal: Path | None,
) -> Iterator[tuple[str, Any]]:
    """Play, print and draw; the figures of each point."""
    courses = courses_of(
        name, asked.trial(workload), asked.policies, asked.jobs, bounded=bounded, fresh=asked.fresh, journal=journal
    )
    _remark(courses[0].trial, console)
    matches = [course.match for course in courses]
    tables = [standings(title_of(name, courses), matches), *(gains(matches[0]) if len(matches) == 1 else ())]
    if asked.explain:
        tables += _reasons(courses, asked.telling)
    for table in tables:
        console.print(table.rich())
    if plots is not None:
        drawn = draw_all(name, courses, plots / name)
        click.echo(f"drawn in {plots / name}: {' '.join(drawn)}")
    yield from _figures(name, courses)


def _reasons(courses: Sequence[Course], telling: Sequence[str]) -> Iterator[Table]:
    """Of the first run of each policy that tells them, at the middle point."""
    course = courses[len(courses) // 2]
    for policy in telling:
        where = f"{course.match.name}, " if course.match.name else ""
        title = f"Why {policy} launched chunks: {where}seed {course.trial.seed}"
        yield from reason_tables(story_of(replace(course.trial, policy=policy)), title)


def _remark(trial: Trial, console: Console) -> None:
    """Where the times come from."""
    for remark in trial.world.remarks(trial.workload):
        console.print(f"times of {remark}", style="dim", soft_wrap=True, markup=False, highlight=False)


def _figures(name: str, courses: Sequence[Course]) -> Iterator[tuple[str, Any]]:
    """For the JSON file, by point."""
    for course in courses:
        yield (
            f"{name}, {course.match.name}" if course.match.name else name,
            {**_setting(course.trial), "bounds": course.match.bounds, "policies": course.match.runs},
        )


def _setting(trial: Trial) -> dict[str, Any]:
    """What figures rest on."""
    kept = ("model", "device", "kind", "source")
    return {
        "simulated": True,
        "seeds": list(trial.seeds),
        "profiles": [{key: getattr(profile, key) for key in kept} for profile in trial.world.profiles],
        "remarks": trial.world.remarks(trial.workload),
    }
