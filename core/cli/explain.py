"""``windrow explain``: show what a job would do."""

from __future__ import annotations

import typer

from windrow.cli.run import JobArgument


def explain(job: JobArgument) -> None:
    """Show the plan of a job; nothing runs."""
    from windrow.cli.jobs import find

    typer.echo(find(job).explain().rstrip("\n"))
