"""JSON documents to Arrow columns, as a schema directs: only the wanted columns, no Python object per event.

The whole document is checked against RFC 8259, wanted or not: UTF-8, escapes, numbers, nesting. Of a key that comes
twice the last value counts, as in Python's ``json``; half of a surrogate pair is an error, as it cannot be UTF-8.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from windrow.arrow_types import to_arrow_schema
from windrow.batch import ALL_VALID, Bytes, Int32s, Int64s
from windrow.codec.base import Decoded, Rejected
from windrow.codec.json_program import Program, Scratch, WantedField, field_table, program
from windrow.codec.json_reasons import document_reason, field_reason
from windrow.datatypes import Schema
from windrow.errors import PlanError
from windrow.kernels import json_decode as decoder
from windrow.kernels import json_fields as kinds
from windrow.kernels.json_numbers import powers_of_five
from windrow.kernels.json_text import FLOAT_RANGE

_REJECTS = 256  # rejected rows and deferred values that the kernel hands over at a time
_PROBE_ROWS = 128  # rows from which the sizes of the text columns are estimated
_MARGIN = 1.125
_BLOCK = 64

_powers = functools.cache(powers_of_five)


class JsonDecoder:
    """Decodes JSON objects to the columns of a schema; may be used by several threads at once.

    Rejected is a document that is no JSON object, is nested deeper than `max_depth` or longer than `max_bytes`, or has
    a value that does not fit its field: a number out of range or, for int64, written with a point or an exponent
    (1.0, 1e3); a time, date, decimal or base64 text that is none. Missing and null are null unless the field is
    required. Times finer than a microsecond are rounded down.
    """

    def __init__(self, schema: Schema, *, max_depth: int = 128, max_bytes: int = 16 << 20) -> None:
        if max_depth < 1 or max_bytes < 1:
            raise PlanError(f"max_depth and max_bytes must be at least 1, got {max_depth} and {max_bytes}")
        self.schema = schema
        self.max_depth = max_depth
        self.max_bytes = max_bytes
        self._program = program(schema)
        self._arrow_schema = to_arrow_schema(schema)

    def decode(self, documents: pa.Array) -> Decoded:
        """Decode a binary or string array, one document a row; rows that are null are rejected as "no value"."""
        return self.decode_places(*_views(_binary(documents)))

    def decode_places(self, data: Bytes, starts: Int32s, ends: Int32s, present: Bytes) -> Decoded:
        """Decode documents that lie anywhere in `data`, document i at ``[starts[i], ends[i])``; both ascend.

        `present`: a byte a row, 0 for no document, or `ALL_VALID`. As `decode` in everything else.
        """
        run = _Run(self._program, self.max_depth, self.max_bytes, data, starts, ends, present)
        run.decode()
        columns, dropped = run.finish()
        if columns:
            batch = pa.RecordBatch.from_arrays(columns, schema=self._arrow_schema)
        else:  # a batch without columns still counts its rows
            rows = pa.Array.from_buffers(pa.struct([]), run.good_rows, [None])
            batch = pa.RecordBatch.from_struct_array(rows)
        if dropped.size:
            keep = np.ones(batch.num_rows, np.bool_)
            keep[dropped] = False
            batch = batch.filter(pa.array(keep))
        return Decoded(batch, run.rejected())


def _binary(documents: pa.Array) -> pa.Array:
    """The documents with int32 offsets."""
    if pa.types.is_binary(documents.type) or pa.types.is_string(documents.type):
        return documents
    try:
        return documents.cast(pa.binary())
    except pa.ArrowException as error:
        raise PlanError(f"JSON documents must be a binary or string column, got {documents.type}: {error}") from error


def _buffer_of(items: int, dtype: npt.DTypeLike) -> tuple[pa.Buffer, npt.NDArray[Any]]:
    """Memory from Arrow's pool, which keeps pages that are already mapped, and a view to write through."""
    width = np.dtype(dtype).itemsize
    buffer = pa.allocate_buffer(items * width + _BLOCK)
    return buffer, np.frombuffer(buffer, dtype, items)


