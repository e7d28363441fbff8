"""Event times to panes, pairs to rows, events to count windows."""

from __future__ import annotations

import numpy as np

from benchmarks.harness import Measured, benchmark, median_seconds
from windrow.kernels import windows


@benchmark(
    "kernels_windows",
    "pane of each row (hopping 10 s by 2 s), row of each (pane, key) pair, number of each count window",
    kernels=(
        "windows.least_and_most",
        "windows.pane_codes",
        "windows.open_codes",
        "windows.pair_rows",
        "windows.pair_index",
        "windows.number_windows",
    ),
)
def kernels_windows(scale: float) -> list[Measured]:
    """Each kernel over rows that are nearly in order of time, of 100k keys."""
    rows = max(int(1_000_000 * scale), 1_000)
    random = np.random.default_rng(12)
    times = np.arange(rows, dtype=np.int64) * 40 + random.integers(-10_000, 10_000, rows) + 10**15
    ids = random.integers(0, 100_000, rows).astype(np.int32)
    bounds = np.empty(2, np.int64)
    least = median_seconds(lambda: windows.least_and_most(times, bounds))
    codes, none = np.empty(rows, np.int64), np.empty(0, np.int64)
    grid = (0, 2_000_000, 10_000_000, 2_000_000, 5, 0)
    panes = median_seconds(lambda: windows.pane_codes(times, none, -(2**62), *grid, codes))
    measured = [
        Measured(rows, rows * 8, least, f"{bounds.sum()}", "least_and_most"),
        Measured(rows, rows * 8, panes, f"{codes.sum()}", "pane_codes"),
    ]
    first, mixed, again_codes = int(bounds[0]) // 2_000_000, random.permutation(times), np.empty(rows, np.int64)
    for name, given in (("open_codes", times), ("open_codes, in no order", mixed)):
        opened = median_seconds(
            lambda t=given: windows.open_codes(t, first * 2_000_000, first, 2_000_000, 5, again_codes)  # type: ignore[misc]
        )
        measured.append(Measured(rows, rows * 8, opened, f"{again_codes.sum()}", name))

    slots = np.full(1 << (2 * rows).bit_length(), -1, np.int32)
    row_codes, row_numbers, found = np.empty(rows, np.int64), np.empty(rows, np.int32), np.empty(rows, np.int32)
    size = windows.pair_rows(codes, ids, 0, slots, row_codes, row_numbers, found)
    again = median_seconds(lambda: windows.pair_rows(codes, ids, size, slots, row_codes, row_numbers, found))
    measured.append(Measured(rows, rows * 12, again, f"{size}:{found.sum()}", "pair_rows"))

    def index() -> None:
        slots.fill(-1)
        windows.pair_index(row_codes[:size], row_numbers[:size], slots)

    measured.append(Measured(size, size * 12, median_seconds(index), f"{(slots >= 0).sum()}", "pair_index"))
    seen, numbers = np.zeros(100_000, np.int64), np.empty(rows, np.int64)
    counted = median_seconds(lambda: windows.number_windows(ids, 100, seen, numbers))
    measured.append(Measured(rows, rows * 4, counted, f"{numbers.sum()}", "number_windows"))
    return measured
