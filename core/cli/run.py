"""``windrow run``: run the job of a Python file."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from windrow.cli import figures
from windrow.cli.display import Mode, choose

if TYPE_CHECKING:
    from windrow.runtime.metrics import Progress

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
    timeout: Annotated[
        str | None, typer.Option(metavar="DURATION", help="Stop after a time such as 30s or 5m.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Threads; default: as the job says.")] = None,
    instance: Annotated[
        str | None, typer.Option(help="A name that this process of a group keeps over restarts.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object an epoch on standard output.")] = False,
) -> None:
    """Run a job until it is stopped; Ctrl-C finishes the epoch and commits it."""
    from windrow.cli.jobs import find
    from windrow.units import duration_us

    found = find(job)
    if workers is not None:
        found = found.configured(workers=workers)
    if instance is not None:
        found = found.configured(instance=instance)
    mode: Mode = "json" if as_json else "quiet" if quiet else "live"
    with found, choose(mode, found.name) as display:
        progress = found.run(
            until="caught up" if until else None,
            epochs=epochs,
            timeout=None if timeout is None else duration_us(timeout, "--timeout") / 1e6,
            on_progress=display,
        )
    if mode == "live":
        sys.stderr.write(_summary(progress) + "\n")


def _summary(progress: Progress) -> str:
    if progress.events == 0:
        return "nothing to do: no event has come since the last commit"
    return (
        f"committed up to epoch {progress.epoch}: {figures.count(progress.events)} events, "
        f"{figures.count(progress.rows_out)} results, in {figures.duration(progress.seconds)}"
    )
