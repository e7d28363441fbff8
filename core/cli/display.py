"""How a running job looks: a live panel in a terminal, a line now and then elsewhere, or JSON for programs.

A display is a context manager that is called with every `Progress`; it never looks at the job itself. People's
displays go to standard error, so that standard output belongs to results and JSON.
"""

from __future__ import annotations

import json
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, Self

from windrow.cli import figures
from windrow.units import format_time_us

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from windrow.runtime.metrics import Progress

Mode = Literal["live", "lines", "json", "quiet"]


class Display(Protocol):
    """Shows progress between ``__enter__`` and ``__exit__``."""

    def __call__(self, progress: Progress) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def choose(mode: Mode, title: str, *, every_s: float = 10.0, console: Console | None = None) -> Display:
    """The display for `mode`; ``live`` turns into lines, one every `every_s`, where there is no terminal."""
    if mode == "quiet":
        return Quiet()
    if mode == "json":
        return JsonLines()
    if console is None:
        from rich.console import Console

        console = Console(stderr=True)
    return Live(title, console) if mode == "live" and console.is_terminal else Lines(title, every_s)


class Quiet:
    """Shows nothing; the base of the others."""

    def __call__(self, progress: Progress) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


class JsonLines(Quiet):
    """One JSON object a line on standard output, one line an epoch."""

    def __init__(self) -> None:
        self._epoch: int | None = None

    def __call__(self, progress: Progress) -> None:
        if progress.epoch == self._epoch:  # nothing has come since
            return
        self._epoch = progress.epoch
        sys.stdout.write(json.dumps(progress.as_dict()) + "\n")
        sys.stdout.flush()


class Lines(Quiet):
    """A line of text on standard error every so often, and one at the end."""

    def __init__(self, title: str, every_s: float) -> None:
        self._title = title
        self._every_s = every_s
        self._shown_at = time.monotonic()
        self._unshown: Progress | None = None

    def __call__(self, progress: Progress) -> None:
        self._unshown = progress
        now = time.monotonic()
        if now - self._shown_at >= self._every_s:
            self._shown_at = now
            self._show()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._show()

    def _show(self) -> None:
        if self._unshown is not None:
            sys.stderr.write(f"{self._title}: {line(self._unshown)}\n")
            sys.stderr.flush()
            self._unshown = None


class Live(Quiet):
    """A panel that is redrawn in place, eight times a second at most."""

    def __init__(self, title: str, console: Console) -> None:
        from rich.live import Live as RichLive

        self._title = title
        self._begun = time.monotonic()
        self._progress: Progress | None = None
        self._live = RichLive(console=console, refresh_per_second=8, get_renderable=self._render)

    def __call__(self, progress: Progress) -> None:
        self._progress = progress

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def _render(self) -> RenderableType:
        return panel(self._title, self._progress, time.monotonic() - self._begun)


def line(progress: Progress) -> str:
    """Progress as one line of text."""
    parts = [
        f"epoch {progress.epoch}",
        f"{figures.count(progress.events)} events",
        f"{figures.short(progress.events_per_s)} events/s",
        f"{figures.size(progress.bytes)}",
        f"watermark {format_time_us(progress.watermark_us)}",
        f"lag {figures.count(progress.lag)}",
        f"{figures.count(progress.rows_out)} results",
        f"state {figures.size(progress.state_bytes)}",
        f"commit {progress.commit_ms:.1f} ms",
        f"{figures.duration(progress.seconds)}",
    ]
    return ", ".join(parts + _troubles(progress) + progress.stopped + progress.restoring)


def panel(title: str, progress: Progress | None, elapsed_s: float) -> RenderableType:
    """Progress as a panel: totals in the middle, rates and what goes with them on the right."""
    from rich.markup import escape
    from rich.panel import Panel
    from rich.table import Table

    grid = Table.grid(padding=(0, 3))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(justify="right", style="bold", no_wrap=True, min_width=13)
    grid.add_column(no_wrap=True)
    if progress is None:
        grid.add_row("waiting for the first epoch", "", "")
    else:
        _fill(grid, progress)
    return Panel(
        grid,
        title=f"[bold]{escape(title)}",
        title_align="left",
        subtitle=f"[dim]{figures.duration(elapsed_s)}",
        subtitle_align="right",
        expand=False,
    )


def _fill(grid: Any, progress: Progress) -> None:
    from rich.markup import escape
    from rich.progress_bar import ProgressBar

    there = progress.events + progress.lag
    grid.add_row("events", figures.count(progress.events), f"{figures.short(progress.events_per_s)} events/s")
    grid.add_row("bytes", figures.size(progress.bytes), f"{figures.size(progress.bytes_per_s)}/s")
    grid.add_row("lag", figures.count(progress.lag), ProgressBar(max(there, 1), progress.events, width=28))
    grid.add_row("watermark", "", format_time_us(progress.watermark_us))
    grid.add_row("epoch", figures.count(progress.epoch), f"commit {progress.commit_ms:.1f} ms")
    grid.add_row("results", figures.count(progress.rows_out), f"state {figures.size(progress.state_bytes)}")
    troubles = _troubles(progress)
    if troubles:
        grid.add_row("[yellow]left out", "", f"[yellow]{', '.join(troubles)}")
    for what, sentences in (("[red]stopped", progress.stopped), ("restoring", progress.restoring)):
        for sentence in sentences:
            grid.add_row(what, "", escape(sentence))


def _troubles(progress: Progress) -> list[str]:
    late, rejected = progress.late_rows, progress.rejected_rows
    return [f"{figures.count(n)} {what}" for n, what in ((late, "late"), (rejected, "rejected")) if n]
