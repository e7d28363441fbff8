"""Progress bars for work with a known end; a line of text at the end where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from windrow.cli import figures

if TYPE_CHECKING:
    from rich.console import Console

#: ``advance(done, total, detail)``
Advance = Callable[[int, int, str], None]


@contextmanager
def bar(label: str, console: Console) -> Iterator[Advance]:
    """A bar while the block runs; it stays on the screen, full, when the block is done."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    begun = time.perf_counter()
    columns = (
        TextColumn(f"{label:8}"),
        BarColumn(28),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.description}"),
    )
    reached = 0
    with Progress(*columns, console=console, disable=not console.is_terminal) as shown:
        task = shown.add_task("", total=None)

        def advance(done: int, total: int, detail: str = "") -> None:
            nonlocal reached
            reached = done
            shown.update(task, completed=done, total=total, description="" if done == total else detail)

        yield advance
    if not console.is_terminal:
        console.print(f"{label}: {figures.count(reached)} in {figures.duration(time.perf_counter() - begun)}")
