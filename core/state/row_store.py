"""Whole rows kept as columns, in the chunks they came in: stored once, gathered by row number.

Rows are numbered from 0 for ever, in the order in which they came. Chunks are never written again; small neighbours
are put together, so that there are few, and whole chunks at the front are dropped.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa

from windrow.batch import ALL_VALID, Bytes, Int32s, Int64s, bitmap, by_value, view
from windrow.errors import StateError
from windrow.kernels import chunks as kernels
from windrow.state.values import storage_type

#: Chunks of fewer rows are put together: an epoch of one row must not leave a chunk behind. (4,096: q20 puts 35 ms of
#: text together that it need not.)
_FEW_ROWS = 1 << 11
_PLAIN_BYTES = (1, 2, 4, 8, 16)


@dataclass(slots=True)
class _Chunk:
    first: int
    batch: pa.RecordBatch
    places: dict[str, tuple[int, ...]] = field(default_factory=dict)
    known_nbytes: int = -1

    @property
    def nbytes(self) -> int:
        if self.known_nbytes < 0:
            self.known_nbytes = sum(_nbytes(column) for column in self.batch.columns)
        return self.known_nbytes

    @property
    def end(self) -> int:
        return self.first + int(self.batch.num_rows)

    def place(self, name: str) -> tuple[int, ...]:
        """Addresses of a column's validity, values (or offsets) and text, its offset and its number of nulls."""
        found = self.places.get(name)
        if found is None:
            column = self.batch.column(name)
            column = column.dictionary if pa.types.is_dictionary(column.type) else column
            buffers = [_address(buffer) for buffer in column.buffers()[:3]]
            buffers += [0] * (3 - len(buffers))
            found = self.places[name] = (*buffers, column.offset, column.null_count)
        return found

    def numbers(self, loose: Collection[str]) -> int:
        """Address of the row numbers that the columns in `loose` are, all the same ones; 0 when they are no numbers."""
        for name in loose:
            column = self.batch.column(name)
            if pa.types.is_dictionary(column.type):
                return _address(column.indices.buffers()[1]) + 4 * int(column.indices.offset)
        return 0


