"""Columns to Kafka's record batches (format v2, KIP-98), ready but for what the transaction decides."""

from __future__ import annotations

import struct
from dataclasses import dataclass

import crc32c
import numpy as np
import pyarrow as pa

from windrow.batch import ALL_VALID, Bytes, Int32s, Int64s, validity
from windrow.codec.kafka_compression import NUMBERS, Compression, compressed
from windrow.codec.kafka_records import HEADERS
from windrow.errors import PlanError, RecordError
from windrow.kernels import kafka_records, kafka_write

#: What a broker takes in one batch unless told otherwise (`max.message.bytes`), and the least that can be asked for.
MAX_BATCH_BYTES, LEAST_BATCH_BYTES = 1_048_588, 512
_MAX_TOTAL_BYTES = 2**31 - 1
_HEAD = struct.Struct(
    ">qiibIhiqqqhii"
)  # baseOffset length leaderEpoch magic crc attributes lastDelta times producer...
_STAMP = struct.Struct(">qhi")  # producer id, producer epoch, base sequence
_LENGTH_FROM, _CRC_AT, _CRC_FROM, _STAMP_AT = 12, 17, 21, 43
_TRANSACTIONAL = 0x10
_NO_OFFSETS: Int32s = np.empty(0, np.int32)


class EncodedBatch:
    """One record batch: `count` records, the first of them row `first_row`; `nbytes` in all."""

    __slots__ = ("_bytes", "_stamped", "count", "first_row", "nbytes")

    def __init__(self, data: memoryview, count: int, first_row: int) -> None:
        self._bytes = data
        self._stamped: tuple[int, int, int, bool] | None = None
        self.count = count
        self.first_row = first_row
        self.nbytes = len(data)

    def stamped(self, producer_id: int, producer_epoch: int, base_sequence: int, transactional: bool) -> memoryview:
        """The bytes of the batch as this producer's, checksum included (read-only).

        With the same values again they are the same bytes; with others a copy, as the first may still be on their way.
        """
        stamp = (producer_id, producer_epoch, base_sequence, transactional)
        if self._stamped is not None and stamp != self._stamped:
            self._bytes = memoryview(bytearray(self._bytes))
        if stamp != self._stamped:
            data = self._bytes
            attributes = data[_CRC_FROM + 1] & ~_TRANSACTIONAL & 0xFF
            data[_CRC_FROM + 1] = attributes | (_TRANSACTIONAL if transactional else 0)
            _STAMP.pack_into(data, _STAMP_AT, producer_id, producer_epoch, base_sequence)
            struct.pack_into(">I", data, _CRC_AT, crc32c.crc32c(data[_CRC_FROM:]))
            self._stamped = stamp
        return self._bytes.toreadonly()


@dataclass(frozen=True, slots=True)
class Encoded:
    """Record batches in the order of their rows, and the rows (int64) that no batch can hold."""

    batches: list[EncodedBatch]
    too_large: Int64s


