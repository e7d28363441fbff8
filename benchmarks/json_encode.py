"""JSON encoding: the codec as a whole, and its kernels one by one."""

from __future__ import annotations

import zlib

import numpy as np
import orjson
import pyarrow as pa

from benchmarks.harness import Measured, benchmark, median_seconds
from windrow.codec.json_encode import JsonEncoder, json_values
from windrow.io.nexmark import nexmark_batches
from windrow.kernels import json_encode as kernels


def _bids(events: int) -> pa.RecordBatch:
    return nexmark_batches(0, events, seed=1)["bid"]


def _measured(batch: pa.RecordBatch, documents: pa.Array, seconds: float, variant: str) -> Measured:
    data = documents.buffers()[2]
    checksum = f"{zlib.crc32(data):08x}"
    return Measured(batch.num_rows, len(data), seconds, checksum, variant)


def _encode_all(encoder: JsonEncoder, pieces: list[pa.RecordBatch]) -> None:
    """One piece after another, none kept: memory is used again, as it is in a running job."""
    for piece in pieces:
        encoder.encode(piece)


@benchmark(
    "json_encode",
    "record batches of 65,536 Nexmark bids to JSON documents, all columns; the same rows through orjson for comparison",
    kernels=("json_encode.column_sizes", "json_encode.write_column"),
)
def json_encode(scale: float) -> list[Measured]:
    batch = _bids(max(int(1_000_000 * scale), 1_000))
    pieces = [batch.slice(start, 65_536) for start in range(0, batch.num_rows, 65_536)]
    encoder = JsonEncoder(batch.schema)
    written = [encoder.encode(piece).buffers()[2] for piece in pieces]
    checksum, size = 0, 0
    for data in written:
        checksum, size = zlib.crc32(data, checksum), size + len(data)
    seconds = median_seconds(lambda: _encode_all(encoder, pieces))
    measured = [Measured(batch.num_rows, size, seconds, f"{checksum:08x}", "windrow")]
    some = batch.slice(0, max(batch.num_rows // 10, 1))
    rows = some.to_pylist()
    assert [orjson.loads(text)["extra"] for text in encoder.encode(some).to_pylist()] == [row["extra"] for row in rows]
    seconds = median_seconds(lambda: [orjson.dumps(row, option=orjson.OPT_UTC_Z) for row in rows], runs=3)
    dumped = pa.array([orjson.dumps(row, option=orjson.OPT_UTC_Z) for row in rows], pa.binary())
    measured.append(_measured(some, dumped, seconds, "orjson, from dicts already made"))
    return measured


@benchmark(
    "kernels_json_encode",
    "each kind of value by itself: a column of Nexmark bids to JSON text",
    kernels=("json_encode.column_sizes", "json_encode.write_column"),
)
def kernels_json_encode(scale: float) -> list[Measured]:
    batch = _bids(max(int(500_000 * scale), 1_000))
    columns = {
        "int64": batch.column("price"),
        "bool": pa.compute.greater(batch.column("price"), 1_000),
        "timestamp": batch.column("dateTime"),
        "date": batch.column("dateTime").cast(pa.date32()),
        "string with escapes": batch.column("extra"),
        "string without escapes": batch.column("url"),
        "binary": batch.column("extra").cast(pa.binary()),
        "float64": pa.compute.divide(batch.column("price").cast(pa.float64()), 7.0),
    }
    measured = []
    for variant, column in columns.items():
        texts = json_values(column)
        seconds = median_seconds(lambda column=column: json_values(column))  # type: ignore[misc]
        measured.append(_measured(batch, texts, seconds, variant))
    return measured


@benchmark(
    "kernels_gather_runs",
    "runs of 54 to 81 bytes from a pool of 1 MiB, one after another",
    kernels=("json_encode.gather_runs",),
)
def kernels_gather_runs(scale: float) -> list[Measured]:
    rng = np.random.default_rng(1)
    runs = max(int(1_000_000 * scale), 1_000)
    pool = rng.integers(0, 256, 1 << 20).astype(np.uint8)
    starts = rng.integers(0, pool.size - 100, runs)
    ends = starts + rng.integers(54, 82, runs)
    out = np.empty(int((ends - starts).sum()), np.uint8)
    seconds = median_seconds(lambda: kernels.gather_runs(pool, starts, ends, out))
    return [Measured(runs, out.size, seconds, f"{zlib.crc32(out):08x}")]
