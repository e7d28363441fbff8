"""Rows to shards by the hash of their keys. Which shard a key has never changes: state lies there."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from windrow.batch import Int32s, Int64s, take_rows
from windrow.kernels import hashing
from windrow.state.keys.hashes import key_hashes


def split(batch: pa.RecordBatch, keys: tuple[str, ...], shards: int) -> list[pa.RecordBatch | None]:
    """The rows of each shard in their order, None for a shard without rows; with no keys everything is shard 0's.

    Each column is gathered once, in the order of the shards, and the parts are slices of that. A value has the same
    shard whether its column is string, large_string or string_view, and whatever the width of an integer or float.

    Raises `PlanError` for a key column whose type cannot be a key.
    """
    parts: list[pa.RecordBatch | None] = [None] * shards
    n = batch.num_rows
    if n == 0:
        return parts
    if shards == 1 or not keys:
        parts[0] = batch
        return parts
    numbers, counts = shard_numbers([batch.column(name) for name in keys], shards)
    only = int(numbers[0])
    if counts[only] == n:
        parts[only] = batch
        return parts
    starts = np.zeros(shards, np.int64)
    np.cumsum(counts[:-1], out=starts[1:])
    rows = np.empty(n, np.int64)
    hashing.rows_by_shard(numbers, starts, rows)  # moves starts to where the shards end
    gathered = take_rows(batch, rows)
    for shard in np.flatnonzero(counts).tolist():
        count = int(counts[shard])
        parts[shard] = gathered.slice(int(starts[shard]) - count, count)
    return parts


def shard_numbers(keys: Sequence[pa.Array], shards: int) -> tuple[Int32s, Int64s]:
    """Shard of each row, and the number of rows of each shard."""
    hashes = key_hashes(keys)
    numbers = np.empty(len(hashes), np.int32)
    counts = np.empty(4 * shards, np.int64)
    hashing.shard_numbers(hashes, shards, numbers, counts)
    return numbers, counts[:shards]
