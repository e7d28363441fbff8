"""What a run of the suite was made on, with what, when and from which code."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks import machine

ROOT = Path(__file__).parents[2]
_CACHES = Path("/sys/devices/system/cpu/cpu0/cache")


def run_facts(size: str, command: str) -> dict[str, Any]:
    """Machine, versions, date (UTC), commit and command: what every line of the run is written with."""
    return {
        "size": size,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "command": command,
        "machine": {**machine.describe(), **caches(), "virtual": _virtual()},
        "versions": {**machine.versions(), "java": _java()},
    }


def caches() -> dict[str, int]:
    """Bytes of the data caches that the first core can use, by level: {"l1": .., "l2": .., "l3": ..}."""
    found = {}
    for folder in sorted(_CACHES.glob("index*")) if _CACHES.is_dir() else ():
        if (folder / "type").read_text().strip() != "Instruction":
            size = (folder / "size").read_text().strip()
            found[f"l{(folder / 'level').read_text().strip()}"] = int(size.rstrip("K")) * 1024
    return found


def busy_cores(seconds: float = 0.5) -> float:
    """How many cores are at work now, whoever uses them."""
    (idle, total), begun = _jiffies(), time.monotonic()
    time.sleep(seconds)
    later_idle, later_total = _jiffies()
    passed = time.monotonic() - begun
    share = 1 - (later_idle - idle) / max(later_total - total, 1)
    return round(share * (os.cpu_count() or 1), 2) if passed else 0.0


def wait_until_quiet(seconds: float, cores: float = 0.3) -> float:
    """Wait, at most so long, until other processes leave the machine alone; how many cores they still use."""
    until = time.monotonic() + seconds
    busy = busy_cores()
    while busy > cores and time.monotonic() < until:
        busy = busy_cores(1.0)
    return busy


def _jiffies() -> tuple[int, int]:
    """Idle (with waiting for disks) and all time since boot."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return fields[3] + fields[4], sum(fields)


def _commit() -> str:
    """The commit, with a + when files differ from it; empty outside of a checkout."""
    if shutil.which("git") is None:
        return ""
    commit = _output("git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD")
    changed = _output("git", "-C", str(ROOT), "status", "--porcelain", "--", "core", "kernels", "benchmarks/*.py")
    return commit + ("+" if changed else "")


def _java() -> str:
    """The Java that peers on the JVM run on; empty without one."""
    java = shutil.which("java")
    if java is None:
        return ""
    done = subprocess.run([java, "-version"], capture_output=True, text=True, check=False, timeout=30)
    lines = [line for line in done.stderr.splitlines() if "version" in line]
    return lines[0].split('"')[1] if lines and '"' in lines[0] else ""


def _virtual() -> bool:
    return "hypervisor" in Path("/proc/cpuinfo").read_text()


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    return done.stdout.strip() if done.returncode == 0 else ""
