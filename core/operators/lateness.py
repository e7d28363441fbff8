"""Which rows come too late.

A row is late when every window it belongs to was closed before it: by the watermark of its own partition just before
the row, or by the shard, which is ahead of that only after the partition was idle. Both depend on the partition's own
events and on what was committed, and so not on how the input is cut.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from windrow.batch import TIME, WATERMARK, Int64s, view
from windrow.units import BEFORE_TIME_US


class Closed:
    """Up to where the shards have closed windows; told by the runtime between epochs."""

    def __init__(self) -> None:
        self.closed_us = BEFORE_TIME_US

    def until(self, watermark_us: int) -> None:
        self.closed_us = max(self.closed_us, watermark_us)


def times_of(batch: pa.RecordBatch) -> Int64s:
    """Event times, microseconds."""
    times: Int64s = view(batch.column(TIME), np.int64)  # type: ignore[assignment]
    return times


def watermarks_of(batch: pa.RecordBatch) -> Int64s | None:
    """Each row's own watermark; None: no row is older than it."""
    if WATERMARK not in batch.schema.names:
        return None
    watermarks: Int64s = view(batch.column(WATERMARK), np.int64)  # type: ignore[assignment]
    return watermarks


def limits(batch: pa.RecordBatch, closed_us: int, lateness_us: int = 0) -> Int64s | None:
    """For each row the time up to which windows are closed for it, `lateness_us` after their end; None: none of its
    windows is."""
    watermarks = watermarks_of(batch)
    if watermarks is not None:
        return np.maximum(watermarks, closed_us) - lateness_us
    times = times_of(batch)
    if closed_us > BEFORE_TIME_US and len(times) and int(times.min()) <= closed_us - lateness_us:
        return np.full(len(times), closed_us - lateness_us, np.int64)
    return None
