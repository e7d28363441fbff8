"""Batches that leave a state: keys, window bounds, aggregates, and a weight where they are updates."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from windrow.batch import WEIGHT, Int64s
from windrow.plan.window import ROW_COUNT
from windrow.state.accumulators.base import Lanes
from windrow.state.accumulators.rows import finish

if TYPE_CHECKING:
    from windrow.state.aggregations.keyed import KeyedState

_TIMESTAMP = pa.timestamp("us", "UTC")


def window_batch(
    state: KeyedState, keys: Sequence[pa.Array], starts: Int64s, ends: Int64s, lanes: Sequence[Lanes], weight: int = 1
) -> pa.RecordBatch:
    """Results of time windows, with this weight if they are changes."""
    bounds = {"window_start": pa.array(starts).view(_TIMESTAMP), "window_end": pa.array(ends).view(_TIMESTAMP)}
    return result_batch(state, keys, bounds, lanes, len(starts), weight)


def result_batch(
    state: KeyedState,
    keys: Sequence[pa.Array],
    bounds: dict[str, pa.Array],
    lanes: Sequence[Lanes],
    size: int,
    weight: int = 1,
) -> pa.RecordBatch:
    """Results in the order of the output schema; `size` rows, with this weight if they are changes."""
    return rows_of(state, keys, bounds, finish(state.accumulators, lanes, size), size, weight)


def rows_of(
    state: KeyedState,
    keys: Sequence[pa.Array],
    bounds: dict[str, pa.Array],
    values: Sequence[pa.Array],
    size: int,
    weight: int = 1,
) -> pa.RecordBatch:
    """The same of finished values."""
    aggregation = state.aggregation
    columns = dict(zip(aggregation.keys, keys, strict=True)) | bounds
    columns |= {wanted.name: value for wanted, value in zip(aggregation.aggregates, values, strict=True)}
    columns.pop(ROW_COUNT, None)
    if aggregation.emit == "current" or aggregation.window is None:
        columns[WEIGHT] = pa.array(np.full(size, weight, np.int8))
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
