"""`sfumato report`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
from rich.console import Console

from sfumato.report.gantt import plot_gantt
from sfumato.report.journal import read
from sfumato.report.metrics import measure
from sfumato.report.plots import plot_latency, plot_queue, save
from sfumato.report.tables import all_tables
from sfumato.report.trace import write_chrome_trace

WIDE = 140  # columns where no terminal says how many it has


@click.command("report", epilog="Open trace.json in https://ui.perfetto.dev or chrome://tracing.")
@click.argument("journal", type=click.Path(exists=True))
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Also write plots, trace and metrics here."
)
def command(journal: str, out: Path | None) -> None:
    """Attainment, latency, utilisation and pauses from a journal, live or simulated.

    With --out: gantt.png, latency.png, queue.png, trace.json, metrics.json, report.md.
    """
    story = read(journal)
    metrics = measure(story)
    tables = all_tables(metrics)
    console = Console() if sys.stdout.isatty() else Console(width=WIDE)
    for table in tables:
        console.print(table.rich())
    if out is None:
        return
    out.mkdir(parents=True, exist_ok=True)
    save(plot_gantt(story), out / "gantt.png")
    save(plot_latency({"all": story.lives.values()}), out / "latency.png")
    save(plot_queue(story), out / "queue.png")
    write_chrome_trace(story, out / "trace.json")
    (out / "metrics.json").write_text(json.dumps(metrics.results(), indent=1))
    (out / "report.md").write_text("\n\n".join(table.markdown() for table in tables) + "\n")
    click.echo(f"written to {out}: gantt.png latency.png queue.png trace.json metrics.json report.md")