class RowStore:
    """Append-only rows of one schema.

    The columns in `loose` may come as row numbers into the columns that they were (`by_row`), and are kept so.
    """

    def __init__(self, schema: pa.Schema, loose: Collection[str] = ()) -> None:
        self.schema = schema
        self._loose = frozenset(loose)
        self._stored = pa.schema([(field.name, _stored(field.type)) for field in schema])
        self._chunks: list[_Chunk] = []
        self._starts: Int64s = np.empty(0, np.int64)
        self._numbers: Int64s = np.empty(0, np.int64)  # of each chunk, where its row numbers lie
        self._gatherers: dict[str, _Gatherer] = {}
        self._kept: tuple[pa.Schema, list[pa.DataType | None]] | None = None  # a schema, and what its columns become
        self.base = 0  # rows before it have been dropped
        self.end = 0  # the number that the next row gets

    def __len__(self) -> int:
        return self.end - self.base

    @property
    def nbytes(self) -> int:
        return sum(chunk.nbytes for chunk in self._chunks)

    def append(self, batch: pa.RecordBatch) -> int:
        """Keep the rows of a batch with (at least) the columns of the schema; the number of the first."""
        first = self.end
        if batch.num_rows == 0:
            return first
        if self._kept is None or not batch.schema.equals(self._kept[0]):
            self._kept = batch.schema, [self._cast_of(batch.schema.field(field.name), field) for field in self._stored]
        columns = [
            batch.column(name) if type_ is None else batch.column(name).cast(type_)
            for name, type_ in zip(self._stored.names, self._kept[1], strict=True)
        ]
        self._chunks.append(_Chunk(first, pa.RecordBatch.from_arrays(columns, names=self._stored.names)))
        self.end += batch.num_rows
        self._changed(self._merge())
        return first

    def take(self, names: Sequence[str], rows: Int64s) -> list[pa.Array]:
        """These columns at these rows, with the types of the schema. Raises `StateError` for a dropped row number."""
        if len(rows) == 0:
            return [pa.array([], self.schema.field(name).type) for name in names]
        if int(rows.min()) < self.base or int(rows.max()) >= self.end:
            raise StateError(f"rows {self.base} to {self.end} are stored, but one outside was asked for")
        places = np.empty(len(rows), np.int64)
        numbers = np.empty(len(rows), np.int32)
        kernels.locate_rows(rows, self._starts, numbers, places)
        followed = places
        if self._loose and self._numbers.any():
            followed = np.empty(len(rows), np.int64)
            kernels.follow_numbers(self._numbers, numbers, places, followed)
        return [self._take(name, numbers, followed if name in self._loose else places) for name in names]

    def rows(self, first: int, end: int) -> pa.RecordBatch:
        """All columns of rows `first` to `end`, with the types in which they are stored."""
        pieces = [
            by_value(chunk.batch.slice(max(0, first - chunk.first), min(end, chunk.end) - max(first, chunk.first)))
            for chunk in self._chunks
            if chunk.first < end and chunk.end > first
        ]
        if not pieces:
            return _empty(self._stored)
        return pieces[0] if len(pieces) == 1 else pa.concat_batches(pieces)

    def bounds(self) -> list[tuple[int, int]]:
        """First row and end of each chunk."""
        return [(chunk.first, chunk.end) for chunk in self._chunks]

    def drop_chunks(self, count: int) -> None:
        """Forget the first so many chunks."""
        if count:
            del self._chunks[:count]
            self.base = self._chunks[0].first if self._chunks else self.end
            self._changed()

    def start_at(self, first: int) -> None:
        """Have no rows, and number the next one `first`."""
        self._chunks = []
        self.base = self.end = first
        self._changed()

    def _cast_of(self, given: pa.Field, field: pa.Field) -> pa.DataType | None:
        """What a column must become to be kept; None when it is kept as it is."""
        kind = given.type
        numbers = field.name in self._loose and pa.types.is_dictionary(kind) and kind.value_type == field.type
        return None if numbers or kind == field.type else field.type

    def _take(self, name: str, numbers: Int32s, places: Int64s) -> pa.Array:
        gatherer = self._gatherers.get(name)
        if gatherer is None:
            gatherer = self._gatherers[name] = _Gatherer(self._stored.field(name).type, name)
        gatherer.follow(self._chunks, self._starts)
        made = gatherer.take(numbers, places)
        wanted = self.schema.field(name).type
        return made if made.type == wanted else made.cast(wanted)

    def _changed(self, kept: int = 0) -> None:
        """All chunks but the first `kept` are others than before."""
        # only the new ones are looked at: all of them each time grows with the square of the epochs
        starts = [chunk.first for chunk in self._chunks[kept:]]
        self._starts = np.concatenate([self._starts[:kept], np.array(starts, np.int64)])
        numbers = [chunk.numbers(self._loose) for chunk in self._chunks[kept:]]
        self._numbers = np.concatenate([self._numbers[:kept], np.array(numbers, np.int64)])
        for gatherer in self._gatherers.values():
            gatherer.known = min(gatherer.known, kept)

    def _merge(self) -> int:
        """Put the last chunks together while they are small and not much larger than what has come after them.

        Returns how many chunks are as they were before the last one came.
        """
        at = len(self._chunks) - 1
        rows = self._chunks[at].batch.num_rows
        while at > 0 and self._chunks[at - 1].batch.num_rows <= min(2 * rows, _FEW_ROWS):
            at -= 1
            rows += self._chunks[at].batch.num_rows
        if at < len(self._chunks) - 1:
            joined = pa.concat_batches([by_value(chunk.batch) for chunk in self._chunks[at:]])
            self._chunks[at:] = [_Chunk(self._chunks[at].first, joined)]
        return at