class _Run:
    """One call of `JsonDecoder.decode`: its memory and its progress."""

    def __init__(
        self, wanted: Program, max_depth: int, max_bytes: int, data: Bytes, starts: Int32s, ends: Int32s, present: Bytes
    ) -> None:
        self._wanted = wanted
        self._max_depth = max_depth
        self._max_bytes = max_bytes
        self._data, self._starts, self._ends, self._present = data, starts, ends, present
        self._rows = rows = len(starts)
        self._text_fields = [f for f, field in enumerate(wanted.fields) if field.is_text]
        self._fixed_buffer, self._fixed = _buffer_of(sum(field.words for field in wanted.fields) * rows, np.int64)
        self._offsets_buffer, self._offsets = _buffer_of(len(self._text_fields) * (rows + 1), np.int32)
        self._offsets[:: rows + 1] = 0
        self._valid = np.full(len(wanted.fields) * ((rows + 7) // 8), 255, np.uint8)
        self._progress = np.zeros(5, np.int64)
        self._scratch = Scratch(wanted, max_depth)
        self._rejects = np.empty(_REJECTS * decoder.REJECT_SLOTS, np.int64)
        self._deferred = np.empty((_REJECTS + len(wanted.fields)) * decoder.DEFER_SLOTS, np.int64)
        self._rejected: list[tuple[int, str | None, str]] = []
        self._dropped: set[int] = set()
        self._table: Int64s = np.empty(0, np.int64)
        self._areas: Int64s = np.empty(0, np.int64)
        self._text: Bytes = np.empty(0, np.uint8)
        self._make_room(np.zeros(len(self._text_fields), np.int64))

    # -- memory for text

    def _make_room(self, rooms: Int64s) -> None:
        """Text areas of these sizes in bytes, with what is in the present ones."""
        areas = np.concatenate(([0], np.cumsum(rooms + _BLOCK)))
        buffer, text = _buffer_of(int(areas[-1]), np.uint8)
        if self._table.size:
            for t, (area, used) in enumerate(zip(self._areas.tolist(), self._used().tolist(), strict=True)):
                text[areas[t] : areas[t] + used] = self._text[area : area + used]
        self._text_buffer, self._text, self._areas, self._rooms = buffer, text, areas[:-1], rooms
        self._table = field_table(self._wanted, self._rows, self._areas, rooms)

    def _used(self) -> Int64s:
        """Bytes of text in each text column so far."""
        first = np.arange(len(self._text_fields), dtype=np.int64) * (self._rows + 1)
        used: Int64s = self._offsets[first + self.good_rows].astype(np.int64)
        return used

    def _estimate(self) -> None:
        """Room for the text of all rows, going by the text of the rows before."""
        rows = self._rows
        row = int(self._progress[decoder.ROW_IN])
        starts, ends = self._starts, self._ends
        done = int(starts[row]) - int(starts[0])
        left = int(ends[-1]) - int(starts[row])
        longest = int(ends[row]) - int(starts[row])
        if done < _PROBE_ROWS * 8:
            # too little to go by: enough for a few rows in the worst case
            probe = min(rows, row + _PROBE_ROWS)
            more = np.full(len(self._rooms), int(ends[probe - 1]) - int(starts[row]), np.int64)
        else:
            more = (self._used() / done * left * _MARGIN).astype(np.int64) + 1024
        # never less than the next document may take, never more than all that is left; and what is more than half full
        # grows to double, so that a guess that stays too low costs little
        used = self._used()
        more = np.minimum(np.maximum(more, np.where(2 * used > self._rooms, self._rooms, 0)), left)
        self._make_room(np.maximum(self._rooms, used + np.maximum(more, longest) + 2 * _BLOCK))

    # -- the loop around the kernel

    def decode(self) -> None:
        """Decode all rows."""
        if self._rows == 0:
            return
        padded = int(np.searchsorted(self._ends, self._data.size - decoder.PADDING, "right"))
        self._decode_until(padded)
        if padded >= self._rows:
            return
        # the rest ends too near to the end of the buffer to be read in blocks
        row = int(self._progress[decoder.ROW_IN])
        start, end = int(self._starts[row]), int(self._ends[-1])
        rest = np.zeros(end - start + decoder.PADDING, np.uint8)
        rest[: -decoder.PADDING] = self._data[start:end]
        self._decode_rest(rest, start)

    def _decode_rest(self, rest: Bytes, start: int) -> None:
        """Decode the remaining rows, whose documents are in `rest` and begin at byte `start` of the data."""
        before = self._data, self._starts, self._ends
        self._data, self._starts, self._ends = rest, self._starts - np.int32(start), self._ends - np.int32(start)
        self._decode_until(self._rows)
        self._data, self._starts, self._ends = before

    def _decode_until(self, rows: int) -> None:
        wanted = self._wanted
        while True:
            status = decoder.decode(
                self._data, self._starts, self._ends, self._present, wanted.nodes, wanted.keys, self._table, _powers(),
                rows, len(wanted.fields), wanted.longest_key, self._max_bytes,
                self._progress, self._scratch.memory, self._fixed, self._offsets, self._text, self._valid,
                self._rejects, self._deferred,
            )  # fmt: skip
            self._take_lists()
            if status == decoder.DONE:
                return
            if status == decoder.TEXT_FULL:
                self._estimate()

    # -- rows and values that the kernel hands over

    def _take_lists(self) -> None:
        rejects = self._rejects[: int(self._progress[decoder.REJECTED]) * decoder.REJECT_SLOTS]
        for row, code, f, at in rejects.reshape(-1, decoder.REJECT_SLOTS).tolist():
            self._reject(row, code, f, at)
        deferred = self._deferred[: int(self._progress[decoder.PUT_OFF]) * decoder.DEFER_SLOTS]
        for row, row_out, f, start, size in deferred.reshape(-1, decoder.DEFER_SLOTS).tolist():
            # Python's own float decides what 19 digits leave open
            value = float(bytes(self._data[start : start + size]))
            at = int(self._table[f * 8 + kinds.PLACE // 8]) // 8 + row_out
            self._fixed[at : at + 1].view(np.float64)[0] = value
            if math.isinf(value) and row_out not in self._dropped:
                self._dropped.add(row_out)
                self._reject(row, FLOAT_RANGE, f, start - int(self._starts[row]))
        self._progress[decoder.REJECTED] = self._progress[decoder.PUT_OFF] = 0

    def _reject(self, row: int, code: int, f: int, at: int) -> None:
        if f < 0:
            self._rejected.append((row, None, document_reason(code, at, self._max_depth, self._max_bytes)))
            return
        field = self._wanted.fields[f]
        document = bytes(self._data[int(self._starts[row]) : int(self._ends[row])])
        self._rejected.append((row, field.field.name, field_reason(code, field, at, document)))

    def rejected(self) -> Rejected:
        found = sorted(self._rejected, key=lambda entry: entry[0])
        rows = np.array([row for row, _, _ in found], np.int64)
        return Rejected(rows, tuple(field for _, field, _ in found), tuple(reason for _, _, reason in found))

    # -- columns

    @property
    def good_rows(self) -> int:
        """Rows decoded so far."""
        return int(self._progress[decoder.ROW_OUT])

    def finish(self) -> tuple[list[pa.Array], Int64s]:
        """The columns in the order of the schema, and the rows of them that are to be left out."""
        columns: list[pa.Array | None] = [None] * len(self._wanted.fields)
        texts = 0
        for f, field in enumerate(self._wanted.fields):
            columns[field.column] = (
                self._text_column(f, field, texts) if field.is_text else self._fixed_column(f, field)
            )
            texts += field.is_text
        return columns, np.array(sorted(self._dropped), np.int64)

    def _bitmap(self, f: int) -> tuple[pa.Buffer | None, int]:
        """(validity bitmap, nulls) of a field's column."""
        nulls = self._scratch.nulls(f)
        width = (self._rows + 7) // 8
        return (pa.py_buffer(self._valid[f * width : (f + 1) * width]) if nulls else None), nulls

    def _text_column(self, f: int, field: WantedField, t: int) -> pa.Array:
        rows = self.good_rows
        offsets = self._offsets_buffer.slice(t * (self._rows + 1) * 4, (rows + 1) * 4)
        text = self._text_buffer.slice(int(self._areas[t]), int(self._used()[t]))
        bitmap, nulls = self._bitmap(f)
        type_ = pa.binary() if field.kind == kinds.BASE64 else pa.string()
        return pa.Array.from_buffers(type_, rows, [bitmap, offsets, text], nulls)

    def _fixed_column(self, f: int, field: WantedField) -> pa.Array:
        rows = self.good_rows
        place = int(self._table[f * 8 + kinds.PLACE // 8])
        bitmap, nulls = self._bitmap(f)
        type_ = {
            kinds.INT: pa.int64(), kinds.FLOAT: pa.float64(), kinds.BOOL: pa.bool_(), kinds.DATE: pa.date32(),
            kinds.ISO_TIME: pa.timestamp("us", "UTC"), kinds.EPOCH_TIME: pa.timestamp("us", "UTC"),
        }.get(field.kind) or pa.decimal128(field.precision, field.unit)  # fmt: skip
        words = self._fixed[place // 8 : place // 8 + rows]
        if field.kind == kinds.BOOL:
            buffer = pa.py_buffer(np.packbits(words != 0, bitorder="little"))
        elif field.kind == kinds.DATE:
            buffer = pa.py_buffer(words.astype(np.int32))
        else:
            buffer = self._fixed_buffer.slice(place, rows * 8 * field.words)
        return pa.Array.from_buffers(type_, rows, [bitmap, buffer], nulls)


def _views(documents: pa.Array) -> tuple[Bytes, Int32s, Int32s, Bytes]:
    """(data, starts, ends, one byte a row for whether there is a document, or none) of a binary array."""
    rows = len(documents)
    _, ends_buffer, data_buffer = documents.buffers()
    if rows == 0 or ends_buffer is None:
        return np.empty(0, np.uint8), np.empty(0, np.int32), np.empty(0, np.int32), ALL_VALID
    ends = np.frombuffer(ends_buffer, np.int32, rows + 1, documents.offset * 4)
    data = np.empty(0, np.uint8) if data_buffer is None else np.frombuffer(data_buffer, np.uint8)
    if documents.null_count == 0:
        return data, ends[:-1], ends[1:], ALL_VALID
    return data, ends[:-1], ends[1:], documents.is_valid().cast(pa.uint8()).to_numpy()
