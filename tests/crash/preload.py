"""Everything a child needs, imported and compiled before the first fork."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import numpy.ma  # noqa: F401  polars imports it when it first needs it

import windrow
from windrow import kernels
from windrow.kernels._compile import registry


def preload() -> None:
    """Import all of windrow but its command line, and load every kernel from the disk cache (or compile it)."""
    for module in pkgutil.walk_packages(windrow.__path__, "windrow."):
        if not module.name.startswith("windrow.cli"):
            importlib.import_module(module.name)
    for module in pkgutil.iter_modules([str(Path(kernels.__file__).parent)]):
        importlib.import_module(f"windrow.kernels.{module.name}")
    for kernel in registry.values():
        kernel.compile()
