"""Kafka's record batches in memory: to columns and from columns, next to kafka-python's own reader and writer."""

from __future__ import annotations

import struct
import time
import zlib
from functools import cache

import numpy as np
import pyarrow as pa

from benchmarks.harness import Measured, benchmark, median_seconds
from windrow.codec.kafka_encode import encode, partitions
from windrow.codec.kafka_records import Rows, gathered, read
from windrow.kernels import kafka_records as kernels

_RECORDS = 1_000_000
_VALUE_BYTES = 170
_START_MS = 1_760_000_000_000


@cache
def columns(records: int) -> tuple[pa.Array, pa.Array, np.ndarray]:
    """(keys of 8 bytes, values of 170, times that ascend by 0 to 3 ms)"""
    rng = np.random.default_rng(5)
    text = rng.integers(32, 127, records * _VALUE_BYTES).astype(np.uint8)
    ends = np.arange(records + 1, dtype=np.int32)
    values = pa.Array.from_buffers(pa.binary(), records, [None, pa.py_buffer(ends * _VALUE_BYTES), pa.py_buffer(text)])
    numbers = rng.integers(0, 2**62, records)
    keys = pa.Array.from_buffers(pa.binary(), records, [None, pa.py_buffer(ends * 8), pa.py_buffer(numbers)])
    return keys, values, _START_MS + np.cumsum(rng.integers(0, 4, records))


@cache
def answer(records: int, max_batch_bytes: int, with_keys: bool = False) -> pa.Buffer:
    """What a broker would answer: the batches one behind the other, with their offsets."""
    keys, values, times = columns(records)
    parts, offset = [], 0
    for batch in encode(keys if with_keys else None, values, times, max_batch_bytes=max_batch_bytes).batches:
        part = bytearray(batch.stamped(1, 0, offset % 2**31, False))
        struct.pack_into(">q", part, 0, offset)
        parts.append(part)
        offset += batch.count
    return pa.py_buffer(b"".join(parts))


def _digest(rows: Rows) -> str:
    """A checksum over all of the columns."""
    crc = 0
    for column in (rows.offsets, rows.times_ms, rows.key_sizes, rows.value_starts, rows.value_sizes, rows.stops):
        crc = zlib.crc32(np.ascontiguousarray(column), crc)
    return f"{crc:08x}"


def _theirs(data: bytes, records: int) -> float:
    """Seconds that kafka-python takes for as many records."""
    from kafka.record.memory_records import MemoryRecords

    start, count = time.perf_counter(), 0
    batches = MemoryRecords(data)
    while batches.has_next() and count < records:
        batch = batches.next_batch()
        batch.validate_crc()
        count += sum(1 for _ in batch)
    return (time.perf_counter() - start) * records / count


@benchmark(
    "kafka_records_decode",
    "record batches in memory to offsets, times, places of keys and values; CRC checked; values of 170 bytes",
    kernels=("kafka_records.walk", "kafka_records.locate", "kafka_records.ends_of", "kafka_records.gather"),
)
def kafka_records_decode(scale: float) -> list[Measured]:
    records = max(int(_RECORDS * scale), 2_000)
    _, values, times = columns(records)
    measured = []
    for variant, batch_bytes, keyed in (("batches of 512 KiB", 512 << 10, False), ("16 KiB", 16 << 10, False),
                                        ("512 KiB, with keys", 512 << 10, True)):  # fmt: skip
        data = answer(records, batch_bytes, keyed)

        def run(data: pa.Buffer = data) -> Rows:
            got = read(data, 0, data.size, (), 0)
            assert got.broken is None
            assert got.rows is not None
            return got.rows

        rows = run()
        assert rows.values().equals(values)
        assert np.array_equal(rows.times_ms, times)
        assert np.array_equal(rows.offsets, np.arange(records))
        theirs = _theirs(data.to_pybytes(), min(records, 20_000)) if not measured else 0.0
        extra = {"kafka_python_records_s": int(min(records, 20_000) / theirs)} if theirs else {}
        measured.append(Measured(records, data.size, median_seconds(run), _digest(rows), variant, extra=extra))

    def copied() -> pa.Array:
        return gathered(rows.data, rows.value_starts, rows.value_sizes)

    crc = f"{zlib.crc32(copied().buffers()[2]):08x}"
    return [*measured, Measured(records, values.nbytes, median_seconds(copied), crc, "only copying the values")]


