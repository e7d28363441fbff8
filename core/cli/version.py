"""``windrow version``: what runs here."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from windrow import __version__

_PACKAGES = ("pyarrow", "numpy", "numba", "polars")


def version(as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False) -> None:
    """Show the versions of windrow and of what it stands on, and where compiled kernels are kept."""
    found = versions()
    if as_json:
        typer.echo(json.dumps(found))
        return
    for name, value in found.items():
        typer.echo(f"{name:8} {value}")


def versions() -> dict[str, str]:
    """Versions by package name, read from what is installed without importing it."""
    import platform
    from importlib import metadata

    found = {"windrow": __version__, "python": platform.python_version()}
    found |= {package: metadata.version(package) for package in _PACKAGES}
    found["kernels"] = str(_cache_folder())
    return found


def _cache_folder() -> object:
    from windrow.kernels._compile import cache_root

    return cache_root()
