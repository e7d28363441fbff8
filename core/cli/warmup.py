"""``windrow warmup``: compile every kernel now instead of when it is first needed."""

from __future__ import annotations

import time
from collections.abc import Callable

import typer

from windrow.cli import figures


def warmup() -> None:
    """Compile all kernels that are not yet in the cache; done once for each version of windrow and numba."""
    begun = time.perf_counter()
    kernels = warm_up_with_bar()
    typer.echo(f"{kernels} kernels ready in {figures.duration(time.perf_counter() - begun)}", err=True)


def warm_up_with_bar() -> int:
    """Compile or load all kernels, with a progress bar in a terminal; how many there are."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from windrow.runtime.warmup import warm_up

    console = Console(stderr=True)
    counted = 0
    columns = (TextColumn("kernels"), BarColumn(28), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("[dim]{task.description}"))
    with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
        task = bar.add_task("")

        def show(name: str, done: int, total: int) -> None:
            nonlocal counted
            counted = total
            bar.update(task, description=name, completed=done, total=total)

        _call(warm_up, show)
    return counted


def _call(warm_up: Callable[[Callable[[str, int, int], None]], object], show: Callable[[str, int, int], None]) -> None:
    warm_up(show)
