"""``windrow warmup``: compile every kernel now instead of when it is first needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console


def warmup() -> None:
    """Compile all kernels that are not yet in the cache; needed once for each version of windrow and numba."""
    from rich.console import Console

    compile_kernels(Console(stderr=True))


def compile_kernels(console: Console) -> None:
    """Compile or load all kernels, with a progress bar."""
    from windrow.cli.bars import bar
    from windrow.runtime.warmup import warm_up

    with bar("kernels", console) as advance:
        warm_up(lambda name, done, total: advance(done, total, name))
