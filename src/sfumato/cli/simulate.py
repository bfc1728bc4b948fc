"""`sfumato simulate`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from msgspec.structs import replace
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sfumato.assemble import Setup, simulated
from sfumato.cli.worlds import World, world_of
from sfumato.core.journal import Entry
from sfumato.report.intervals import mean_interval
from sfumato.report.journal import tell
from sfumato.report.metrics import Metrics, Summary, measure
from sfumato.report.tables import NONE, Table, interval, number, percent
from sfumato.runtime.records import JournalFolder
from sfumato.sim import lognormal
from sfumato.workload.arrivals import draw, requests
from sfumato.workload.load import load
from sfumato.workload.spec import Workload

Runs = dict[str, list[Metrics]]  # policy -> a run a seed
Bounds = list[float | None]  # a seed: the attainment that no schedule beats

WIDE = 120  # where nobody looks at a terminal, tables keep their width
BOUNDED = 400  # requests up to which the bound is found without being asked for: a few seconds a seed


@click.command(
    "simulate", epilog="Try it: sfumato simulate recipes/workloads/demo.toml --policy fixed --policy sfumato"
)
@click.argument("workloads", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--policy",
    "policies",
    multiple=True,
    default=("fixed", "sfumato"),
    show_default=True,
    metavar="NAME",
    help="May be repeated. A policy of the table, or package.module:Class.",
)
@click.option("--seeds", type=click.IntRange(min=1), default=5, show_default=True, help="Runs a policy, paired.")
@click.option(
    "--profile",
    "profiles",
    multiple=True,
    type=click.Path(exists=True),
    help="File or folder, for models whose profile the workload does not name.",
)
@click.option("--rate-factor", type=click.FloatRange(min=0, min_open=True), help="Multiplies every arrival rate.")
@click.option("--slo-factor", type=click.FloatRange(min=0, min_open=True), help="Multiplies every SLO.")
@click.option(
    "--bound/--no-bound",
    "bounded",
    default=None,
    help=f"Compare with the most that any schedule could serve in time.  [default: up to {BOUNDED} requests]",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Also write all figures as JSON.")
@click.option(
    "--journal",
    type=click.Path(file_okay=False, path_type=Path),
    help="Keep every run's journal: WORKLOAD/POLICY/SEED.",
)
def command(
    *,
    workloads: tuple[Path, ...],
    policies: tuple[str, ...],
    seeds: int,
    profiles: tuple[str, ...],
    rate_factor: float | None,
    slo_factor: float | None,
    bounded: bool | None,
    out: Path | None,
    journal: Path | None,
) -> None:
    """Play workloads on a simulated pool, with the very planner that serves.

    Every policy gets the same arrivals and the same noise, seed by seed, so the runs are paired.
    """
    console, figures = Console() if sys.stdout.isatty() else Console(width=WIDE), {}
    for path in workloads:
        workload = _scaled(load(path), rate_factor, slo_factor)
        world = world_of(workload, profiles)
        for remark in world.remarks(workload):
            console.print(f"times of {remark}", style="dim", soft_wrap=True, markup=False, highlight=False)
        runs = _play(workload, world, policies, seeds, journal and journal / path.stem)
        bounds = _bounds(workload, world, seeds, bounded)
        for table in tables(path.stem, runs, world, bounds):
            console.print(table.rich())
        figures[path.stem] = _figures(workload, world, runs, bounds)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(figures, indent=1))
        click.echo(f"written to {out}")


def _scaled(workload: Workload, rate_factor: float | None, slo_factor: float | None) -> Workload:
    return replace(
        workload,
        rate_factor=workload.rate_factor * (rate_factor or 1.0),
        slo_factor=workload.slo_factor * (slo_factor or 1.0),
    )


def _play(workload: Workload, world: World, policies: Sequence[str], seeds: int, journal: Path | None) -> Runs:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    standalone_s = world.standalone_s()
    runs: Runs = {policy: [] for policy in policies}
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=seeds * len(runs))
        for seed in range(workload.seed, workload.seed + seeds):
            arrivals = draw(workload, seed=seed, standalone_s=standalone_s)
            for policy in runs:
                bar.update(task, description=f"{policy}, seed {seed}")
                entries: list[Entry] = []
                setup = Setup(models=world.models, profiles=world.profiles, policy=policy)
                noise = lognormal(seed, workload.noise)
                simulated(setup, world.ranks, requests(arrivals), noise=noise, write=entries.append).run()
                runs[policy].append(measure(tell(entries)))
                _keep(entries, journal and journal / _folder(policy) / f"seed-{seed}")
                bar.advance(task)
    return runs


def _bounds(workload: Workload, world: World, seeds: int, wanted: bool | None) -> Bounds:
    """By seed; empty where it is not wanted, or was not asked for and would take long."""
    if wanted is False:
        return []
    from sfumato.sim.bound import bound  # scipy takes half a second to import

    standalone_s = world.standalone_s()
    found: Bounds = []
    for seed in range(workload.seed, workload.seed + seeds):
        asked = list(requests(draw(workload, seed=seed, standalone_s=standalone_s)))
        if wanted is None and len(asked) > BOUNDED:
            return []
        found.append(bound(asked, world.ranks, world.models, world.costs).attainment)
    return found


def _folder(policy: str) -> str:
    return policy.replace(":", "-").replace("/", "-")


def _keep(entries: Sequence[Entry], folder: Path | None) -> None:
    if folder is not None:
        kept = JournalFolder(folder)
        for entry in entries:
            kept(entry)
        kept.close()


# -- what is shown ----------------------------------------------------------------------------------------------------


def tables(name: str, runs: Runs, world: World, bounds: Bounds) -> list[Table]:
    """Policies side by side; means over the seeds, with Student's 95% interval of the attainment.

    "of bound" is attainment over the most that any schedule could reach, which knows all arrivals beforehand.
    """
    kinds = {str(profile.kind) for profile in world.profiles} or {"estimated"}
    first = next(iter(runs.values()))
    count = number(_mean([float(one.overall.requests) for one in first]))
    seeds = f"{len(first)} seed{'s' * (len(first) > 1)}"
    title = (
        f"{name}, simulated: {count} requests, {len(world.ranks)} ranks, {seeds}, {' and '.join(sorted(kinds))} times"
    )
    columns = (
        "policy",
        "in time",
        "95%",
        *(("of bound",) if bounds else ()),
        "mean s",
        "p95 s",
        "p99 s",
        "busy",
        "pauses",
    )
    rows = tuple((policy, *_cells(metrics, bounds)) for policy, metrics in runs.items())
    return [Table(title=title, columns=columns, rows=rows), _by_class(runs), *_gains(runs)]


def _cells(metrics: Sequence[Metrics], bounds: Bounds) -> tuple[str, ...]:
    whole = [one.overall for one in metrics]
    mean, low, high = _attainment(whole)
    return (
        percent(mean),
        NONE if low is None or high is None else interval(max(0.0, low), min(1.0, high)),
        *((percent(_mean(of_bound(metrics, bounds))),) if bounds else ()),
        *(number(_mean([_latency(one, key) for one in whole])) for key in ("mean", "p95", "p99")),
        percent(_mean([one.utilisation for one in metrics])),
        number(_mean([float(one.pauses) for one in whole])),
    )


def _by_class(runs: Runs) -> Table:
    """Attainment and mean latency of each class, a column a policy."""
    names = list(dict.fromkeys(name for metrics in runs.values() for one in metrics for name in one.by_slo))
    rows = []
    for name in names:
        cells = []
        for metrics in runs.values():
            parts = [one.by_slo[name] for one in metrics if name in one.by_slo]
            mean, _, _ = _attainment(parts)
            cells.append(f"{percent(mean)}  {number(_mean([_latency(one, 'mean') for one in parts]))} s")
        rows.append((name, *cells))
    return Table(title="Attainment and mean latency by class", columns=("class", *runs), rows=tuple(rows))


def _gains(runs: Runs) -> list[Table]:
    """Points of attainment over the first policy, paired by seed."""
    (first, base), *others = runs.items()
    rows = []
    for policy, metrics in others:
        pairs = [(a.overall.attainment, b.overall.attainment) for a, b in zip(base, metrics, strict=True)]
        gains = [b - a for a, b in pairs if a is not None and b is not None]
        if gains:
            mean, low, high = mean_interval(gains)
            rows.append((policy, f"{100 * mean:+.1f}", f"[{100 * low:+.1f}, {100 * high:+.1f}]"))
    return [Table(title=f"Points over {first}, paired", columns=("policy", "points", "95%"), rows=tuple(rows))] * bool(
        rows
    )


def _attainment(parts: Sequence[Summary]) -> tuple[float | None, float | None, float | None]:
    found = [part.attainment for part in parts if part.attainment is not None]
    return mean_interval(found) if found else (None, None, None)


def of_bound(metrics: Sequence[Metrics], bounds: Bounds) -> list[float]:
    """Attainment over the bound, by seed; seeds in which nothing can be served in time are left out."""
    pairs = zip((one.overall.attainment for one in metrics), bounds, strict=False)
    return [attainment / most for attainment, most in pairs if attainment is not None and most]


def _latency(summary: Summary, key: str) -> float | None:
    return None if summary.latency is None else float(getattr(summary.latency, key))


def _mean(values: Sequence[float | None]) -> float | None:
    found = [value for value in values if value is not None]
    return sum(found) / len(found) if found else None


def _figures(workload: Workload, world: World, runs: Runs, bounds: Bounds) -> dict[str, Any]:
    """For the JSON file."""
    kept = ("model", "device", "kind", "source")
    return {
        "simulated": True,
        "seeds": [workload.seed + place for place in range(len(next(iter(runs.values()))))],
        "profiles": [{key: getattr(profile, key) for key in kept} for profile in world.profiles],
        "remarks": world.remarks(workload),
        "bounds": bounds,
        "policies": {policy: [one.results() for one in metrics] for policy, metrics in runs.items()},
    }
