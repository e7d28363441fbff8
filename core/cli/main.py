"""The `windrow` command: its sub-commands, and errors as one sentence.

Nothing heavy is imported here or at the top of a command's module, so that ``windrow --help`` answers at once.
"""

from __future__ import annotations

import importlib
import sys
from typing import Annotated

import typer

from windrow import __version__
from windrow.cli.demo import demo
from windrow.cli.dlq.command import app as dlq
from windrow.cli.explain import explain
from windrow.cli.nexmark.command import nexmark
from windrow.cli.run import run
from windrow.cli.version import version
from windrow.cli.warmup import warmup
from windrow.errors import WindrowError

app = typer.Typer(
    name="windrow",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (run, explain, demo, nexmark, warmup, version):
    app.command()(command)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def windrow(
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version and leave.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """A columnar micro-batch stream engine: events in, Arrow batches all the way, exactly-once results."""


def _attach_log() -> None:
    try:
        log = importlib.import_module("windrow.cli.log")
    except ModuleNotFoundError:
        return
    app.add_typer(log.app, name="log", help="Look into an embedded log, and append to it.")


_attach_log()
app.add_typer(dlq, name="dlq", help="Look at dead letters, and send them again.")


def main() -> None:
    """Entry point of the installed command; exit code 1 and one sentence for an error that windrow raised."""
    try:
        app()
    except WindrowError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
