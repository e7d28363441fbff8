"""Batches in flight, and the one place where Arrow columns become the numpy views that kernels read.

A batch is a `pyarrow.RecordBatch`. Besides the user's columns it may carry hidden ones, whose names start with two
underscores and which never reach a sink:

- ``__time``      int64, microseconds: event time, set by ``watermark()``
- ``__watermark`` int64, microseconds: the watermark of the row's own partition just before the row. It is there only
  in batches in which some row is older than the watermark before it; everywhere else no row can be late.
- ``__origin``    int64: partition << 48 | offset; there only when the plan has an aggregate that needs arrival order
- ``__weight``    int8: +1 insert, -1 retract; there only in the changes of a Table
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

TIME = "__time"
WATERMARK = "__watermark"
ORIGIN = "__origin"
WEIGHT = "__weight"

Int64s = npt.NDArray[np.int64]
Int32s = npt.NDArray[np.int32]
UInt64s = npt.NDArray[np.uint64]
Float64s = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]

#: State of one operator in one shard, by table name.
Tables = Mapping[str, pa.RecordBatch]

#: What kernels take for "no value is null".
ALL_VALID: Bytes = np.empty(0, np.uint8)
ALL_VALID.flags.writeable = False


def is_hidden(name: str) -> bool:
    return name.startswith("__")


def origin_of(partition: int, offset: int) -> int:
    """Arrival order within one source as a single int64."""
    return partition << 48 | offset


def view(column: pa.Array, dtype: npt.DTypeLike) -> npt.NDArray[np.generic]:
    """The values of a fixed-width column as a read-only numpy view; where it is null lies anything.

    `dtype` must have the byte width of the column's type; bool columns (one bit a value) have `bools`.
    """
    buffer = column.buffers()[1]
    if buffer is None or len(column) == 0:
        return np.empty(0, dtype)
    width = np.dtype(dtype).itemsize
    return np.frombuffer(buffer, dtype=dtype, count=len(column), offset=column.offset * width)


def validity(column: pa.Array) -> Bytes:
    """One byte a value, 0 for null; `ALL_VALID` when there is no null."""
    if column.null_count == 0:
        return ALL_VALID
    if pa.types.is_null(column.type):
        return np.zeros(len(column), np.uint8)
    return _unpacked(column.buffers()[0], column.offset, len(column))


def bools(column: pa.Array) -> Bytes:
    """The values of a bool column, one byte each, 0 or 1; where it is null lies anything."""
    return _unpacked(column.buffers()[1], column.offset, len(column))


def _unpacked(bits: pa.Buffer | None, offset: int, length: int) -> Bytes:
    # np.unpackbits does 65 536 bits in 5 us: a kernel of our own could not be felt
    if bits is None or length == 0:
        return np.zeros(length, np.uint8)
    first, skip = divmod(offset, 8)
    packed = np.frombuffer(bits, np.uint8, count=(skip + length + 7) // 8, offset=first)
    return np.unpackbits(packed, count=skip + length, bitorder="little")[skip:]


def bitmap(bytes_: Bytes) -> pa.Buffer | None:
    """The inverse of `validity`: an Arrow bitmap, or None when `bytes_` is `ALL_VALID`."""
    return pa.py_buffer(np.packbits(bytes_, bitorder="little")) if len(bytes_) else None


def take(column: pa.Array, rows: Int64s) -> pa.Array:
    """The values at these row numbers (none of them null), as a column of the same type."""
    type_ = column.type
    if pa.types.is_string_view(type_) or pa.types.is_binary_view(type_):  # pyarrow 26 cannot take from these
        short = pa.string() if pa.types.is_string_view(type_) else pa.binary()
        return take(column.cast(short), rows).cast(type_)
    if len(rows) == 0 or len(column) == 0:
        return column.take(pa.array(rows))
    if pa.types.is_dictionary(type_):
        return pa.DictionaryArray.from_arrays(take(column.indices, rows), column.dictionary, safe=False)
    valid = validity(column)
    bits = bitmap(valid.take(rows)) if len(valid) else None
    if _is_plain(type_):
        # memory of Arrow's pool, because malloc hands large blocks back and each page of the next one costs a fault:
        # 1.1 ns a value against 2.4; a kernel of our own needs 1.07, pyarrow's take 1.6
        width = type_.bit_width // 8
        buffer = pa.allocate_buffer(len(rows) * width)
        np.take(view(column, f"i{width}"), rows, out=np.frombuffer(buffer, f"i{width}"), mode="clip")
        return pa.Array.from_buffers(type_, len(rows), [bits, buffer])
    if pa.types.is_string(type_) or pa.types.is_binary(type_):
        taken = _take_strings(column, rows, bits)
        if taken is not None:
            return taken
    return column.take(pa.array(rows))


def rows_where(mask: pa.Array) -> Int64s:
    """The numbers of the rows for which a bool column is true; null counts as false."""
    from windrow.kernels import select  # numba takes half a second to import

    certain = mask.fill_null(False) if mask.null_count else mask
    rows = np.empty(len(mask), np.int64)
    if len(mask) == 0:
        return rows
    bits = np.frombuffer(certain.buffers()[1], np.uint8)
    return rows[: select.rows_of_bits(bits, certain.offset, len(mask), rows)]


def same_text(column: pa.Array, text: str, equal: bool) -> pa.Array:
    """For each value of a text column whether it is `text` (or is not); null for null."""
    from windrow.kernels import select

    if not pa.types.is_string(column.type) or len(column) == 0:
        return (pc.equal if equal else pc.not_equal)(column, text)
    offsets = np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + len(column) + 1]
    data = np.frombuffer(column.buffers()[2] or b"", np.uint8)
    bits = np.empty((len(column) + 7) // 8, np.uint8)
    select.same_text(offsets, data, np.frombuffer(text.encode(), np.uint8), int(equal), bits)
    return pa.Array.from_buffers(pa.bool_(), len(column), [bitmap(validity(column)), pa.py_buffer(bits)])


def test_of_ints(column: pa.Array, divisor: int | None, compare: str, value: int, wanted: bool) -> pa.Array:
    """For each value of an int64 column whether it, or its remainder, is equal to `value`, or less, or greater (or is
    not); null for null."""
    from windrow.kernels import select

    values, results = view(column, np.int64), np.empty(len(column), np.uint8)
    if divisor is None:
        how = {"equal": select.EQUAL, "less": select.LESS, "greater": select.GREATER}[compare]
        select.compare_ints(values, how, value, int(wanted), results)
    else:
        select.same_remainder(values, divisor, value, int(wanted), results)
    return pa.Array.from_buffers(pa.bool_(), len(column), [bitmap(validity(column)), bitmap(results)])


def by_row(batch: pa.RecordBatch, names: Collection[str]) -> pa.RecordBatch:
    """The same rows, of which these columns are row numbers (int32, without nulls) into a dictionary: the column as it
    was. What is taken of them later takes 4 bytes a row, however long the text is, and holds on to all of it."""
    if not names:
        return batch
    numbers = pa.array(np.arange(batch.num_rows, dtype=np.int32))
    columns = [
        pa.DictionaryArray.from_arrays(numbers, column, safe=False) if name in names else column
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def by_value(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The inverse of `by_row`: with the values themselves in place of row numbers."""
    rows: dict[int, Int64s] = {}  # by the place of what columns share
    columns = []
    for column in batch.columns:
        if (place := _numbered(column)) is not None:
            if place not in rows:
                rows[place] = view(column.indices, np.int32).astype(np.int64)
            column = take(column.dictionary, rows[place])
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def take_rows(batch: pa.RecordBatch, rows: Int64s) -> pa.RecordBatch:
    """The rows with these numbers, in this order; also of types that pyarrow cannot filter or take."""
    if len(rows) == 0:
        return batch.slice(0, 0)
    numbers: dict[int, pa.Array] = {}  # by the place of what columns share
    columns = []
    for column in batch.columns:
        if (place := _numbered(column)) is not None:
            if place not in numbers:
                numbers[place] = take(column.indices, rows)
            columns.append(pa.DictionaryArray.from_arrays(numbers[place], column.dictionary, safe=False))
        else:
            columns.append(take(column, rows))
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _numbered(column: pa.Array) -> int | None:
    """Where the row numbers lie that a column of `by_row` is; None for any other column."""
    if not pa.types.is_dictionary(column.type) or column.null_count or column.type.index_type != pa.int32():
        return None
    numbers = column.indices
    return int(numbers.buffers()[1].address) + 4 * int(numbers.offset) if len(numbers) else None


