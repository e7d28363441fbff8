"""Watermark kernels over event times in memory."""

from __future__ import annotations

import numpy as np

from benchmarks.harness import Measured, benchmark, median_seconds
from windrow.kernels import watermark


@benchmark(
    "kernels_watermark",
    "event times against their partition's watermark",
    kernels=("watermark.watermark_scan", "watermark.watermark_before"),
)
def kernels_watermark(scale: float) -> list[Measured]:
    """Times in order but for a few milliseconds of noise."""
    rows = max(int(4_000_000 * scale), 1_000)
    times = np.arange(rows, dtype=np.int64) * 10 + np.random.default_rng(7).integers(-5_000, 5_000, rows)
    bounds, marks = np.zeros(2, np.int64), np.zeros(rows, np.int64)
    scan = median_seconds(lambda: watermark.watermark_scan(times, 4_000, bounds))
    behind = watermark.watermark_scan(times, 4_000, bounds)
    near = median_seconds(lambda: watermark.watermark_scan(times, 20_000, bounds))
    before = median_seconds(lambda: watermark.watermark_before(times, 4_000, 0, marks))
    return [
        Measured(rows, times.nbytes, scan, f"{behind}:{bounds[1]}", "scan"),
        Measured(rows, times.nbytes, near, f"{bounds.sum()}", "scan, none behind"),
        Measured(rows, times.nbytes * 2, before, f"{marks.sum()}", "before"),
    ]
