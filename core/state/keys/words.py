"""Key columns as what kernels work on: one int64 word a value, or offsets and bytes; and back to Arrow.

`kind_of` says which it is for a type. ``word``: every type of up to 64 bits, bool, and decimals of up to 18 digits;
``pair``: larger decimals, two words; ``bytes``: strings and binary. Floats become bits in which -0.0 is 0.0 and
every NaN is the same, so that equal words are equal keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pyarrow as pa

from windrow.arrow_types import to_arrow_type
from windrow.batch import ALL_VALID, Bytes, Int64s, bitmap, bools, view
from windrow.datatypes import DataType
from windrow.errors import PlanError
from windrow.kernels import hashing

Kind = Literal["word", "pair", "bytes"]
_WORD_DIGITS = 18  # a decimal of this many digits is surely an int64


def kind_of(type_: pa.DataType) -> Kind | None:
    """How values of this type become keys; None when they cannot."""
    is_ = pa.types
    if is_.is_decimal128(type_):
        return "word" if type_.precision <= _WORD_DIGITS else "pair"
    if _is_bytes(type_):
        return "bytes"
    simple = is_.is_integer(type_) or is_.is_boolean(type_) or is_.is_float64(type_) or is_.is_float32(type_)
    timed = is_.is_date(type_) or is_.is_timestamp(type_) or is_.is_time(type_) or is_.is_duration(type_)
    return "word" if simple or timed else None


def _is_bytes(type_: pa.DataType) -> bool:
    is_ = pa.types
    views = is_.is_string_view(type_) or is_.is_binary_view(type_)
    return bool(
        views
        or is_.is_string(type_)
        or is_.is_large_string(type_)
        or is_.is_binary(type_)
        or is_.is_large_binary(type_)
    )


def check_key_types(types: Sequence[DataType], names: Sequence[str] = ()) -> None:
    """Raise `PlanError` naming the first column whose type cannot be a key."""
    for i, type_ in enumerate(types):
        if kind_of(to_arrow_type(type_)) is None:
            what = f"column {names[i]!r}" if i < len(names) else f"key column {i + 1}"
            raise PlanError(
                f"{what} has type {type_} and cannot be a key; keys can be integers, bool, dates, timestamps, "
                "strings, binary, float32, float64 and decimal128"
            )


def words(column: pa.Array) -> Int64s:
    """An int64 for each value of a ``word`` column; where it is null lies anything."""
    type_ = column.type
    if pa.types.is_boolean(type_):
        return bools(column).astype(np.int64)
    if pa.types.is_floating(type_):
        narrow = pa.types.is_float32(type_)
        floats = view(column, np.float32).astype(np.float64) if narrow else view(column, np.float64)
        bits = np.empty(len(column), np.int64)
        hashing.float_bits(floats, bits)
        return bits
    if pa.types.is_decimal128(type_):
        return pair(column)[0]
    return view(column, _layout(type_)).astype(np.int64, copy=False)


def pair(column: pa.Array) -> tuple[Int64s, Int64s]:
    """The lower and the upper int64 of each value of a decimal128 column."""
    buffer = column.buffers()[1]
    if buffer is None or len(column) == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    both = np.frombuffer(buffer, np.int64, count=2 * len(column), offset=16 * column.offset).reshape(-1, 2)
    return np.ascontiguousarray(both[:, 0]), np.ascontiguousarray(both[:, 1])


def bytes_of(column: pa.Array) -> tuple[Int64s, Bytes]:
    """Offsets (one more than values) into the data of a ``bytes`` column."""
    type_ = column.type
    if pa.types.is_string_view(type_) or pa.types.is_binary_view(type_):
        column = column.cast(pa.large_string() if pa.types.is_string_view(type_) else pa.large_binary())
        type_ = column.type
    large = pa.types.is_large_string(type_) or pa.types.is_large_binary(type_)
    _, offset_buffer, data_buffer = column.buffers()
    if offset_buffer is None or len(column) == 0:
        return np.zeros(len(column) + 1, np.int64), ALL_VALID
    dtype = np.dtype(np.int64 if large else np.int32)
    offsets = np.frombuffer(offset_buffer, dtype, count=len(column) + 1, offset=column.offset * dtype.itemsize)
    data = ALL_VALID if data_buffer is None else np.frombuffer(data_buffer, np.uint8)
    return offsets.astype(np.int64, copy=False), data


def _layout(type_: pa.DataType) -> np.dtype[np.generic]:
    signed = not pa.types.is_unsigned_integer(type_)
    return np.dtype(f"{'i' if signed else 'u'}{type_.bit_width // 8}")


def word_array(values: Int64s, valid: Bytes, type_: pa.DataType) -> pa.Array:
    """The column that `words` and `validity` made `values` and `valid` of."""
    if pa.types.is_boolean(type_):
        data = pa.py_buffer(np.packbits(values != 0, bitorder="little"))
    elif pa.types.is_floating(type_):
        floats = values.view(np.float64)
        data = pa.py_buffer(
            np.ascontiguousarray(floats.astype(np.float32 if pa.types.is_float32(type_) else np.float64))
        )
    elif pa.types.is_decimal128(type_):
        return pair_array(values, values >> 63, valid, type_)
    else:
        data = pa.py_buffer(np.ascontiguousarray(values.astype(_layout(type_), copy=False)))
    return pa.Array.from_buffers(type_, len(values), [bitmap(valid), data])


def pair_array(lower: Int64s, upper: Int64s, valid: Bytes, type_: pa.DataType) -> pa.Array:
    """The decimal128 column of these halves."""
    both = np.empty((len(lower), 2), np.int64)
    both[:, 0] = lower
    both[:, 1] = upper
    return pa.Array.from_buffers(type_, len(lower), [bitmap(valid), pa.py_buffer(both)])


def bytes_array(offsets: Int64s, data: Bytes, valid: Bytes, type_: pa.DataType) -> pa.Array:
    """The string or binary column of these offsets and bytes, as the type asked for."""
    is_ = pa.types
    text = is_.is_string(type_) or is_.is_large_string(type_) or is_.is_string_view(type_)
    large = pa.large_string() if text else pa.large_binary()
    buffers = [bitmap(valid), pa.py_buffer(offsets), pa.py_buffer(data)]
    array = pa.Array.from_buffers(large, len(offsets) - 1, buffers)
    return array if type_ == large else array.cast(type_)
