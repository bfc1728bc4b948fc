"""`sfumato report`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click
from rich.console import Console

from sfumato.core.journal import Checkpoint
from sfumato.errors import ConfigError
from sfumato.report.gantt import plot_gantt
from sfumato.report.journal import entries, read
from sfumato.report.metrics import Metrics, measure
from sfumato.report.plots import plot_latency, plot_queue, save
from sfumato.report.reasons import decision_table, explained, reason_tables
from sfumato.report.story import Story
from sfumato.report.tables import Table, all_tables
from sfumato.report.trace import write_chrome_trace

WIDE = 160  # columns where no terminal says how many it has


@click.command("report", epilog="Open trace.json in https://ui.perfetto.dev or chrome://tracing.")
@click.argument("journal", type=click.Path(exists=True))
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Also write plots, trace and metrics here."
)
@click.option("--request", "requests", multiple=True, metavar="ID", help="Tell this request alone. May be repeated.")
def command(journal: str, out: Path | None, requests: tuple[str, ...]) -> None:
    """Attainment, latency, utilisation and pauses from a journal, live or simulated; the reasons of its decisions.

    With --out: gantt.png, latency.png, queue.png, trace.json, metrics.json, report.md, decisions.md. Why a request was
    launched is there where the journal was written with --explain.
    """
    story, planned = read(journal), _planned(journal)
    console = Console() if sys.stdout.isatty() else Console(width=WIDE)
    if requests:
        console.print(_told(story, requests).rich())
        return
    console.print(planned, style="dim", soft_wrap=True, markup=False, highlight=False)
    metrics = measure(story)
    tables = [*all_tables(metrics), *(reason_tables(story) if explained(story) else ())]
    for table in tables:
        console.print(table.rich())
    if out is not None:
        click.echo(f"written to {out}: {' '.join(_write(story, planned, metrics, tables, out))}")


def _told(story: Story, requests: tuple[str, ...]) -> Table:
    unknown = next((name for name in requests if name not in story.lives), None)
    if unknown is not None:
        some = ", ".join(list(story.lives)[:3]) or "none"
        raise ConfigError(f"--request: the journal has no {unknown}; its requests are {some}, ...", field="request")
    return decision_table(story, requests)


def _planned(journal: str) -> str:
    """By whom, and on what times: a simulated or paced run takes as long as these say, whoever measured them or not."""
    setup = next((entry.setup for entry in entries(journal) if isinstance(entry, Checkpoint)), None)
    if not setup:
        return "the journal does not say by whom it was planned, on what times"
    known = [f"{p['model']}: {p['kind']} on {p['device']} ({p['source']})" for p in setup["profiles"]]
    bare = sorted(setup["models"].keys() - {profile["model"] for profile in setup["profiles"]})
    times = "; ".join([*known, *(f"{name}: estimated" for name in bare)])
    return f"planned by {setup['policy']} on times of {times}"


def _write(story: Story, planned: str, metrics: Metrics, tables: list[Table], out: Path) -> list[str]:
    """Everything into a folder, each with what it rests on; the files' names."""
    out.mkdir(parents=True, exist_ok=True)
    save(plot_gantt(story), out / "gantt.png", note=planned)
    save(plot_latency({"all": story.lives.values()}), out / "latency.png", note=planned)
    save(plot_queue(story), out / "queue.png", note=planned)
    write_chrome_trace(story, out / "trace.json", planned)
    (out / "metrics.json").write_text(json.dumps({"planned": planned, **metrics.results()}, indent=1))
    (out / "report.md").write_text("\n\n".join([planned, *(table.markdown() for table in tables)]) + "\n")
    (out / "decisions.md").write_text(f"{planned}\n\n{decision_table(story).markdown()}")
    return ["gantt.png", "latency.png", "queue.png", "trace.json", "metrics.json", "report.md", "decisions.md"]
