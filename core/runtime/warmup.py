"""Compile every kernel ahead of its first use."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable

from windrow import kernels
from windrow.kernels._compile import registry


def warm_up(progress: Callable[[str, int, int], None] | None = None) -> int:
    """Compile all kernels, or load from disk what an earlier process compiled; how many there are.

    ``progress(name, done, total)`` is called before each kernel and once more at the end. Kernels come one after the
    other: numba compiles under one lock, so threads would not make it quicker.
    """
    for module in pkgutil.iter_modules(kernels.__path__):
        importlib.import_module(f"{kernels.__name__}.{module.name}")
    every = sorted(registry.items())
    for done, (name, kernel) in enumerate(every):
        if progress is not None:
            progress(name, done, len(every))
        kernel.compile()
    if progress is not None:
        progress("", len(every), len(every))
    return len(every)
