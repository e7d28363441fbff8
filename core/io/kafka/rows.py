"""Rows to the keys, values and headers of records, dealt to partitions."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from windrow.batch import WEIGHT, Int64s
from windrow.codec.json_encode import JsonEncoder
from windrow.codec.kafka_encode import partitions
from windrow.codec.kafka_records import HEADERS
from windrow.errors import PlanError
from windrow.io.upserts import last_of_each, with_tombstones

Format = Literal["json", "arrow", "raw"]
#: Columns that ``format="raw"`` takes; only the value has to be there.
RAW = ("key", "value", "headers", "timestamp")
_ARROW_ROWS = 4_096
#: Room that a record's own frame and an IPC stream's schema take.
_MARGIN = 4_096


@dataclass(frozen=True, slots=True)
class Outgoing:
    """Records for one partition, in order: binary, binary, int64 ms, `HEADERS`."""

    keys: pa.Array | None
    values: pa.Array
    times_ms: Int64s
    headers: pa.Array | None


class Encoding:
    """Makes records of rows of one schema.

    `key` names the columns of the record's key: of one column its text or bytes as they are, an integer as 8 bytes
    big-endian (Kafka's ``LongSerializer``) and anything else as text; of several a JSON document. Values: a JSON
    document a row; with ``arrow`` Arrow IPC streams of many rows (which have no key, but go to its partition); ``raw``
    the columns `RAW` as they are. `headers`: header name -> column, whose text or bytes is the header's value.
    `timestamp`: the column of the record's time, else now.

    Rows with a column `WEIGHT` are changes of a Table: the last of a key in an epoch counts, and is a tombstone (a
    record without a value) when it takes a row away.

    Without a key (or with a null one) all rows of an epoch go to one partition, by turns. With `updates`, rows that
    replace those before them, a null key is a key, too: its rows stay in partition 0, in their order.
    """

    def __init__(
        self,
        schema: pa.Schema,
        *,
        format: Format = "json",
        key: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
        timestamp: str | None = None,
        updates: bool = False,
        clock_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._format = format
        self._key = tuple(key)
        self._headers = dict(headers or {})
        self._timestamp = timestamp
        self._clock_ms = clock_ms
        self._weighted = WEIGHT in schema.names
        self._updates = updates or self._weighted
        for name in [*self._key, *self._headers.values(), *([timestamp] if timestamp else [])]:
            if name not in schema.names:
                raise PlanError(f"write_kafka: no column {name!r}; there are: {', '.join(schema.names)}")
        if self._weighted and (not self._key or format == "arrow"):
            raise PlanError("write_kafka: rows that can go away need a key, and a format with a record for each row")
        plain = pa.schema([field for field in schema if field.name != WEIGHT])
        self._values = JsonEncoder(plain) if format == "json" else None
        self._plain = plain.names
        if format == "raw":
            self._raw = {name for name in RAW if name in schema.names}
            if "value" not in self._raw or set(plain.names) - set(RAW):
                raise PlanError(
                    f"write_kafka: format='raw' takes the columns {', '.join(RAW)}, got {', '.join(plain.names)}"
                )
        keys = pa.schema([schema.field(name) for name in self._key])
        self._keys = JsonEncoder(keys) if len(self._key) > 1 else None

    def outgoing(
        self, batches: Sequence[pa.RecordBatch], count: int, epoch: int, max_bytes: int
    ) -> dict[int, Outgoing]:
        """The records of an epoch's rows, for `count` partitions."""
        batch = batches[0] if len(batches) == 1 else pa.concat_batches(batches)
        keys = self._key_bytes(batch)
        if self._weighted:
            assert keys is not None  # checked when it was made
            last = last_of_each(keys)
            batch, keys = batch.take(last), keys.take(last)
        chosen = np.full(batch.num_rows, epoch % count, np.int32)
        if keys is not None:
            dealt = partitions(keys, count)
            chosen = np.where(dealt < 0, 0 if self._updates else chosen, dealt)
        if self._format == "arrow":
            return self._arrow(batch.select(self._plain), chosen, max_bytes)
        values, times, headers = self._record_values(batch), self._times(batch), self._header_lists(batch)
        dealt_out = _dealt(chosen)
        if len(dealt_out) == 1:
            return {dealt_out[0][0]: Outgoing(keys, values, times, headers)}
        return {
            part: Outgoing(
                None if keys is None else keys.take(rows),
                values.take(rows),
                times[rows],
                None if headers is None else headers.take(rows),
            )
            for part, rows in dealt_out
        }

    def _key_bytes(self, batch: pa.RecordBatch) -> pa.Array | None:
        if self._keys is not None:
            return _binary(self._keys.encode(batch.select(list(self._key))))
        if self._key:
            return key_bytes(batch.column(self._key[0]))
        return _binary(batch.column("key")) if self._format == "raw" and "key" in self._raw else None

    def _record_values(self, batch: pa.RecordBatch) -> pa.Array:
        plain = batch.select(self._plain)
        values = _binary(self._values.encode(plain) if self._values is not None else plain.column("value"))
        return with_tombstones(values, batch.column(WEIGHT)) if self._weighted else values

    def _times(self, batch: pa.RecordBatch) -> Int64s:
        name = self._timestamp or ("timestamp" if self._format == "raw" and "timestamp" in self._raw else None)
        now = self._clock_ms()
        if name is None:
            return np.full(batch.num_rows, now, np.int64)
        times = batch.column(name)
        if pa.types.is_timestamp(times.type):
            times = pc.floor_temporal(times.cast(pa.timestamp("us", times.type.tz)), unit="millisecond")
            times = times.cast(pa.timestamp("ms", times.type.tz)).cast(pa.int64())
        return np.asarray(pc.fill_null(times.cast(pa.int64()), now).to_numpy(zero_copy_only=False), np.int64)

    def _header_lists(self, batch: pa.RecordBatch) -> pa.Array | None:
        if not self._headers:
            return batch.column("headers").cast(HEADERS) if self._format == "raw" and "headers" in self._raw else None
        columns = [_binary(_text(batch.column(name))) for name in self._headers.values()]
        rows, each = batch.num_rows, len(columns)
        order = np.arange(rows * each).reshape(each, rows).T.ravel()
        values = pa.concat_arrays(columns).take(pa.array(order))
        names = pa.array(list(self._headers) * rows, pa.string())
        pairs = pa.StructArray.from_arrays([names, values], fields=list(HEADERS.value_type))
        return pa.ListArray.from_arrays(pa.array(np.arange(0, rows * each + 1, each, dtype=np.int32)), pairs, HEADERS)

    def _arrow(self, batch: pa.RecordBatch, chosen: np.ndarray, max_bytes: int) -> dict[int, Outgoing]:
        now = self._clock_ms()
        found: dict[int, Outgoing] = {}
        for part, rows in _dealt(chosen):
            values = list(_streams(batch.take(rows), max_bytes - _MARGIN))
            found[part] = Outgoing(None, pa.array(values, pa.binary()), np.full(len(values), now, np.int64), None)
        return found


def key_bytes(keys: pa.Array) -> pa.Array:
    """A column as the keys of records: binary; see `Encoding`."""
    if pa.types.is_integer(keys.type):
        numbers = pc.fill_null(keys, 0).cast(pa.int64(), safe=not pa.types.is_uint64(keys.type))
        data = numbers.to_numpy(zero_copy_only=False).astype(">i8").tobytes()
        offsets = np.arange(0, 8 * len(keys) + 1, 8, dtype=np.int32)
        valid = pc.is_valid(keys)
        whole = pa.Array.from_buffers(pa.binary(), len(keys), [None, pa.py_buffer(offsets), pa.py_buffer(data)])
        return pc.if_else(valid, whole, pa.scalar(None, pa.binary())) if keys.null_count else whole
    return _binary(_text(keys))


def _text(column: pa.Array) -> pa.Array:
    type_ = column.type
    if pa.types.is_dictionary(type_):
        column, type_ = column.dictionary_decode(), type_.value_type
    binary = pa.types.is_binary(type_) or pa.types.is_large_binary(type_) or pa.types.is_binary_view(type_)
    if binary or (pa.types.is_fixed_size_binary(type_) and not pa.types.is_decimal(type_)):
        return column
    try:
        return column.cast(pa.string())
    except pa.ArrowException as error:
        raise PlanError(f"write_kafka: a column of {type_} cannot be a key or a header: {error}") from error


def _binary(column: pa.Array) -> pa.Array:
    return column if pa.types.is_binary(column.type) else column.cast(pa.binary())


def _dealt(chosen: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """For every partition that has some, its rows in order."""
    first = int(chosen[0])
    if (chosen == first).all():
        return [(first, np.arange(len(chosen)))]
    order = np.argsort(chosen, kind="stable")
    cuts = np.flatnonzero(np.diff(chosen[order])) + 1
    return [(int(chosen[rows[0]]), rows) for rows in np.split(order, cuts)]


def _streams(batch: pa.RecordBatch, max_bytes: int) -> list[bytes]:
    """The rows as Arrow IPC streams of at most `max_bytes` each; one row a stream where even two are too large."""
    found: list[bytes] = []
    left = [batch.slice(at, _ARROW_ROWS) for at in reversed(range(0, batch.num_rows, _ARROW_ROWS))]
    while left:
        some = left.pop()
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, some.schema) as writer:
            writer.write_batch(some)
        stream = sink.getvalue()
        if stream.size > max_bytes and some.num_rows > 1:
            half = some.num_rows // 2
            left += [some.slice(half), some.slice(0, half)]
        else:
            found.append(stream.to_pybytes())
    return found
