"""Event time against the watermark of its own partition."""

from __future__ import annotations

from windrow.kernels._compile import kernel
from windrow.kernels._types import I64, R_I64, W_I64


@kernel(I64(R_I64, I64, I64, W_I64))
def watermark_scan(times, delay, highest, newest):  # type: ignore[no-untyped-def]
    """How many events are older than the watermark just before them; ``newest[0]`` gets the latest time seen.

    `times` int64[n], microseconds; `delay` and `highest` (latest time before this batch) int64 microseconds.
    """
    behind = 0
    for i in range(times.shape[0]):
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
