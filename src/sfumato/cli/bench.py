"""`sfumato bench`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import click
from msgspec.structs import replace
from rich.console import Console

from sfumato.cli.loads import (
    Served,
    alone_s,
    checked,
    kinds_of,
    peak_memory,
    quick_workload,
    served_models,
    with_slo,
)
from sfumato.cli.scores import rows, score, tables
from sfumato.cli.shipped import WORKLOAD
from sfumato.cli.tally import watching
from sfumato.core.values import JobState, Value
from sfumato.errors import ConfigError, SfumatoError
from sfumato.workload.arrivals import Arrival, draw
from sfumato.workload.load import load
from sfumato.workload.play import Player, connect
from sfumato.workload.played import Played
from sfumato.workload.spec import Workload


class Bench(Value, frozen=True, kw_only=True):
    """What was asked for on the command line."""

    base_url: str
    api_key: str
    workload: Path | None
    num_prompts: int
    request_rate: float
    mix: str | None
    slo: float | None
    slo_scale: float | None
    max_concurrency: int | None
    warmup_requests: int
    seed: int | None


@click.command("bench", epilog="Try it: sfumato serve & sfumato bench --num-prompts 40 --request-rate 2 --slo-scale 3")
@click.option("--base-url", default="http://127.0.0.1:8000", show_default=True, help="With or without /v1.")
@click.option("--api-key", default="none", help="Bearer key, where the server wants one.")
@click.option("--workload", type=WORKLOAD, help="TOML file or shipped name; else the three flags below.")
@click.option("--num-prompts", type=click.IntRange(min=1), default=100, show_default=True, help="Requests to send.")
@click.option(
    "--request-rate",
    type=click.FloatRange(min=0, min_open=True),
    default=1.0,
    show_default=True,
    help="Poisson arrivals a second; inf: all at once.",
)
@click.option("--mix", metavar="KIND=SHARE,...", help="image=0.8,video=0.2, of the first model that makes each.")
@click.option("--slo", type=click.FloatRange(min=0, min_open=True), help="Seconds, for every class.")
@click.option(
    "--slo-scale",
    type=click.FloatRange(min=0, min_open=True),
    help="SLO = this times the standalone time, which is measured first with the warm-up requests.",
)
@click.option("--max-concurrency", type=click.IntRange(min=1), help="Requests open at once. Default: no bound.")
@click.option(
    "--warmup-requests",
    type=click.IntRange(min=0),
    default=2,
    show_default=True,
    help="For each class, one after the other, before the load.",
)
@click.option("--seed", type=click.IntRange(min=0), help="Of times, classes, prompts. Default: the workload's, else 0.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="All figures and requests as JSON.")
def command(*, out: Path | None, **given: Any) -> None:
    """Send a seeded open-loop load to a server and report SLO attainment.

    The clock of a request starts at its planned arrival, so neither a slow client nor --max-concurrency hides queueing.
    Exit status 1 if a request was left without an outcome, 130 after Ctrl-C: what was measured until then is kept.
    """
    run = Run(Bench(**given))
    interrupted = False
    try:
        asyncio.run(run.play())
    except KeyboardInterrupt:
        interrupted = True
    if not run.played:
        raise click.Abort
    for table in tables(run.played):
        Console().print(table.rich())
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(run.results(), indent=1))
        click.echo(f"written to {out}")
    if interrupted:
        ended = sum(one.delivered for one in run.played)
        click.echo(f"stopped: {ended} of {len(run.played)} requests were delivered", err=True)
        raise click.Abort
    lost = sum(one.state in (None, JobState.CANCELLED) for one in run.played)
    if lost:
        raise SfumatoError(f"{lost} of {len(run.played)} requests have no outcome")


class Run:
    """A benchmark under way; `played` is there also when it was cut short."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.played: list[Played] = []
        self.standalone: dict[str, float] = {}
        self.peak_memory: int | None = None

    async def play(self) -> None:
        """Warm up, then send the load. Raises SfumatoError if the server cannot be reached or refuses the warm-up."""
        bench, console = self.bench, Console(stderr=True)
        async with connect(bench.base_url, api_key=bench.api_key) as client:
            served = await served_models(client, bench.base_url)
            arrivals = await self._arrivals(client, self._workload(served), console)
            with watching("bench", len(arrivals), console) as watch:
                player = Player(client, arrivals, max_concurrency=bench.max_concurrency, watch=watch)
                self.played = player.played
                await player.run()
            self.peak_memory = await peak_memory(client)

    def results(self) -> dict[str, Any]:
        """For the JSON file."""
        asked = {name: getattr(self.bench, name) for name in Bench.__struct_fields__ if name != "api_key"}
        asked["workload"] = str(self.bench.workload) if self.bench.workload else None
        if asked["request_rate"] == float("inf"):
            asked["request_rate"] = "inf"
        figures = score(self.played, peak_memory=self.peak_memory)
        return {**figures, "standalone_s": self.standalone, **rows(self.played), "asked": asked}

    def _workload(self, served: Served) -> Workload:
        bench = self.bench
        if bench.workload is None:
            workload = quick_workload(served, bench.num_prompts, bench.request_rate, bench.mix)
        elif bench.mix is not None:
            raise ConfigError("--mix: the workload file has classes of its own; leave one of the two out", field="mix")
        else:
            workload = checked(load(bench.workload), served)
            if workload.pool.troubles:
                click.echo(
                    "--workload: its pool.troubles befall simulated ranks; the server's are left alone", err=True
                )
        return with_slo(workload, bench.slo, bench.slo_scale)

    async def _arrivals(self, client: Any, workload: Workload, console: Console) -> list[Arrival]:
        """Drawn once the standalone times are known, where an SLO is made of them."""
        bench = self.bench
        scaled = any(entry.slo_scale is not None for entry in workload.classes)
        if scaled and not bench.warmup_requests:
            message = "an SLO scale needs standalone times; set --warmup-requests to 1 or more"
            raise ConfigError(f"--warmup-requests: {message}", field="warmup_requests")
        plain = replace(workload, classes=tuple(replace(entry, slo=None, slo_scale=None) for entry in workload.classes))
        kinds = kinds_of(draw(plain, seed=bench.seed))
        with console.status("warming up") as status:
            for kind in kinds if bench.warmup_requests else ():
                status.update(f"warming up: {kind.cls}")
                self.standalone[kind.cls] = await alone_s(client, kind, bench.warmup_requests)

        def measured_s(model: str, shape: Any, steps: int, guided: bool) -> float:  # noqa: ARG001 (Standalone's)
            found = [kind.cls for kind in kinds if (kind.model, kind.shape, kind.steps) == (model, shape, steps)]
            return self.standalone[found[0]] if found else 1.0  # a class that is never drawn

        return draw(workload, seed=bench.seed, standalone_s=measured_s)
