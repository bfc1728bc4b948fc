"""The command line. A verb's module is imported when the verb is used, so that `--help` stays quick."""

from __future__ import annotations

import sys
from importlib import import_module

import click

from sfumato import __version__
from sfumato.errors import SfumatoError

# verb -> what `sfumato --help` says of it; its command is `command` in `sfumato.cli.<verb>`
VERBS = {
    "serve": "Serve models over HTTP, as many requests by their deadline as possible.",
    "generate": "Draw one image or video here, without a server, and write it to a file.",
    "bench": "Send a seeded open-loop load to a server and report SLO attainment.",
    "profile": "Measure what models take on this machine; server and simulator read the file.",
    "simulate": "Play a workload on a simulated pool, with the very planner that serves.",
    "replay": "Check that a journal's events lead to the same decisions again.",
    "report": "Tables, plots and a Chrome trace from any journal.",
}


class Verbs(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in VERBS:
            return None
        command: click.Command = import_module(f"sfumato.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))


@click.command(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="sfumato")
def cli() -> None:
    """Deadline-aware serving of text-to-image and text-to-video diffusion models on shared GPUs.

    Without further ado: `sfumato serve` serves the two small embedded models on this machine's cores, and
    `sfumato generate "a small red circle in the top left corner, on a navy background"` draws a picture.
    """


def main() -> None:
    """Entry point: a user's mistake is one line on stderr and exit status 2, an operational failure 1."""
    sys.path.append("")  # a policy of the user's own is found here too, after everything that is installed
    try:
        cli.main(standalone_mode=False)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except SfumatoError as error:
        click.echo(f"sfumato: {error}", err=True)
        sys.exit(2 if getattr(error, "field", None) else 1)


if __name__ == "__main__":
    main()
