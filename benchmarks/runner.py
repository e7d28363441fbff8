"""Runs benchmarks, each in a process of its own, so that memory, caches and pinning of one say nothing of another."""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import benchmarks
from benchmarks import machine
from benchmarks.harness import Benchmark, Measured, Seconds, registry

_NOT_BENCHMARKS = {"__main__", "runner", "machine", "harness"}
_ROOT = Path(__file__).parent.parent
_JAVA_MORE = re.compile(r"\.\.\. \d+ (more|common frames omitted)")


class BenchmarkError(Exception):
    """A benchmark that does not exist or did not come to its end."""


def load_all() -> dict[str, Benchmark]:
    """Import every module of this folder; the registry they fill, in alphabetical order."""
    for module in pkgutil.iter_modules(benchmarks.__path__):
        if not module.ispkg and module.name not in _NOT_BENCHMARKS:
            importlib.import_module(f"benchmarks.{module.name}")
    return dict(sorted(registry.items()))


def select(names: list[str]) -> list[Benchmark]:
    """The benchmarks of these names, in that order; ``all`` stands for every one."""
    known = load_all()
    if "all" in names:
        return list(known.values())
    unknown = [name for name in names if name not in known]
    if unknown:
        raise BenchmarkError(f"no benchmark {', '.join(unknown)}; there are: {', '.join(known)}")
    return [known[name] for name in names]


def run_apart(chosen: Benchmark, scale: float, pin: bool) -> list[dict[str, Any]]:
    """Run one benchmark in a new process; its result lines."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results"
        command = [sys.executable, "-m", "benchmarks", "measure", chosen.name, str(results), "--scale", str(scale)]
        if pin:
            command.append("--pin")
        done = subprocess.run(
            command, cwd=_ROOT, env=_environment(chosen), check=False, stderr=subprocess.PIPE, text=True,
            errors="replace",
        )  # fmt: skip
        sys.stderr.write(done.stderr)
        if done.returncode != 0:
            why = last_words(done.stderr)
            raise BenchmarkError(f"{chosen.name} ended with exit code {done.returncode}{': ' * bool(why)}{why}")
        return [json.loads(line) for line in results.read_text().splitlines()]


def last_words(errors: str) -> str:
    """Of what a process wrote to its error output, the last line that says something: frames of Java are passed over,
    which follow what they are of."""
    lines = [line.strip() for line in errors.splitlines()]
    said = [line for line in lines if line and not line.startswith("at ") and not _JAVA_MORE.fullmatch(line)]
    return said[-1][:500] if said else ""


def measure(name: str, scale: float, pin: bool) -> Iterator[dict[str, Any]]:
    """Run one benchmark in this process; its result lines. Peak memory is that of the whole process up to then."""
    (chosen,) = select([name])
    if pin and chosen.workers == 1:
        machine.pin_to_one_core()
    _limit_arrow_threads(chosen.workers)
    for measured in chosen.run(scale):
        yield as_line(name, scale, measured)


def as_line(name: str, scale: float, measured: Measured) -> dict[str, Any]:
    """One result as it is written with --json."""
    return {
        "name": name,
        "variant": measured.variant,
        "events": measured.events,
        "bytes": measured.bytes,
        "seconds": measured.seconds,
        "runs": list(measured.seconds.runs) if isinstance(measured.seconds, Seconds) else [measured.seconds],
        "events_per_s": round(measured.events / measured.seconds) if measured.seconds > 0 else None,
        "cores": machine.cores(),
        "workers": measured.workers,
        "rss_mb": machine.peak_rss_mb(),
        "checksum": measured.checksum,
        "scale": scale,
        "versions": machine.versions(),
        "machine": machine.describe(),
        "extra": dict(measured.extra),
    }


def _environment(chosen: Benchmark) -> dict[str, str]:
    """Pools of threads are sized before the libraries are imported: a figure for one worker must not use more."""
    threads = str(chosen.workers)
    return {**os.environ, "POLARS_MAX_THREADS": threads, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads}


def _limit_arrow_threads(threads: int) -> None:
    import pyarrow as pa

    pa.set_cpu_count(threads)
