"""Record batches to JSON documents (RFC 8259), one a row, without a Python object per value.

==========================  ============================================================================
Arrow type                  JSON
==========================  ============================================================================
integers                    number
float16, float32, float64   the shortest number that reads back equal; NaN and the infinities are null
decimal                     number with all its digits
bool, null                  ``true``, ``false``, ``null``
string                      string; UTF-8 as it is, only what must be escaped is
binary                      string in base64 with padding
date                        ``"2026-01-31"``
timestamp                   ``"2026-01-31T23:59:59.123456Z"``: three digits when there are no microseconds, no
                            fraction when there are no milliseconds; without ``Z`` when the column has no zone
time                        ``"23:59:59.123456"``
duration                    number of the type's units
list, struct, map           array, object, object (keys as text)
==========================  ============================================================================

A null is written as ``null``, a column is never left out. Dictionary and run-end encoded columns are written as their
values.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from windrow.batch import ALL_VALID, Bytes, Int32s, Int64s, view
from windrow.errors import PlanError, RecordError
from windrow.kernels import json_encode as kernels

#: Rows whose documents are written together, so that they stay in the processor's cache from column to column.
#: Measured on Nexmark bids (250 bytes a row, 2 MiB of second-level cache): 1 k to 8 k rows are alike, 64 k is slower.
BLOCK_ROWS = 2_048

#: What a binary array of 32-bit offsets can hold.
MAX_BYTES = 2**31 - 1

TimestampFormat = Literal["iso", "sql"]

_NO_INTS: Int64s = np.empty(0, np.int64)
_NO_OFFSETS: Int32s = np.empty(0, np.int32)
_NO_BYTES: Bytes = np.empty(0, np.uint8)
_YEAR_0_US = -62_167_219_200_000_000
_YEAR_10000_US = 253_402_300_800_000_000
_DAY_US = 86_400_000_000


class _Column(NamedTuple):
    """A column as the kernels take it."""

    kind: int
    ints: Int64s = _NO_INTS
    offsets: Int32s = _NO_OFFSETS
    data: Bytes = _NO_BYTES
    valid: Bytes = ALL_VALID

    def sizes(self, sizes: Int64s) -> int:
        added: int = kernels.column_sizes(self.kind, self.ints, self.offsets, self.data, self.valid, sizes)
        return added

    def write(self, key: Bytes, start: int, end: int, cursors: Int64s, out: Bytes) -> None:
        kernels.write_column(
            self.kind, key, self.ints[start:end], self.offsets[start : end + 1], self.data, self.valid[start:end],
            cursors, out,
        )  # fmt: skip


class JsonEncoder:
    """Writes batches of one schema.

    `timestamps` chooses between ISO 8601 and ``"2026-01-31 23:59:59.123"`` (always three digits). `prefix` and `suffix`
    are put around every document. Raises `PlanError` naming the column when a type has no JSON form.
    """

    def __init__(
        self, schema: pa.Schema, *, timestamps: TimestampFormat = "iso", prefix: bytes = b"", suffix: bytes = b""
    ) -> None:
        for field in schema:
            _check_type(field.name, field.type)
        self.schema = schema
        self._sql = timestamps == "sql"
        keys = [json.dumps(name, ensure_ascii=False).encode() + b":" for name in schema.names]
        opened = [prefix + b"{" + keys[0], *(b"," + key for key in keys[1:])] if keys else []
        self._keys = [np.frombuffer(key, np.uint8) for key in opened]
        self._end = np.frombuffer((b"}" if keys else prefix + b"{}") + suffix, np.uint8)

    def encode(self, batch: pa.RecordBatch) -> pa.Array:
        """One document a row, as a binary array without nulls.

        Raises `RecordError` for a date outside the years 0 to 9999 and when the documents together exceed 2 GiB, and
        `PlanError` for a batch of another schema.
        """
        return self.prepare(batch).documents()

    def prepare(self, batch: pa.RecordBatch) -> Prepared:
        """The sizes of the documents, ready to be written: for a caller that decides where each goes."""
        if batch.schema.names != self.schema.names or batch.schema.types != self.schema.types:
            raise PlanError(f"the encoder was made for the columns {self.schema}, the batch has {batch.schema}")
        columns = [
            _column(column, name, self._sql) for name, column in zip(self.schema.names, batch.columns, strict=True)
        ]
        columns.append(_Column(kernels.LITERAL))
        return Prepared([*self._keys, self._end], columns, batch.num_rows)


class Prepared:
    """Documents of known sizes (int64, bytes) that are still to be written."""

    def __init__(self, keys: list[Bytes], columns: list[_Column], rows: int) -> None:
        self._keys = keys
        self._columns = columns
        self.sizes: Int64s = np.full(rows, sum(key.size for key in keys), np.int64)
        for column in columns:
            if column.kind != kernels.LITERAL:
                column.sizes(self.sizes)

    def write(self, starts: npt.NDArray[np.integer], out: Bytes) -> None:
        """Write document i at ``out[starts[i]:]``, block by block, within a block column by column."""
        for start in range(0, starts.size, BLOCK_ROWS):
            end = min(start + BLOCK_ROWS, starts.size)
            cursors = starts[start:end].astype(np.int64)
            for key, column in zip(self._keys, self._columns, strict=True):
                column.write(key, start, end, cursors, out)

    def documents(self) -> pa.Array:
        return merge_documents([(self, slice(None))])


def merge_documents(parts: Sequence[tuple[Prepared, slice | Int64s]]) -> pa.Array:
    """The documents of several batches as one binary array: for each part, which rows of the result are its own.

    Raises `RecordError` when they exceed what 32-bit offsets can say.
    """
    rows = sum(part.sizes.size for part, _ in parts)
    sizes = np.empty(rows, np.int64)
    for part, place in parts:
        sizes[place] = part.sizes
    total = int(sizes.sum())
    if total > MAX_BYTES:
        raise RecordError(f"{rows} rows are {total} bytes of JSON, at most {MAX_BYTES} fit: encode smaller batches")
    offsets = np.zeros(rows + 1, np.int32)
    np.cumsum(sizes, out=offsets[1:])
    buffer = pa.allocate_buffer(total)
    out = np.frombuffer(buffer, np.uint8)
    for part, place in parts:
        part.write(offsets[:-1][place], out)
    return pa.Array.from_buffers(pa.binary(), rows, [None, pa.py_buffer(offsets), buffer], null_count=0)


def json_values(array: pa.Array, name: str = "value", *, timestamps: TimestampFormat = "iso") -> pa.Array:
    """The JSON text of every value of one column, as a binary array without nulls (a null is the text ``null``)."""
    _check_type(name, array.type)
    return _texts(array, name, timestamps == "sql")


def _texts(array: pa.Array, name: str, sql: bool) -> pa.Array:
    return Prepared([_NO_BYTES], [_column(array, name, sql)], len(array)).documents()


def _check_type(where: str, type_: pa.DataType) -> None:
    """Raise `PlanError` when a value of this type has no JSON form."""
    if isinstance(type_, pa.BaseExtensionType):
        return _check_type(where, type_.storage_type)
    if pa.types.is_dictionary(type_) or pa.types.is_run_end_encoded(type_):
        return _check_type(where, type_.value_type)
    if pa.types.is_struct(type_):
        for field in type_:
            _check_type(f"{where}.{field.name}", field.type)
        return None
    if pa.types.is_map(type_):
        return _check_type(f"{where}.value", type_.item_type)
    if _is_list(type_):
        return _check_type(f"{where}[]", type_.value_type)
    known = (
        pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean, pa.types.is_null, pa.types.is_date,
        pa.types.is_timestamp, pa.types.is_time, pa.types.is_duration, _is_text, _is_bytes, pa.types.is_decimal,
    )  # fmt: skip
    if not any(is_type(type_) for is_type in known):
        raise PlanError(f"column {where!r} of type {type_} cannot be written as JSON; cast it to string or drop it")
    return None


def _is_text(type_: pa.DataType) -> bool:
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_) or pa.types.is_string_view(type_))


def _is_bytes(type_: pa.DataType) -> bool:
    return bool(
        pa.types.is_binary(type_)
        or pa.types.is_large_binary(type_)
        or pa.types.is_binary_view(type_)
        or pa.types.is_fixed_size_binary(type_)
    )


def _is_list(type_: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(type_)
        or pa.types.is_large_list(type_)
        or pa.types.is_fixed_size_list(type_)
        or pa.types.is_list_view(type_)
        or pa.types.is_large_list_view(type_)
    )


def _column(array: pa.Array, name: str, sql: bool) -> _Column:
    """Bring a column of any type into one of the forms that the kernels read."""
    type_ = array.type
    if isinstance(type_, pa.BaseExtensionType):
        return _column(array.storage, name, sql)
    if pa.types.is_dictionary(type_):
        return _column(array.dictionary_decode(), name, sql)
    if pa.types.is_run_end_encoded(type_):
        return _column(pc.run_end_decode(array), name, sql)
    if pa.types.is_null(type_):
        return _Column(kernels.INT, np.zeros(len(array), np.int64), valid=np.zeros(len(array), np.uint8))
    if pa.types.is_uint64(type_) or pa.types.is_decimal(type_):
        return _bytes_column(kernels.TEXT, array.cast(pa.string()))
    if pa.types.is_integer(type_):
        return _int_column(kernels.INT, array.cast(pa.int64()))
    if pa.types.is_boolean(type_):
        return _int_column(kernels.BOOL, array.cast(pa.uint8()).cast(pa.int64()))
    if pa.types.is_floating(type_):
        return _bytes_column(kernels.TEXT, _float_text(array))
    if _is_text(type_):
        return _bytes_column(kernels.STRING, array.cast(pa.string()))
    if _is_bytes(type_):
        return _bytes_column(kernels.BINARY, array.cast(pa.binary()))
    if pa.types.is_date(type_):
        days = array.cast(pa.date32()).cast(pa.int32()).cast(pa.int64())
        _check_years(days, _YEAR_0_US // _DAY_US, _YEAR_10000_US // _DAY_US, name)
        return _int_column(kernels.DATE, days)
    if pa.types.is_timestamp(type_):
        return _time_column(array, name, sql)
    if pa.types.is_time(type_):
        return _bytes_column(kernels.STRING, array.cast(pa.string()))
    if pa.types.is_duration(type_):
        return _int_column(kernels.INT, array.cast(pa.int64()))
    return _nested_column(array, name, sql)


def _valid(array: pa.Array) -> Bytes:
    if array.null_count == 0:
        return ALL_VALID
    return np.asarray(view(array.is_valid().cast(pa.uint8()), np.uint8), np.uint8)


def _int_column(kind: int, array: pa.Array) -> _Column:
    return _Column(kind, np.asarray(view(array, np.int64), np.int64), valid=_valid(array))


def _bytes_column(kind: int, array: pa.Array) -> _Column:
    """A string or binary column with 32-bit offsets."""
    if len(array) == 0:
        return _Column(kind)
    _, offset_buffer, data_buffer = array.buffers()
    offsets = np.frombuffer(offset_buffer, np.int32, len(array) + 1, array.offset * 4)
    data = _NO_BYTES if data_buffer is None else np.frombuffer(data_buffer, np.uint8)
    return _Column(kind, _NO_INTS, offsets, data, _valid(array))


def _float_text(array: pa.Array) -> pa.Array:
    """Shortest decimal text; polars writes it about ten times as fast as pyarrow 26 does (50 ns a value)."""
    import polars as pl

    if pa.types.is_float16(array.type):
        array = array.cast(pa.float32())
    finite = pc.is_finite(array)
    if not pc.all(finite).as_py() and len(array) > array.null_count:
        array = pc.if_else(finite, array, pa.scalar(None, array.type))
    text = pl.Series(pl.from_arrow(array)).cast(pl.String)
    return text.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(pa.string())


def _check_years(array: pa.Array, first: int, end: int, name: str) -> None:
    extremes = pc.min_max(array).as_py()
    if extremes["min"] is not None and (extremes["min"] < first or extremes["max"] >= end):
        wrong = extremes["min"] if extremes["min"] < first else extremes["max"]
        raise RecordError(f"column {name!r}: {wrong} is outside the years 0 to 9999 and has no ISO 8601 form")


def _time_column(array: pa.Array, name: str, sql: bool) -> _Column:
    kind = kernels.SQL_TIME if sql else kernels.TIMESTAMP if array.type.tz else kernels.LOCAL_TIME
    per_us = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": 1}[array.type.unit]
    ticks = array.cast(pa.int64())
    if array.type.unit == "ns":
        us = pc.divide(ticks, 1_000)  # division of int64 rounds towards zero
        us = pc.subtract(us, pc.less(pc.subtract(ticks, pc.multiply(us, 1_000)), 0).cast(pa.int64()))
        if not sql and not pc.all(pc.equal(pc.multiply(us, 1_000), ticks)).as_py() and len(array) > array.null_count:
            return _bytes_column(kernels.STRING, _nanosecond_text(array))
        ticks = us
    _check_years(ticks, _YEAR_0_US // per_us, _YEAR_10000_US // per_us, name)
    if per_us > 1:
        ticks = pc.multiply(pc.if_else(pc.is_valid(ticks), ticks, 0), per_us)
        return _Column(kind, np.asarray(view(ticks, np.int64), np.int64), valid=_valid(array))
    return _int_column(kind, ticks)


def _nanosecond_text(array: pa.Array) -> pa.Array:
    zone = "Z" if array.type.tz else ""
    local = array.cast(pa.timestamp("ns", "UTC")) if array.type.tz else array
    return pc.strftime(local, format=f"%Y-%m-%dT%H:%M:%S{zone}")


def _nested_column(array: pa.Array, name: str, sql: bool) -> _Column:
    """Lists, structs and maps: the text of all their values first, then joined by Arrow's own string functions."""
    type_ = array.type
    if pa.types.is_struct(type_):
        texts = _struct_texts(array, sql)
    elif pa.types.is_map(type_):
        offsets, start, count = _list_offsets(array)
        names = array.keys.slice(start, count).cast(pa.string())
        values = _texts(array.items.slice(start, count), name, sql)
        pairs = pc.binary_join_element_wise(_texts(names, name, sql), values, b":")
        texts = _joined(offsets, pairs, b"{", b"}")
    else:
        if not (pa.types.is_list(type_) or pa.types.is_large_list(type_)):
            array = _as_list(array)
        offsets, start, count = _list_offsets(array)
        texts = _joined(offsets, _texts(array.values.slice(start, count), f"{name}[]", sql), b"[", b"]")
    column = _bytes_column(kernels.TEXT, texts)
    return _Column(column.kind, column.ints, column.offsets, column.data, _valid(array))


