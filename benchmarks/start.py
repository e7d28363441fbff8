"""How long a user waits before anything happens: processes started afresh, files in the page cache."""

from __future__ import annotations

import subprocess
import sys

from benchmarks.harness import Measured, benchmark, median_seconds

_WAYS = {
    "python alone": ("-c", "pass"),
    "import windrow": ("-c", "import windrow"),
    "windrow --help": ("-m", "windrow.cli.main", "--help"),
}


@benchmark("start", "a new Python process that imports windrow or shows the help of its command")
def start(scale: float) -> list[Measured]:
    """Whole processes, so the interpreter's own start is in every figure; the checksum is the length of the output."""
    results = []
    for variant, arguments in _WAYS.items():
        command = [sys.executable, *arguments]
        output = subprocess.run(command, check=True, capture_output=True).stdout

        def run(command: list[str] = command) -> None:
            subprocess.run(command, check=True, capture_output=True)

        seconds = median_seconds(run, runs=max(1, round(7 * scale)))
        results.append(Measured(1, 0, seconds, str(len(output)), variant))
    return results
