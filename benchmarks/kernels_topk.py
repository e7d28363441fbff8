"""The first rows of each group."""

from __future__ import annotations

import numpy as np

from benchmarks.harness import Measured, benchmark, median_seconds
from windrow.kernels import topk


@benchmark("kernels_topk", "the ten least of random rows in 100k groups, two keys", kernels=("topk.rank_rows",))
def kernels_topk(scale: float) -> list[Measured]:
    """As they come to rank 1, and when all places are taken by better rows, which is what most rows find."""
    rows, size = max(int(4_000_000 * scale), 1_000), 10
    groups_count = max(int(100_000 * scale), 10)
    random = np.random.default_rng(5)
    groups = random.integers(0, groups_count, rows).astype(np.int32)
    keys = random.integers(0, 2**40, 2 * rows)
    slot_keys, slot_rows = np.empty(groups_count * size * 2, np.int64), np.empty(groups_count * size, np.int64)
    counts, touched = np.empty(groups_count, np.int32), np.empty(groups_count, np.uint8)
    touched_groups, before = np.empty(groups_count, np.int32), np.empty(groups_count * size, np.int64)

    def rank() -> None:
        touched.fill(0)
        topk.rank_rows(groups, keys, 2, 0, size, slot_keys, slot_rows, counts, touched, touched_groups, before)

    def afresh() -> None:
        counts.fill(0)
        rank()

    filling = median_seconds(afresh)
    checksum = f"{int(slot_rows.sum())}"
    later = keys + 2**41
    keys = later
    passing = median_seconds(rank)
    return [
        Measured(rows, rows * 20, filling, checksum, "filling"),
        Measured(rows, rows * 20, passing, f"{int(slot_rows.sum())}", "none is better"),
    ]