def encode(
    keys: pa.Array | None,
    values: pa.Array | None,
    times_ms: Int64s,
    headers: pa.Array | None = None,
    *,
    compression: Compression = "none",
    max_batch_bytes: int = MAX_BATCH_BYTES,
) -> Encoded:
    """Record batches of at most `max_batch_bytes` each, uncompressed.

    `keys`, `values`: binary or string, null where there is none; None: all are. `times_ms`: int64, from 0 on.
    `headers`: of type `HEADERS`, or castable. Raises `RecordError` for a negative time and above 2 GiB.
    """
    rows = len(times_ms)
    if max_batch_bytes < LEAST_BATCH_BYTES:
        raise PlanError(f"a record batch has at least {LEAST_BATCH_BYTES} bytes, max_batch_bytes is {max_batch_bytes}")
    if compression not in NUMBERS:
        raise PlanError(f"compression is one of {', '.join(NUMBERS)}, got {compression!r}")
    times = np.ascontiguousarray(times_ms, np.int64)
    if rows and times.min() < 0:
        row = int(times.argmin())
        raise RecordError(f"row {row}: {times[row]} ms is before 1970, which a Kafka record cannot say")
    key, value, header = _binary(keys, rows, "keys"), _binary(values, rows, "values"), _headers(headers, rows)
    payload = sum(_span(ends) for ends in (key[0], value[0], header[0])) + kafka_write.MOST_OVERHEAD * rows
    most_batches = min(rows, 3 * payload // max_batch_bytes + 2)
    total = payload + kafka_write.HEADER_BYTES * most_batches
    # memory from Arrow's pool, which keeps pages that are already mapped: fresh ones cost as much as the encoding
    out = np.frombuffer(pa.allocate_buffer(total), np.uint8)
    table = np.empty(most_batches * kafka_write.BATCH_SLOTS, np.int64)
    too_large = np.empty(rows + 1, np.int64)
    found = int(kafka_write.write(*key, *value, *header, times, max_batch_bytes, out, table, too_large))
    memory = out.data
    batches = [
        _batch(memory, entry, compression)
        for entry in table[: found * kafka_write.BATCH_SLOTS].reshape(-1, kafka_write.BATCH_SLOTS).tolist()
    ]
    return Encoded(batches, too_large[1 : 1 + int(too_large[0])].copy())


def _batch(memory: memoryview, entry: list[int], compression: Compression) -> EncodedBatch:
    start, end, first_row, count, base_time, last_time = entry
    data, codec = memory[start:end], 0
    if compression != "none":
        smaller = compressed(data[kafka_write.HEADER_BYTES :], compression)
        if len(smaller) < len(data) - kafka_write.HEADER_BYTES:  # else it goes as it is, within the limit
            data, codec = memoryview(bytearray(kafka_write.HEADER_BYTES) + smaller), NUMBERS[compression]
    _HEAD.pack_into(
        data, 0, 0, len(data) - _LENGTH_FROM, -1, 2, 0, codec, count - 1, base_time, last_time, -1, -1, -1, count
    )
    return EncodedBatch(data, count, first_row)


def partitions(keys: pa.Array, count: int) -> Int32s:
    """The partition of each key among `count`, as the Java client's (murmur2); -1 for null: the caller deals those out.

    `keys`: binary or string.
    """
    if count < 1:
        raise PlanError(f"a topic has at least one partition, got {count}")
    ends, data, there = _binary(keys, len(keys), "keys")
    out = np.full(len(keys), kafka_records.NULL, np.int32)
    if ends.size:
        kafka_records.murmur2_partitions(ends, data, there, count, out)
    return out


def _span(ends: Int32s) -> int:
    return int(ends[-1]) - int(ends[0]) if ends.size else 0


def _binary(column: pa.Array | None, rows: int, name: str) -> tuple[Int32s, Bytes, Bytes]:
    """(offsets, data, presence) of a binary column; no offsets when there is nothing in it."""
    if column is None or rows == 0 or column.null_count == len(column):
        if column is not None and len(column) != rows:
            raise PlanError(f"{rows} times, but {len(column)} {name}")
        return _NO_OFFSETS, ALL_VALID, ALL_VALID
    if len(column) != rows:
        raise PlanError(f"{rows} times, but {len(column)} {name}")
    if not (pa.types.is_binary(column.type) or pa.types.is_string(column.type)):
        try:
            column = column.cast(pa.binary())
        except pa.ArrowException as error:
            raise PlanError(f"{name} of Kafka records are binary or string, got {column.type}: {error}") from error
    _, offsets, data = column.buffers()
    ends = np.frombuffer(offsets, np.int32, rows + 1, 4 * column.offset)
    return ends, ALL_VALID if data is None else np.frombuffer(data, np.uint8), validity(column)


def _headers(column: pa.Array | None, rows: int) -> tuple[Int32s, Bytes]:
    """(offsets, bytes) of the headers as they stand in the records; no offsets when there are none."""
    if column is None or column.null_count == len(column):
        return _NO_OFFSETS, ALL_VALID
    if len(column) != rows:
        raise PlanError(f"{rows} times, but {len(column)} headers")
    try:
        column = column.cast(HEADERS)
    except pa.ArrowException as error:
        raise PlanError(f"headers of Kafka records are {HEADERS}, got {column.type}: {error}") from error
    lists = np.asarray(column.offsets, np.int32)
    pairs = column.values
    names, texts = pairs.field(0), pairs.field(1)
    if pairs.offset or len(names) != len(pairs):
        names, texts = pairs.flatten()
    if pairs.null_count or names.null_count:
        raise RecordError("a header of a Kafka record is null or has no key; leave it out")
    keys = _binary(names, len(names), "header keys")
    values = _binary(texts, len(texts), "header values")
    if not keys[0].size:
        return _NO_OFFSETS, ALL_VALID
    room = _span(keys[0]) + _span(values[0]) + 10 * len(names) + 5 * rows
    if room > _MAX_TOTAL_BYTES:
        raise RecordError(f"the headers of {rows} records take more than 2 GiB: write smaller batches")
    ends, out = np.empty(rows + 1, np.int32), np.empty(room, np.uint8)
    kafka_write.header_bytes(lists, validity(column), keys[0], keys[1], *values, ends, out)
    return ends, out
