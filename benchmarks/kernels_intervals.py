"""Rows in intervals of their keys."""

from __future__ import annotations

import numpy as np

from benchmarks.harness import Measured, benchmark, median_seconds
from windrow.kernels import intervals


@benchmark(
    "kernels_intervals", "rows of 100k keys in intervals of about two rows", kernels=("intervals.pass_intervals",)
)
def kernels_intervals(scale: float) -> list[Measured]:
    """The first row of each interval, and the last."""
    rows = max(int(4_000_000 * scale), 1_000)
    keys = max(int(100_000 * scale), 10)
    ids = np.random.default_rng(7).integers(0, keys, rows).astype(np.int32)
    times = np.arange(rows, dtype=np.int64)
    ends, last, alone = np.empty(keys, np.int64), np.empty(keys, np.int64), np.empty(keys, np.uint8)
    given = np.empty(rows, np.int64)
    lines = []
    for keep, name in ((intervals.FIRST, "first"), (intervals.LAST, "last")):
        found = 0

        def run(keep: int = keep) -> None:
            nonlocal found
            ends.fill(-(2**62))
            last.fill(-1)
            found = intervals.pass_intervals(ids, times, times, keys, keep, ends, last, alone, given)

        seconds = median_seconds(run)
        lines.append(Measured(rows, rows * 20, seconds, f"{found}:{int(given[:found].sum())}", name))
    return lines
