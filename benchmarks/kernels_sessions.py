"""Rows to sessions."""

from __future__ import annotations

import numpy as np

from benchmarks.harness import Measured, benchmark, median_seconds
from windrow.kernels import sessions


@benchmark(
    "kernels_sessions",
    "rows of 100k keys into sessions with a gap of 50 ms, and sessions that have ended taken out",
    kernels=("sessions.assign_sessions", "sessions.expire_sessions"),
)
def kernels_sessions(scale: float) -> list[Measured]:
    """Events a microsecond apart, so that a key's next one is 100 ms away on average: some join, some do not."""
    rows = max(int(1_000_000 * scale), 1_000)
    keys_count = 100_000
    random = np.random.default_rng(13)
    ids = random.integers(0, keys_count, rows).astype(np.int32)
    starts = np.arange(rows, dtype=np.int64)
    none = np.empty(0, np.int64)
    heads = np.empty(keys_count, np.int32)
    older, keys = np.empty(rows, np.int32), np.empty(rows, np.int32)
    froms, first, ends = (np.empty(rows, np.int64) for _ in range(3))
    found, merged, status = np.empty(rows, np.int32), np.empty(2 * rows, np.int32), np.zeros(3, np.int64)

    def assign() -> None:
        heads.fill(-1)
        status.fill(0)
        sessions.assign_sessions(
            ids, starts, none, none, 50_000, 2**62, False, heads, older, keys, froms, first, ends, found, merged, status
        )

    assigned = median_seconds(assign)
    size = int(status[0])
    expired = np.empty(size, np.int32)
    counts = []

    def expire() -> None:
        counts.append(sessions.expire_sessions(rows // 2, size, keys, ends, heads, older, expired))

    gone = median_seconds(expire)
    return [
        Measured(rows, rows * 12, assigned, f"{size}:{found.sum()}:{ends[:size].sum()}", "assign_sessions"),
        Measured(size, size * 12, gone, f"{counts[0]}", "expire_sessions"),
    ]
