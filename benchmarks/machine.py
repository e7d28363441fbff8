"""What a figure was measured on and with: without it no figure means anything."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

_PACKAGES = ("numba", "numpy", "pyarrow", "polars", "windrow")


def cores() -> int:
    """Cores that this process may run on now."""
    return len(os.sched_getaffinity(0))


def pin_to_one_core() -> None:
    """Stay on one of the cores there are; the last one, since interrupts tend to be served by the first."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def peak_rss_mb() -> float:
    """Most memory this process has held, in MB.

    Not ``ru_maxrss``: Linux carries that over from the parent when a process is started.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return round(int(line.split()[1]) * 1024 / 1e6, 1)
    return 0.0


def versions() -> dict[str, str]:
    """Python and the packages whose version changes a figure."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        found[package] = metadata.version(package)
    return found


def describe() -> dict[str, Any]:
    """The machine: processor, cores, memory, kernel."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