class _Gatherer:
    """One column over all chunks; `known` is how many of them it has seen as they are now."""

    def __init__(self, type_: pa.DataType, name: str) -> None:
        self.known = 0
        self._type = type_
        self._name = name
        self._kind = _kind(type_)
        large = pa.types.is_large_string(type_) or pa.types.is_large_binary(type_)
        self._width = type_.bit_width // 8 if self._kind == "plain" else (8 if large else 4)
        self._columns: list[pa.Array] = []
        self._places = np.empty((5, 0), np.int64)

    def follow(self, chunks: Sequence[_Chunk], starts: Int64s) -> None:
        """Look at the chunks that have come since the last time."""
        self._starts = starts
        if self.known == len(chunks) == self._places.shape[1]:
            return
        added = np.array([chunk.place(self._name) for chunk in chunks[self.known :]], np.int64).reshape(-1, 5)
        self._places = np.ascontiguousarray(np.hstack([self._places[:, : self.known], added.T]))
        if self._kind == "other":
            self._columns[self.known :] = [chunk.batch.column(self._name) for chunk in chunks[self.known :]]
        self.known = len(chunks)
        validity, values, self._data, offsets, nulls = self._places
        self._nullable = bool(nulls.any())
        self._validity = validity, offsets
        self._shifts = offsets
        self._addresses = values if self._kind == "bits" else values + offsets * self._width

    def take(self, chunks: Int32s, places: Int64s) -> pa.Array:
        valid = self._valid(chunks, places)
        size = len(chunks)
        match self._kind:
            case "plain":
                buffer = pa.allocate_buffer(size * self._width)
                out = np.frombuffer(buffer, np.uint8)
                kernels.gather_fixed(self._addresses, chunks, places, self._width, out)
                return pa.Array.from_buffers(self._type, size, [bitmap(valid), buffer])
            case "bits":
                values = np.empty(size, np.uint8)
                kernels.gather_bits(self._addresses, self._shifts, chunks, places, values)
                return pa.Array.from_buffers(self._type, size, [bitmap(valid), bitmap(values)])
            case "strings":
                return self._strings(chunks, places, valid)
        rows = self._starts[chunks] + places - self._starts[0]
        taken = pa.chunked_array(self._columns, self._type).take(pa.array(rows))
        return taken.combine_chunks() if isinstance(taken, pa.ChunkedArray) else taken

    def _valid(self, chunks: Int32s, places: Int64s) -> Bytes:
        if not self._nullable or self._kind == "other":
            return ALL_VALID
        valid = np.empty(len(chunks), np.uint8)
        kernels.gather_bits(*self._validity, chunks, places, valid)
        return valid

    def _strings(self, chunks: Int32s, places: Int64s, valid: Bytes) -> pa.Array:
        taken = np.empty(len(chunks) + 1, np.int64)
        total = kernels.gather_sizes(self._addresses, chunks, places, self._width, taken)
        if self._width == 4 and total > 2**31 - 1:
            raise StateError(
                f"{len(chunks)} strings of a join are more than 2 GiB together; declare the column large_string"
            )
        buffer = pa.allocate_buffer(total)
        kernels.gather_strings(
            self._addresses, self._data, chunks, places, self._width, taken, np.frombuffer(buffer, np.uint8)
        )
        offsets = pa.py_buffer(taken if self._width == 8 else taken.astype(np.int32))
        return pa.Array.from_buffers(self._type, len(chunks), [bitmap(valid), offsets, buffer])


def is_flat(type_: pa.DataType) -> bool:
    """Whether values are in buffers that kernels gather from."""
    return _kind(type_) != "other"


def _kind(type_: pa.DataType) -> str:
    is_ = pa.types
    if is_.is_boolean(type_):
        return "bits"
    if is_.is_string(type_) or is_.is_large_string(type_) or is_.is_binary(type_) or is_.is_large_binary(type_):
        return "strings"
    plain = is_.is_primitive(type_) or is_.is_decimal128(type_)
    return "plain" if plain and type_.bit_width // 8 in _PLAIN_BYTES else "other"


def _address(buffer: pa.Buffer | None) -> int:
    return 0 if buffer is None else int(buffer.address)


def _stored(type_: pa.DataType) -> pa.DataType:
    return _stored(type_.value_type) if pa.types.is_dictionary(type_) else storage_type(type_)


def _nbytes(column: pa.Array) -> int:
    """What a column takes; of row numbers also the share of the values that they stand for."""
    if not pa.types.is_dictionary(column.type):
        return int(column.nbytes)
    values = column.dictionary
    return 4 * len(column) + int(values.nbytes) * len(column) // max(len(values), 1)


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)


def int64s(batch: pa.RecordBatch, name: str) -> Int64s:
    """An int64 column without nulls as an array."""
    values: Int64s = view(batch.column(name), np.int64)  # type: ignore[assignment]
    return values
