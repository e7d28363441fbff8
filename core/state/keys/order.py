"""Columns that rows are ordered by, as int64 whose order is that of the values."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from windrow.arrow_types import to_arrow_type
from windrow.batch import Int64s, bools, validity, view
from windrow.datatypes import DataType
from windrow.errors import PlanError

_LAST = np.int64(2**63 - 1)


def check_order(step: str, columns: Sequence[tuple[str, DataType]]) -> None:
    """Raises `PlanError` for a column whose values do not fit into 64 bits with their order."""
    for name, kind in columns:
        type_ = to_arrow_type(kind)
        is_ = pa.types
        plain = is_.is_integer(type_) or is_.is_floating(type_) or is_.is_boolean(type_) or is_.is_temporal(type_)
        if not plain or is_.is_interval(type_):
            raise PlanError(
                f"{step}: rows cannot be ordered by {name!r}, which is {kind}; order by numbers, times or bool"
            )


def sortable(column: pa.Array, descending: bool) -> Int64s:
    """Ascending int64 where the values are in the wanted order; null comes last (as the largest value would)."""
    made = _ascending(column)
    if descending:
        made = ~made
    valid = validity(column)
    return made if len(valid) == 0 else np.where(valid.view(np.bool_), made, _LAST)


def _ascending(column: pa.Array) -> Int64s:
    type_ = column.type
    if pa.types.is_boolean(type_):
        return bools(column).astype(np.int64)
    if pa.types.is_float64(type_) or pa.types.is_float32(type_) or pa.types.is_float16(type_):
        return _of_floats(column)
    if pa.types.is_uint64(type_):
        return np.asarray(view(column, np.int64), np.int64) ^ np.int64(-(2**63))
    if type_.bit_width == 64:
        return np.asarray(view(column, np.int64), np.int64)
    narrow = np.dtype(f"{'u' if pa.types.is_unsigned_integer(type_) else 'i'}{type_.bit_width // 8}")
    return view(column, narrow).astype(np.int64)


def _of_floats(column: pa.Array) -> Int64s:
    """IEEE 754 totalOrder, but -0.0 and 0.0 are one value, and every NaN is greater than all others."""
    width = column.type.bit_width // 8
    values = view(column, f"f{width}").astype(np.float64) + 0.0
    values = np.where(np.isnan(values), np.nan, values)
    bits = values.view(np.int64)
    return np.where(bits < 0, bits ^ np.int64(2**63 - 1), bits)
