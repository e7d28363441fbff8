"""``windrow demo``: the main job on generated events, from nothing to results."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from windrow.cli import figures
from windrow.cli.display import choose

if TYPE_CHECKING:
    from rich.console import Console

    from windrow.api.job import Job
    from windrow.cli.demo_data import Place
    from windrow.runtime.metrics import Progress


def demo(
    events: Annotated[int, typer.Option(min=1, help="How many events to generate.")] = 5_000_000,
    data: Annotated[Path, typer.Option(help="Where events and results are kept.")] = Path("demo-data"),
    workers: Annotated[int | None, typer.Option(min=1, help="Threads; default: one a core.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Go on from an earlier run's last commit.")] = False,
    kafka: Annotated[str | None, typer.Option(metavar="HOST:PORT", help="From Kafka to Kafka instead.")] = None,
) -> None:
    """Generate auction events, run a pipeline over them, and show its results.

    Persons, auctions and bids by the rules of the Nexmark benchmark, as JSON in an embedded log; bids are counted per
    auction in windows of 10 s that hop by 2 s, and the highest bid of every 10 s is found. The events are written once;
    the results are computed anew each time, unless --keep is given.
    """
    begun = time.perf_counter()
    from rich.console import Console

    from windrow.cli.demo_data import Place
    from windrow.cli.warmup import compile_kernels

    console = Console(stderr=True)
    if kafka is not None:
        compile_kernels(console)
        _on_kafka(kafka, events, workers, console, begun)
        return
    place = Place(data)
    place.prepare(events, keep_results=keep)
    compile_kernels(console)
    _make_events(place, events, console)

    from windrow.cli.demo_pipeline import pipeline

    job = pipeline(place.events, place.results, workers)
    progress, first_s = _run(job, begun)
    _show(place, progress, first_s)


def _on_kafka(bootstrap: str, events: int, workers: int | None, console: Console, begun: float) -> None:
    from windrow.cli.bars import bar
    from windrow.cli.demo_kafka import Place, show

    place = Place(bootstrap, events)
    if place.missing():
        with bar("events", console) as advance:
            place.write_events(advance)
    progress, first_s = _run(place.job(workers), begun)
    out = _out()
    show(place, out)
    _summary(out, progress, first_s)


def _make_events(place: Place, events: int, console: Console) -> None:
    from windrow.cli.bars import bar
    from windrow.cli.demo_data import missing, write_events

    if missing(place, events):
        with bar("events", console) as advance:
            write_events(place, events, advance)
    else:
        console.print(f"events: {figures.count(events)} are in {place.events} from an earlier run", highlight=False)


def _run(job: Job, begun: float) -> tuple[Progress, float | None]:
    """Run to the end; how it ended, and how long after `begun` the first results were committed."""
    first_s: float | None = None
    with job, choose("live", "demo", every_s=1.0) as display:

        def show(progress: Progress) -> None:
            nonlocal first_s
            if first_s is None and progress.rows_out:
                first_s = time.perf_counter() - begun
            display(progress)

        return job.run(until="caught up", on_progress=show), first_s


def _show(place: Place, progress: Progress, first_s: float | None) -> None:
    from windrow.cli.demo_results import show_results

    console = _out()
    show_results(place, console)
    _summary(console, progress, first_s)
    console.print(f"It lies in {place.folder}: an embedded log with the events, one with the results. Look at it with")
    console.print(f"  windrow log head {place.results} hot_auctions")
    console.print(f"  windrow log ls {place.events}")


def _out() -> Console:
    from rich.console import Console

    return Console(highlight=False, soft_wrap=True)


def _summary(console: Console, progress: Progress, first_s: float | None) -> None:
    if progress.events:
        seconds = max(progress.seconds, 1e-9)
        console.print(
            f"{figures.count(progress.events)} events ({figures.size(progress.bytes)}) in {figures.duration(seconds)}: "
            f"{figures.short(progress.events / seconds)} events/s, every epoch committed exactly once"
            + (f"; first results {figures.duration(first_s)} after the start" if first_s is not None else "")
        )
    else:
        console.print("the job was complete already: these are the results of the earlier run")
