"""`sfumato replay`."""

from __future__ import annotations

import click

from sfumato.assemble import rebuild
from sfumato.errors import SfumatoError
from sfumato.report.journal import entries
from sfumato.sim import replay


@click.command("replay")
@click.argument("journal", type=click.Path(exists=True))
def command(journal: str) -> None:
    """Feed a journal's events to a fresh planner and compare what it decides, from every checkpoint on its own.

    JOURNAL is a folder of segments or one file. Exit status 1 and the first unlike decision if there is one.
    """
    result = replay(entries(journal), rebuild)
    if result.mismatch:
        found = result.mismatch
        click.echo(f"record {found.record} (at {found.at:.6f} s) decided otherwise")
        click.echo(f"  journal: {found.expected}\n  replay:  {found.got}")
        raise SfumatoError("the journal does not replay")
    click.echo(f"{result.records} records in {result.segments} segments replay to the same commands")
