"""A topic of the embedded log as a source of batches."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from windrow.arrow_types import from_arrow_schema
from windrow.codec.base import Decoder, DecoderFactory
from windrow.datatypes import INT64, Field, Schema
from windrow.errors import PlanError
from windrow.io.base import Fetched, OnError
from windrow.io.log.log import Log
from windrow.io.log.sharing import shared
from windrow.io.rejected import record_error, rejected_records

#: "earliest", "latest", partition -> offset, or the first event at a time (an int: microseconds)
Start = Literal["earliest", "latest"] | Mapping[int, int] | datetime | int

PIECE_ROWS = 65_536
_SMALL_ROWS = 8_192  # chunks below this are joined: a decoder's cost per call would show


_RECORD_FIELDS = {
    "key": pa.field("key", pa.binary()),
    "value": pa.field("value", pa.binary()),
    "timestamp": pa.field("timestamp", pa.timestamp("us", "UTC")),
    "partition": pa.field("partition", pa.int64()),
    "offset": pa.field("offset", pa.int64()),
}


@dataclass(frozen=True, slots=True)
class _Need:
    """Which of the wanted columns come from where."""

    decoded: tuple[str, ...]
    record: Mapping[str, str]  # column -> what of the record


class LogSource:
    """`Source` over one topic.

    With `decoder` and its `schema`, the values of a raw topic are decoded to the columns of `schema`. Without, a
    topic's own columns are given as they lie in the file. `record_columns` adds what belongs to the record itself:
    what it is (key, value, timestamp of a raw topic; partition, offset of any) -> the column's name.

    `log` is a `Log`, or a path, whose log is then opened and closed here. ``end="latest"`` ends where the topic ended
    when the source was made. With ``on_error="fail"`` the first bad record raises `RecordError`; with the others it is
    left out and handed back as rejected. Raises `LogError` when there is no such topic, `PlanError` when the arguments
    do not fit it.
    """

    replayable = True

    def __init__(
        self,
        log: Log | str | Path,
        topic: str,
        *,
        name: str | None = None,
        schema: Schema | None = None,
        decoder: DecoderFactory | None = None,
        start: Start = "earliest",
        end: Literal["latest"] | None = None,
        on_error: OnError = "fail",
        record_columns: Mapping[str, str] | None = None,
        piece_rows: int = PIECE_ROWS,
    ) -> None:
        self._shared = shared(log)
        self._log = self._shared.log
        self._topic = self._log.topic(topic)
        self.name = name or topic
        self._decoder = decoder
        self._on_error = on_error
        self._start = start
        self._piece_rows = piece_rows
        self._record = {column: what for what, column in (record_columns or {}).items()}
        self._own = self._own_schema(schema)
        self.schema = Schema((*self._own, *(_record_field(what, column) for column, what in self._record.items())))
        self._check_record_columns()
        self.bounded = end == "latest"
        self._ends = self._topic.end_offsets if self.bounded else ()
        self._seen: tuple[int, ...] = ()  # where the topic ended at the last `wait`

    def _own_schema(self, schema: Schema | None) -> Schema:
        if self._decoder is None:
            return from_arrow_schema(self._topic.schema)
        if schema is None:
            raise PlanError(f"source {self.name!r}: a decoder needs the schema of what it decodes")
        if not self._topic.raw:
            raise PlanError(
                f"source {self.name!r}: topic {self._topic.name!r} has columns of its own; it needs no decoder"
            )
        return schema

    def _check_record_columns(self) -> None:
        for what in self._record.values():
            if what not in _RECORD_FIELDS:
                raise PlanError(f"source {self.name!r}: a record has no {what!r}; it has {', '.join(_RECORD_FIELDS)}")
            if not self._topic.raw and what not in ("partition", "offset"):
                raise PlanError(
                    f"source {self.name!r}: records of a typed topic have no {what!r} besides their columns"
                )

    def partitions(self) -> Sequence[int]:
        return range(self._topic.partitions)

    def start_offset(self, partition: int) -> int:
        first, next_offset = self._log.index.bounds(self._topic.name, partition)
        if isinstance(self._start, str):
            found = {"earliest": first, "latest": next_offset}.get(self._start)
            if found is None:
                raise PlanError(
                    f"source {self.name!r}: start is 'earliest', 'latest', offsets or a time, not {self._start!r}"
                )
            return found
        if isinstance(self._start, Mapping):
            return self._start.get(partition, first)
        return self._log.offset_for_time(self._topic.name, partition, self._start)

    def end_offset(self, partition: int) -> int:
        if self.bounded:
            return self._ends[partition]
        return self._log.end_offset(self._topic.name, partition)

    def plan(self, partition: int, next_offset: int, max_rows: int, max_bytes: int) -> int:
        if self.bounded:
            max_rows = min(max_rows, self._ends[partition] - next_offset)
            if max_rows <= 0:
                return next_offset
        return self._log.plan(self._topic.name, partition, next_offset, max_rows, max_bytes)

    def cuts(self, partition: int, start_offset: int, end_offset: int) -> Sequence[int]:
        """Between chunks, whose checksums are then looked at once each."""
        found = []
        for chunk in self._log.index.chunks(self._topic.name, partition, start_offset, end_offset):
            if chunk.end < end_offset and chunk.end - start_offset >= self._piece_rows:
                found.append(start_offset := chunk.end)
        return found

    def read(self, partition: int, start_offset: int, end_offset: int, columns: tuple[str, ...]) -> Iterator[Fetched]:
        need = self._need(columns)
        decoder = self._decoder(need.decoded) if self._decoder is not None and need.decoded else None
        for batch, first_offset, input_bytes in self._pieces(partition, start_offset, end_offset):
            if decoder is not None:
                yield self._decode(decoder, batch, partition, first_offset, input_bytes, columns, need)
            else:
                data = _assembled(batch.num_rows, columns, need, batch, batch, partition, _offsets(first_offset, batch))
                yield Fetched(data, first_offset, input_bytes)

    def wait(self, timeout_s: float) -> None:
        """Returns at once when the topic has grown since the last call of this; commits to others do not count."""
        deadline_s = time.monotonic() + timeout_s
        while True:
            version = self._log.store.data_version()
            ends = self._log.topic(self._topic.name).end_offsets
            left_s = deadline_s - time.monotonic()
            if ends != self._seen or left_s <= 0:
                self._seen = ends
                return
            self._log.wait(left_s, version)

    def close(self) -> None:
        self._shared.release()

    def _need(self, columns: tuple[str, ...]) -> _Need:
        unknown = [name for name in columns if name not in self.schema]
        if unknown:
            raise PlanError(f"source {self.name!r} has no column {unknown[0]!r}; it has {', '.join(self.schema.names)}")
        record = {name: self._record[name] for name in columns if name in self._record}
        return _Need(tuple(name for name in columns if name not in record), record)

    def _pieces(self, partition: int, start: int, end: int) -> Iterator[tuple[pa.RecordBatch, int, int]]:
        """Batches of at most `piece_rows` with their first offset and bytes; small chunks joined, large ones cut."""
        waiting: list[pa.RecordBatch] = []
        rows, size, first_offset = 0, 0, start
        for batch, chunk in self._log.batches(self._topic, partition, start, end):
            batch_bytes = chunk.length * batch.num_rows // chunk.rows
            if waiting and (rows >= _SMALL_ROWS or rows + batch.num_rows > self._piece_rows):
                yield _joined(waiting), first_offset, size
                first_offset, rows, size = first_offset + rows, 0, 0
                waiting = []
            for cut in range(0, max(batch.num_rows - self._piece_rows, 0), self._piece_rows):
                part = batch.slice(cut, self._piece_rows)
                part_bytes = batch_bytes * part.num_rows // batch.num_rows
                yield part, first_offset, part_bytes
                first_offset += part.num_rows
            done = max(-(-batch.num_rows // self._piece_rows) - 1, 0) * self._piece_rows
            rest = batch.slice(done)
            waiting.append(rest)
            rows += rest.num_rows
            size += batch_bytes * rest.num_rows // batch.num_rows
        if waiting:
            yield _joined(waiting), first_offset, size

    def _decode(
        self, decoder: Decoder, batch: pa.RecordBatch, partition: int, first_offset: int, input_bytes: int,
        columns: tuple[str, ...], need: _Need,
    ) -> Fetched:  # fmt: skip
        decoded = decoder.decode(batch.column("value"))
        bad = decoded.rejected.rows
        offsets = _offsets(first_offset, batch)
        if not len(bad):
            data = _assembled(batch.num_rows, columns, need, decoded.data, batch, partition, offsets)
            return Fetched(data, first_offset, input_bytes)
        places = pa.array(bad)
        rejected = rejected_records(
            self._topic.name, partition, bad + first_offset, batch.column("value").take(places), decoded.rejected,
            times=batch.column("timestamp").take(places), keys=batch.column("key").take(places),
            headers=batch.column("headers").take(places) if "headers" in batch.schema.names else None,
        )  # fmt: skip
        if self._on_error == "fail":
            raise record_error(rejected, self.name)
        good = np.ones(batch.num_rows, bool)
        good[bad] = False
        keep = pa.array(good)
        rows, offsets = batch.filter(keep), offsets.filter(keep)
        data = _assembled(rows.num_rows, columns, need, decoded.data, rows, partition, offsets)
        return Fetched(data, first_offset, input_bytes, offsets, rejected)


def _assembled(
    rows: int, columns: tuple[str, ...], need: _Need, data: pa.RecordBatch, record: pa.RecordBatch, partition: int,
    offsets: pa.Array,
) -> pa.RecordBatch:  # fmt: skip
    """The wanted columns in the wanted order, from the decoded ones and from the record."""
    arrays, fields = [], []
    for name in columns:
        what = need.record.get(name)
        if what is None:
            array = data.column(name)
        elif what == "partition":
            array = pa.array(np.full(rows, partition, np.int64))
        elif what == "offset":
            array = offsets
        else:
            array = record.column(what)
        arrays.append(array)
        fields.append(pa.field(name, array.type))
    if not arrays:  # rows without columns: an Arrow batch cannot say how many
        arrays, fields = [offsets], [pa.field("__offset", pa.int64())]
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def _offsets(first_offset: int, batch: pa.RecordBatch) -> pa.Array:
    return pa.array(np.arange(first_offset, first_offset + batch.num_rows, dtype=np.int64))


def _joined(batches: list[pa.RecordBatch]) -> pa.RecordBatch:
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def _record_field(what: str, column: str) -> Field:
    field = _RECORD_FIELDS.get(what)
    return Field(column, from_arrow_schema(pa.schema([field])).fields[0].type if field is not None else INT64)