def _struct_texts(array: pa.Array, sql: bool) -> pa.Array:
    type_ = array.type
    if type_.num_fields == 0:
        return pa.repeat(pa.scalar(b"{}"), len(array))
    fields = [type_.field(i) for i in range(type_.num_fields)]
    batch = pa.RecordBatch.from_arrays(array.flatten(), [field.name for field in fields])
    return JsonEncoder(batch.schema, timestamps="sql" if sql else "iso").encode(batch)


def _list_offsets(array: pa.Array) -> tuple[Int32s, int, int]:
    """Offsets of a list or map array counted from its first value; that value's place; the number of values."""
    offsets: npt.NDArray[np.int64] = np.asarray(array.offsets).astype(np.int64)
    if offsets.size == 0:
        return np.zeros(1, np.int32), 0, 0
    start, end = int(offsets[0]), int(offsets[-1])
    return (offsets - start).astype(np.int32), start, end - start


def _as_list(array: pa.Array) -> pa.Array:
    """Fixed-size lists and list views as lists; pyarrow 26's own cast of a sliced fixed-size list is wrong."""
    lengths = pc.list_value_length(array).fill_null(0)
    offsets = np.concatenate(([0], np.cumsum(lengths)))
    return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), array.flatten(), mask=array.is_null())


def _joined(offsets: Int32s, texts: pa.Array, opening: bytes, closing: bytes) -> pa.Array:
    lists = pa.ListArray.from_arrays(pa.array(offsets), texts)
    return pc.binary_join_element_wise(opening, pc.binary_join(lists, b","), closing, b"")
