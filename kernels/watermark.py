"""Event time against the watermark of its own partition."""

from __future__ import annotations

from windrow.kernels._compile import kernel
from windrow.kernels._types import I64, R_I64, W_I64


@kernel(I64(R_I64, I64, I64, W_I64))
def watermark_scan(times, delay, highest, newest):  # type: ignore[no-untyped-def]
    """How many events are older than the watermark just before them; ``newest[0]`` gets the latest time seen.

    `times` int64[n], microseconds; `delay` and `highest` (latest time before this batch) int64 microseconds.
    """
    rows = times.shape[0]
    # In order is the common case, and comparing neighbours runs in vectors: 0.4 ns an event instead of 1.7.
    falls = 0
    for i in range(1, rows):
        falls += times[i] < times[i - 1]
    if falls == 0 and (rows == 0 or times[0] >= highest - delay):
        newest[0] = highest if rows == 0 else max(highest, times[rows - 1])
        return 0
    behind = 0
    for i in range(rows):
        time = times[i]
        behind += time < highest - delay
        highest = max(highest, time)
    newest[0] = highest
    return behind


@kernel(I64(R_I64, I64, I64, W_I64))
def watermark_before(times, delay, highest, watermarks):  # type: ignore[no-untyped-def]
    """``watermarks[i]`` is the watermark just before event i, the latest time before it less `delay`; gives the latest.

    `times` and `watermarks` int64[n], microseconds.
    """
    for i in range(times.shape[0]):
        watermarks[i] = highest - delay
        highest = max(highest, times[i])
    return highest