def _is_plain(type_: pa.DataType) -> bool:
    """Whether values are 1, 2, 4 or 8 bytes in one buffer."""
    is_ = pa.types
    return bool(is_.is_primitive(type_) and not is_.is_boolean(type_) and type_.bit_width in (8, 16, 32, 64))


def _take_strings(column: pa.Array, rows: Int64s, bits: pa.Buffer | None) -> pa.Array | None:
    """`take` for int32 offsets; None when there is too much for them."""
    from windrow.kernels import gather  # numba takes half a second to import

    _, offset_buffer, data_buffer = column.buffers()
    offsets = np.frombuffer(offset_buffer, np.int32, count=len(column) + 1, offset=4 * column.offset)
    data = ALL_VALID if data_buffer is None else np.frombuffer(data_buffer, np.uint8)
    offset_out = pa.allocate_buffer(4 * (len(rows) + 1))
    taken = np.frombuffer(offset_out, np.int32)
    total = gather.take_offsets(offsets, rows, taken)
    if total > 2**31 - 1:
        return None
    data_out = pa.allocate_buffer(total)
    gather.take_bytes(offsets, data, rows, taken, np.frombuffer(data_out, np.uint8))
    return pa.Array.from_buffers(column.type, len(rows), [bits, offset_out, data_out])
