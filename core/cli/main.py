"""The `windrow` command: its sub-commands, and errors as one sentence."""

from __future__ import annotations

import sys

import typer

app = typer.Typer(name="windrow", help="A columnar micro-batch stream engine.", no_args_is_help=True)


def main() -> None:
    """Entry point of the installed command."""
    sys.exit(app())
