"""Aggregates over frames of ordered rows: each frame is a slice of neighbours, never empty."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from windrow.arrow_types import to_arrow_type
from windrow.batch import Bytes, Int64s, bools, validity
from windrow.errors import AggregateError
from windrow.plan.over import Over
from windrow.plan.window import Aggregate
from windrow.state.columns import fits_int, from_floats, from_ints, is_float, to_floats, to_ints

_SAFE = float(2**62)
Numbers = npt.NDArray[np.generic]


def frames(over: Over, groups: npt.NDArray[np.int32], places: Int64s) -> tuple[Int64s, Int64s]:
    """For each row, in order of group and place, where its frame starts and ends."""
    size = len(groups)
    rows = np.arange(size)
    starts = np.searchsorted(groups, groups, "left")
    ends = np.searchsorted(groups, groups, "right")
    if over.unit == "rows":
        return np.maximum(rows - over.before, starts), np.minimum(rows + over.after + 1, ends)
    low, high = np.empty(size, np.int64), np.empty(size, np.int64)
    for start in np.unique(starts):
        end = ends[start]
        mine = places[start:end]
        low[start:end] = start + np.searchsorted(mine, mine - over.before, "left")
        high[start:end] = start + np.searchsorted(mine, mine + over.after, "right")
    return low, high


def framed(aggregate: Aggregate, rows: pa.RecordBatch, starts: Int64s, ends: Int64s) -> pa.Array:
    """The aggregate over each frame of ordered rows."""
    size = rows.num_rows
    counts = np.ones(size, np.int64)
    if aggregate.where is not None:
        where = rows.column(aggregate.where)
        counts = (bools(where) & _valid(where)).astype(np.int64)
    if aggregate.column is None:
        return from_ints(_slices(np.add, counts, starts, ends), None, pa.int64())
    column = rows.column(aggregate.column)
    counts = counts * _valid(column)
    some = _slices(np.add, counts, starts, ends)
    if aggregate.function == "count":
        return from_ints(some, None, pa.int64())
    return _values(aggregate, column, counts.astype(np.bool_), some, starts, ends)


def _values(
    aggregate: Aggregate, column: pa.Array, counted: npt.NDArray[np.bool_], some: Int64s, starts: Int64s, ends: Int64s
) -> pa.Array:
    type_ = to_arrow_type(aggregate.type)
    present: Bytes | None = None if (some > 0).all() else (some > 0).view(np.uint8)
    floats = is_float(column.type)
    values: Numbers = to_floats(column) if floats else to_ints(column)
    match aggregate.function:
        case "sum" | "mean":
            values = np.where(counted, values, 0)
            widest = int((ends - starts).max(initial=1))
            if not floats and float(np.abs(values.astype(np.float64)).max(initial=0)) * widest >= _SAFE:
                raise AggregateError(f"{aggregate.name}: a sum over a frame may not fit into int64; cast it first")
            sums = _slices(np.add, values, starts, ends)
            if aggregate.function == "mean":
                return from_floats(np.divide(sums, some, out=np.zeros(len(some)), where=some > 0), present, type_)
            return from_floats(sums, present, type_) if floats else from_ints(sums, present, type_)
        case "min":
            worst = np.inf if floats else np.iinfo(np.int64).max
            least = _slices(np.minimum, np.where(counted, values, worst), starts, ends)
            return from_floats(least, present, type_) if floats else from_ints(least, present, type_)
        case _:
            worst = -np.inf if floats else np.iinfo(np.int64).min
            most = _slices(np.maximum, np.where(counted, values, worst), starts, ends)
            return from_floats(most, present, type_) if floats else from_ints(most, present, type_)


def can_be_framed(type_: pa.DataType) -> bool:
    """Whether values of the type can be summed and compared here."""
    return bool(is_float(type_) or (fits_int(type_) and not pa.types.is_uint64(type_)))


def _slices(function: np.ufunc, values: Numbers, starts: Int64s, ends: Int64s) -> Any:
    """``function.reduce(values[start:end])`` of each frame."""
    padded = np.append(values, values[-1:])  # reduceat wants every end to be a place
    bounds = np.empty(2 * len(starts), np.int64)
    bounds[0::2], bounds[1::2] = starts, ends
    return function.reduceat(padded, bounds)[0::2]


def _valid(column: pa.Array) -> Bytes:
    valid = validity(column)
    return valid if len(valid) else np.ones(len(column), np.uint8)
