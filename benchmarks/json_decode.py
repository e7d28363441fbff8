"""JSON decoding: Nexmark bids as the official generator's JSON writes them, to columns, next to DuckDB and polars."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa

from benchmarks.harness import Measured, benchmark
from windrow.codec.json import JsonDecoder
from windrow.datatypes import INT64, STRING, TIMESTAMP, Field, Schema

BID = Schema(
    (
        Field("auction", INT64),
        Field("bidder", INT64),
        Field("price", INT64),
        Field("channel", STRING),
        Field("url", STRING),
        Field("dateTime", TIMESTAMP),
        Field("extra", STRING),
    )
)
PRUNED = BID.pick(["auction", "price", "dateTime"])
_EVENTS = 400_000
_ROUNDS = 7
_BATCH = 50_000
_COLUMNS = (
    "auction: 'BIGINT', bidder: 'BIGINT', price: 'BIGINT', channel: 'VARCHAR', url: 'VARCHAR', "
    "dateTime: 'TIMESTAMP', extra: 'VARCHAR'"
)


@cache
def bids(events: int, seed: int = 7) -> pa.Array:
    """Bids as JSON, about 250 bytes each, a binary array.

    In the original generator a random letter of `extra` is "a" plus a remainder that may be negative, so that
    [ \\ ] ^ _ ` come up too, and the backslash has to be escaped: 1.3 times in a bid.
    """
    rng = np.random.default_rng(seed)
    auction = rng.integers(1000, 60_000, events)
    bidder = rng.integers(1000, 20_000, events)
    price = np.round(10 ** (rng.random(events) * 6) * 100).astype(np.int64)
    named = np.array(["Google", "Facebook", "Baidu", "Apple"])[rng.integers(0, 4, events)]
    numbered = np.char.add("channel-", rng.integers(0, 10_000, events).astype(str))
    channel = np.where(rng.random(events) < 0.5, named, numbered)
    letters = rng.integers(97, 123, (events, 145)).astype(np.uint8)
    # so many come from the six characters below "a" that 1.3 of a bid's letters are backslashes
    below = rng.random((events, 145), np.float32) < 6 * 1.3 / 107
    letters[below] = rng.integers(91, 97, int(below.sum()))
    lengths = rng.integers(95, 121, events)
    documents = []
    for row in range(events):
        text = letters[row].tobytes()
        extra = text[5 : 5 + lengths[row]].decode().replace("\\", "\\\\")
        slug = text[:5].decode().translate(dict.fromkeys(range(91, 97), 120))
        second, milli = divmod(row, 1000)
        documents.append(
            f'{{"auction":{auction[row]},"bidder":{bidder[row]},"price":{price[row]},"channel":"{channel[row]}",'
            f'"url":"https://www.nexmark.com/{slug}/item.htm?query=1",'
            f'"dateTime":"2026-01-01 {second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}.{milli:03d}",'
            f'"extra":"{extra}"}}'.encode()
        )
    return pa.array(documents, pa.binary())


@contextmanager
def _one_core() -> Iterator[None]:
    """Stay on one core, as the engines compared with do."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _digest(batches: list[pa.RecordBatch]) -> str:
    """A hash over every value of every column."""
    digest = hashlib.sha256()
    for column in pa.Table.from_batches(batches).combine_chunks().columns:
        for buffer in column.chunk(0).buffers():
            digest.update(buffer or b"")
    return digest.hexdigest()[:16]


def _check(documents: pa.Array, batches: list[pa.RecordBatch]) -> None:
    """Every value against orjson's."""
    import orjson

    got = pa.Table.from_batches(batches)
    want = [orjson.loads(document.as_py()) for document in documents]
    for name in got.column_names:
        values = got[name]
        if name == "dateTime":
            values = values.cast(pa.timestamp("ms")).cast(pa.string())
        assert values.to_pylist() == [bid[name] for bid in want], name


_POLARS = """
import io, statistics, sys, time
import polars as pl
raw = open(sys.argv[1], "rb").read()
numbers, texts = ("auction", "bidder", "price"), ("channel", "url", "dateTime", "extra")
schema = {**dict.fromkeys(numbers, pl.Int64), **dict.fromkeys(texts, pl.String)}
times = []
for _ in range(4):
    start = time.process_time()
    frame = pl.read_ndjson(io.BytesIO(raw), schema=schema)
    frame = frame.with_columns(pl.col("dateTime").str.to_datetime("%Y-%m-%d %H:%M:%S%.3f"))
    frame = frame.select(sys.argv[2].split(","))
    times.append(time.process_time() - start)
print(statistics.median(times[1:]))
"""


def _polars_seconds(path: Path, names: tuple[str, ...]) -> float:
    """CPU seconds of polars' reader, with one thread, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", _POLARS, str(path), ",".join(names)],
        env={**os.environ, "POLARS_MAX_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)


def _measure(schema: Schema, scale: float) -> list[Measured]:
    import duckdb

    documents = bids(max(200, int(_EVENTS * scale)))
    _, ends, _ = documents.buffers()
    events = len(documents)
    size = int(np.frombuffer(ends, np.int32)[events])
    decoder = JsonDecoder(schema)
    shm = Path("/dev/shm")
    with _one_core(), tempfile.TemporaryDirectory(dir=shm if shm.is_dir() else None) as folder:
        path = Path(folder) / "bids.ndjson"
        path.write_bytes(b"\n".join(documents.to_pylist()) + b"\n")
        connection = duckdb.connect(config={"threads": 1})
        query = (
            f"select {', '.join(schema.names)} from "
            f"read_json('{path}', format='newline_delimited', columns={{{_COLUMNS}}})"
        )
        batches = [decoder.decode(documents.slice(at, _BATCH)).data for at in range(0, events, _BATCH)]
        _check(documents, batches)
        ours, theirs = [], []
        for _ in range(_ROUNDS):  # in turns, so that a busy machine slows both
            start = time.perf_counter()
            for at in range(0, events, _BATCH):
                decoder.decode(documents.slice(at, _BATCH))
            ours.append(time.perf_counter() - start)
            start = time.perf_counter()
            connection.sql(query).to_arrow_table()
            theirs.append(time.perf_counter() - start)
        polars = _polars_seconds(path, schema.names)
    seconds = median(ours)
    extra = {
        "gb_per_s": round(size / seconds / 1e9, 3),
        "best_gb_per_s": round(size / min(ours) / 1e9, 3),
        "bytes_per_event": round(size / events, 1),
        "times_duckdb": round(median(theirs) / seconds, 2),
        "times_polars": round(polars / seconds, 2),
    }
    return [Measured(events, size, seconds, _digest(batches), extra=extra)]


@benchmark("json_decode", "Nexmark bids in JSON to all 7 columns, values checked", kernels=("json_decode.decode",))
def json_decode(scale: float) -> list[Measured]:
    return _measure(BID, scale)


@benchmark(
    "json_decode_pruned",
    "Nexmark bids in JSON to 3 of 7 columns, the rest validated",
    kernels=("json_decode.decode",),
)
def json_decode_pruned(scale: float) -> list[Measured]:
    return _measure(PRUNED, scale)
