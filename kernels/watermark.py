"""Event time against the watermark of its own partition."""

from __future__ import annotations

from windrow.kernels._compile import kernel
from windrow.kernels._types import I64, R_I64, W_I64

_BLOCK = 1_024


@kernel(I64(R_I64, I64, W_I64))
def watermark_scan(times, delay, bounds):  # type: ignore[no-untyped-def]
    """How many events are older than the latest one before them in `times`, less `delay`; the earliest and the latest
    time go into `bounds`.

    `times` int64[n], n > 0, and `delay`, microseconds; `bounds` int64[2].
    """
    least = times[0]
    highest = times[0]
    behind = 0
    # The bounds of a block run in vectors, and mostly tell that nothing in it can be behind: 0.1 ns an event, not 1.7.
    for start in range(0, times.size, _BLOCK):
        block = times[start : start + _BLOCK]  # counted from 0, or LLVM sees no vectors
        first = block[0]
        last = block[0]
        for i in range(block.size):
            first = min(first, block[i])
            last = max(last, block[i])
        least = min(least, first)
        if first < max(highest, last) - delay:
            for i in range(block.size):
                behind += block[i] < highest - delay
                highest = max(highest, block[i])
        highest = max(highest, last)
    bounds[0] = least
    bounds[1] = highest
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
