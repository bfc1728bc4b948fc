"""The live line of a load (bench and the demo): what has arrived, runs, is done or late, and the attainment so far."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from sfumato.core.values import JobState
from sfumato.workload.play import Watch
from sfumato.workload.played import Played

_PLAIN_EVERY = 10  # where there is no terminal, a line every so many endings


class Tally:
    """Folds what `Player` reports."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.now: dict[int, Played] = {}

    def take(self, played: Played) -> None:
        self.now[played.number] = played

    @property
    def ended(self) -> int:
        return sum(one.state is not None for one in self.now.values())

    def count(self, *states: JobState | None) -> int:
        return sum(one.state in states for one in self.now.values())

    def attainment(self, modality: str) -> str:
        verdicts = [one.met for one in self.now.values() if one.modality == modality and one.met is not None]
        return f"{100 * sum(verdicts) / len(verdicts):.0f}%" if verdicts else "-"

    def line(self) -> str:
        bad = self.count(JobState.REJECTED, JobState.FAILED, JobState.CANCELLED)
        return (
            f"arrived {len(self.now)}/{self.total}  open {self.count(None)}  done {self.count(JobState.DONE)}  "
            f"late {self.count(JobState.LATE)}{f'  failed {bad}' if bad else ''}  "
            f"in time: images {self.attainment('image')}, videos {self.attainment('video')}"
        )


@contextmanager
def watching(name: str, total: int, console: Console) -> Iterator[Watch]:
    """A progress bar over the endings; gives the callback for a Player."""
    tally = Tally(total)
    columns = (
        TextColumn(f"[bold]{name:8}"),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=console, refresh_per_second=4, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=total)

        def watch(played: Played) -> None:
            tally.take(played)
            _show(bar, task, tally, name, console, ended=played.state is not None)

        yield watch


def _show(bar: Progress, task: TaskID, tally: Tally, name: str, console: Console, *, ended: bool) -> None:
    if console.is_terminal:
        bar.update(task, completed=tally.ended, description=tally.line())
    elif ended and (tally.ended % _PLAIN_EVERY == 0 or tally.ended == tally.total):
        console.print(f"{name}: {tally.line()}", soft_wrap=True)