@benchmark(
    "kafka_records_encode",
    "columns to record batches with CRC, values of 170 bytes",
    kernels=("kafka_write.write",),
)
def kafka_records_encode(scale: float) -> list[Measured]:
    records = max(int(_RECORDS * scale), 2_000)
    keys, values, times = columns(records)
    measured = []
    for variant, given, compression in (
        ("no keys", None, "none"), ("keys of 8 bytes", keys, "none"), ("lz4", None, "lz4"), ("zstd", None, "zstd"),
    ):  # fmt: skip

        def run(given: pa.Array | None = given, compression: str = compression) -> list[memoryview]:
            batches = encode(given, values, times, compression=compression).batches  # type: ignore[arg-type]
            return [batch.stamped(7, 1, i, True) for i, batch in enumerate(batches)]

        crc, offset = 0, 0
        for batch in run():
            got = read(pa.py_buffer(bytes(batch)), 0, len(batch), (), 0)
            assert got.rows is not None
            assert got.rows.values().equals(values.slice(offset, len(got.rows)))
            offset += len(got.rows)
            # compressed bytes change with the library that makes them
            crc = zlib.crc32(batch if compression == "none" else _digest(got.rows).encode(), crc)
        assert offset == records
        measured.append(Measured(records, values.nbytes, median_seconds(run, 3), f"{crc:08x}", variant))
    return measured


@benchmark(
    "kafka_headers",
    "two headers a record: written, found again and made columns",
    kernels=("kafka_write.header_bytes", "kafka_records.locate_headers"),
)
def kafka_headers(scale: float) -> list[Measured]:
    records = max(int(200_000 * scale), 1_000)
    _, values, times = columns(records)
    pairs = pa.StructArray.from_arrays(
        [pa.array(["trace", "kind"] * records), pa.array([b"0123456789abcdef", b"x"] * records)], ["key", "value"]
    )
    headers = pa.ListArray.from_arrays(pa.array(np.arange(0, 2 * records + 1, 2, dtype=np.int32)), pairs)

    def write() -> list[memoryview]:
        return [batch.stamped(1, 0, 0, False) for batch in encode(None, values, times, headers).batches]

    parts, offset = [], 0
    for part in write():
        parts.append(offset.to_bytes(8, "big") + bytes(part)[8:])
        offset += int.from_bytes(part[57:61], "big")
    data = pa.py_buffer(b"".join(parts))
    rows = read(data, 0, data.size, (), 0).rows
    assert rows is not None
    assert rows.headers().to_pylist() == headers.to_pylist()
    crc = f"{zlib.crc32(rows.headers().values.field(1).buffers()[2]):08x}"
    return [
        Measured(records, data.size, median_seconds(write, 3), crc, "write"),
        Measured(records, data.size, median_seconds(rows.headers, 3), crc, "read"),
    ]


@benchmark(
    "kernels_murmur2",
    "partitions as the Java client gives them to keys of 8 bytes",
    kernels=("kafka_records.murmur2_partitions",),
)
def kernels_murmur2(scale: float) -> list[Measured]:
    records = max(int(_RECORDS * scale), 2_000)
    keys, _, _ = columns(records)

    def run() -> np.ndarray:
        return partitions(keys, 48)

    assert kernels.NULL not in run()
    return [Measured(records, 8 * records, median_seconds(run), f"{zlib.crc32(run()):08x}")]
