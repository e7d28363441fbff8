"""``windrow run``: run the job of a Python file."""

from __future__ import annotations

import sys
from typing import Annotated, Literal

import typer

from windrow.cli import figures
from windrow.cli.display import Mode, Progress, choose

JobArgument = Annotated[
    str, typer.Argument(metavar="FILE.py[:JOB]", help="A Python file, and the name of the job in it (default: job).")
]


def run(
    job: JobArgument,
    until: Annotated[
        Literal["caught-up"] | None,
        typer.Option(help="Stop when everything that was there at the start is processed. Default: run on."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Stop after so many epochs.")] = None,
    timeout: Annotated[str | None, typer.Option(metavar="DURATION", help="Stop after a time such as 30s or 5m.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads; default: as the job says.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object an epoch on standard output.")] = False,
) -> None:
    """Run a job until it is stopped; Ctrl-C finishes the epoch and commits it."""
    from windrow.cli.jobs import find, stopped_by_signals

    found = find(job)
    if workers is not None:
        found.workers = workers
    mode: Mode = "json" if as_json else "quiet" if quiet else "live"
    last: list[Progress] = []
    with choose(mode, job) as display, stopped_by_signals(found):

        def show(progress: Progress) -> None:
            last[:] = [progress]
            display(progress)

        found.run(
            until="caught up" if until else None,
            epochs=epochs,
            timeout=timeout,
            on_progress=show,
        )
    if mode == "live":
        sys.stderr.write(_summary(last[0] if last else None) + "\n")


def _summary(progress: Progress | None) -> str:
    if progress is None:
        return "nothing to do: no event has come since the last commit"
    return (
        f"committed up to epoch {progress.epoch}: {figures.count(progress.events)} events, "
        f"{figures.count(progress.rows_out)} results, in {figures.duration(progress.seconds)}"
    )
