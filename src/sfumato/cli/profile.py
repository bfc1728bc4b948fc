"""`sfumato profile`."""

from __future__ import annotations

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sfumato.cli.options import config_of
from sfumato.cli.session import cluster_of, offers_of
from sfumato.config import Config, profile_folder
from sfumato.cost import Profile
from sfumato.models import Offer
from sfumato.profiling import Bench, Campaign, Step, hardware, measure, versions
from sfumato.report.tables import Table
from sfumato.runtime.cluster import ProcessCluster

MIB = 1 << 20


@click.command("profile", epilog="Try it: sfumato profile --quick && sfumato serve")
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME=PATH_OR_ID",
    help="A diffusers checkpoint; may be repeated. Default: the two embedded models.",
)
@click.option("--workers", type=click.IntRange(min=1), help="Workers, all kept busy. Default: GPUs, else cores.")
@click.option("--quick/--full", default=False, help="Few points and little time for each, or more. Default: full.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Folder for NAME.json. Default: the user's cache, where serve and simulate look.",
)
@click.option("--fresh", is_flag=True, help="Measure again what the file holds already.")
def command(*, models: tuple[str, ...], workers: int | None, quick: bool, out: Path | None, fresh: bool) -> None:
    """Measure what every stage of every model takes at its sizes, degrees and batches, with all workers busy.

    Writes one profile file a model. A run that was cut short goes on where it stopped.
    """
    config = config_of(
        config_file=None, models=models, workers=workers, policy=None, options=(), profiles=(), journal=None
    )
    asyncio.run(profile(config, out or profile_folder(), density="quick" if quick else "full", fresh=fresh))


async def profile(config: Config, folder: Path, *, density: str, fresh: bool = False) -> list[Path]:
    """Measure all models of `config`; returns the files."""
    offers = offers_of(config)
    cluster_config, count = cluster_of(config)
    loop = asyncio.get_running_loop()
    cluster = ProcessCluster(offers.values(), loop.time, cluster_config)
    bench = Bench(cluster, loop.time)
    console = Console(stderr=True)
    paths = []
    try:
        with console.status(f"starting {count} {cluster_config.device} workers"):
            await cluster.start(count)
        for offer in offers.values():
            path = folder / f"{offer.name.replace('/', '--')}.json"
            if fresh:
                path.unlink(missing_ok=True)
            campaign = Campaign(
                path=str(path),
                date=datetime.now(UTC).date().isoformat(),
                command="sfumato " + " ".join(sys.argv[1:]),
                hardware=hardware(list(bench.ranks.values()), cluster_config.threads),
                versions=versions(),
                density=density,
            )
            measured = await _with_bar(offer, bench, campaign, console)
            Console().print(summary(measured).rich())
            click.echo(f"written to {path}")
            paths.append(path)
    finally:
        await cluster.close()
    return paths


async def _with_bar(offer: Offer, bench: Bench, campaign: Campaign, console: Console) -> Profile:
    columns = (
        TextColumn(offer.name),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[last]}"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(offer.name, total=None, last="")

        def show(step: Step) -> None:
            took = f"{step.point.seconds * 1000:.1f} ms" if step.point else "(kept)"
            bar.update(task, completed=step.done, total=step.total, last=f"{step.setting} {took}")

        return await measure(offer, bench, campaign, show)


def summary(profile: Profile) -> Table:
    """Every point on a line."""
    peaks = {peak.key: peak.bytes for peak in profile.peaks}
    rows = [
        (
            str(point.stage),
            str(point.shape),
            str(point.degree),
            str(point.batch),
            ("1 + 1" if point.cfg > 1 else "2") if point.guided else "1",
            f"{point.seconds * 1000:.1f}",
            f"{(point.p10_s or point.seconds) * 1000:.1f} - {(point.p90_s or point.seconds) * 1000:.1f}",
            f"{peaks[point.key] / MIB:.1f}" if point.key in peaks else "-",
            str(point.n),
        )
        for point in profile.points
    ]
    rows += [
        (
            "diffuse",
            " + ".join(map(str, mixed.shapes)),
            str(mixed.degree),
            str(len(mixed.shapes)),
            "2" if mixed.guided else "1",
            f"{mixed.seconds * 1000:.1f}",
            f"{(mixed.p10_s or mixed.seconds) * 1000:.1f} - {(mixed.p90_s or mixed.seconds) * 1000:.1f}",
            "-",
            str(mixed.n),
        )
        for mixed in profile.mixed
    ]
    rows += [("diffuse", f"{quality}: {left:.0%} of a step", *"-" * 7) for quality, left in profile.reuse.items()]
    columns = ("stage", "size", "degree", "batch", "passes", "ms a unit", "p10 - p90", "peak MiB", "n")
    return Table(title=f"{profile.model} on {profile.hardware}", columns=columns, rows=tuple(rows))
