"""The embedded log by itself: how fast events go in, durably, and come out again, and what a commit costs."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from time import perf_counter

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from benchmarks.harness import Measured, benchmark, median_seconds
from windrow.io.log.ledger import LogLedger
from windrow.io.log.log import Log
from windrow.io.log.source import LogSource
from windrow.progress.ledger import EpochCommit, StateWrite, TopicWrite

_VALUE_BYTES = 250
_MAX_ROWS = 2_000_000


@contextmanager
def _folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="windrow-log-"))
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def _values(rows: int) -> pa.Array:
    """Random bytes, `_VALUE_BYTES` a value."""
    data = np.random.default_rng(3).bytes(rows * _VALUE_BYTES)
    offsets = np.arange(rows + 1, dtype=np.int32) * _VALUE_BYTES
    return pa.Array.from_buffers(pa.binary(), rows, [None, pa.py_buffer(offsets), pa.py_buffer(data)])


def _keys(rows: int) -> pa.Array:
    return pc.cast(pa.array(np.random.default_rng(4).integers(0, 100_000, rows)), pa.string()).cast(pa.binary())


def _offsets_digest(log: Log, topic: str) -> str:
    return str(sum(log.topic(topic).end_offsets))


@benchmark("log_append", "250-byte events into the embedded log, durable on return, by size of append")
def log_append(scale: float) -> list[Measured]:
    """With keys (hashed to 4 partitions) and without; each append is one commit."""
    measured = []
    for rows, keyed in ((100, False), (10_000, False), (10_000, True), (100_000, False)):
        total = max(int(_MAX_ROWS * scale) // (20 if rows == 100 else 1), rows)
        values, keys = _values(rows), _keys(rows) if keyed else None
        with _folder() as path, Log(path) as log:
            log.create_topic("t", partitions=4)
            log.append("t", values, keys=keys)
            begun = perf_counter()
            for number in range(total // rows):
                log.append("t", values, keys=keys, partition=None if keyed else number % 4)
            seconds = perf_counter() - begun
            events = total // rows * rows
            variant = f"{rows} a commit" + (", by key" if keyed else "")
            extra = {"commit_ms": round(seconds / (total // rows) * 1e3, 3)}
            digest = _offsets_digest(log, "t")
            measured.append(Measured(events, events * _VALUE_BYTES, seconds, digest, variant, extra=extra))
    return measured


@benchmark("log_read", "250-byte events out of the embedded log, mapped, every byte checked and looked at once")
def log_read(scale: float) -> list[Measured]:
    """First reads verify checksums; later reads of the same mapped chunks do not. By events in a chunk."""
    measured = []
    for rows in (100, 10_000):
        total = max(int(_MAX_ROWS * scale) // (20 if rows == 100 else 2), rows)
        with _folder() as path:
            values = _values(rows)
            with Log(path) as log:
                log.create_topic("t")
                for _ in range(total // rows):
                    log.append("t", values, partition=0)
            events = total // rows * rows

            def read(path: Path = path, events: int = events) -> int:
                with Log(path, read_only=True) as log:
                    return _read(LogSource(log, "t"), events)

            digest = read()
            seconds = median_seconds(read, runs=3)
            measured.append(Measured(events, digest, seconds, str(digest), f"{rows} a chunk, opened anew"))
    return measured


def _read(source: LogSource, events: int) -> int:
    """The bytes of all values; touches every value's offsets and the checksums touch every byte."""
    at = size = 0
    while at < events:
        end = source.plan(0, at, 500_000, 64 << 20)
        for piece in source.read(0, at, end, ("value",)):
            size += pc.sum(pc.binary_length(piece.data["value"])).as_py()
        at = end
    return int(size)


@benchmark("ledger_commit", "one epoch's commit: 1 000 output rows, deltas of 8 shards, positions; all synced")
def ledger_commit(scale: float) -> list[Measured]:
    """Median and 99th percentile, with a snapshot of one shard in every epoch."""
    rows = 1_000
    output = pa.record_batch({"key": np.arange(rows), "count": np.arange(rows), "sum": np.arange(rows) * 3})
    delta = {"panes": pa.record_batch({"key": np.arange(200), "sum": np.arange(200)})}
    epochs = max(int(400 * scale), 20)
    times = []
    with _folder() as path, Log(path) as log:
        log.create_topic("out", schema=output.schema)
        ledger = LogLedger(log)
        ledger.open("job", {"fingerprint": "benchmark"})
        for epoch in range(1, epochs + 1):
            state = [StateWrite("w", s, "snapshot" if epoch % 8 == s else "delta", delta) for s in range(8)]
            positions = {"in": dict.fromkeys(range(4), epoch)}
            begun = perf_counter()
            ledger.commit(EpochCommit(epoch, positions, {"at": epoch}, state, [TopicWrite("out", 0, output)]))
            times.append(perf_counter() - begun)
        digest = _offsets_digest(log, "out")
    extra = {"p50_ms": round(median(times) * 1e3, 3), "p99_ms": round(quantiles(times, n=100)[98] * 1e3, 3)}
    return [Measured(rows * epochs, output.nbytes * epochs, sum(times), digest, extra=extra)]
