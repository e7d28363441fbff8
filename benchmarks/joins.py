"""Joins from Arrow batches in memory, through the public API, on one worker, each checked against DuckDB.

What is timed is the whole run: plan, exchange, state, pairs, and the joined rows handed to a function that counts them
and adds up two columns.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import windrow as wr
from benchmarks.harness import Measured, benchmark
from windrow.api.stream import Stream
from windrow.io.memory import MemorySource

_EVENTS = 10_000_000
_BATCH = 131_072
_SIDE_KEYS = (10_000, 10_000_000)


def side_rows(keys: int, seed: int = 21) -> pa.Table:
    """A row with a name for each of `keys` random keys."""
    random = np.random.default_rng(seed)
    names = random.permutation(np.unique(random.integers(0, 2**62, keys + keys // 100 + 16))[:keys])
    texts = pa.array([f"name-{i}" for i in range(1000)]).take(pa.array(np.arange(len(names)) % 1000))
    return pa.table({"id": names, "w": np.arange(len(names)), "name": texts})


def events(names: np.ndarray, rows: int, seed: int = 22) -> pa.Table:
    """Rows with random keys, ten microseconds apart."""
    random = np.random.default_rng(seed)
    times = pa.array(np.arange(rows) * 10).cast(pa.timestamp("us", "UTC"))
    keys = names[random.integers(0, len(names), rows)]
    return pa.table({"id": keys, "v": random.integers(0, 1_000, rows), "at": times})


def _stream(table: pa.Table, name: str) -> Stream:
    return wr.from_arrow(table.combine_chunks().to_batches(max_chunksize=_BATCH), name=name)


def _measure(stream: Stream, columns: tuple[str, str], runs: int = 3) -> tuple[float, tuple[int, int, int]]:
    """Median seconds, and rows and sums of what came out."""
    times: list[float] = []
    got = (0, 0, 0)
    for _ in range(runs):
        take, counted = _counting(columns)
        with stream.for_each_batch(take, name="out") as job:
            begun = perf_counter()
            job.run()
            times.append(perf_counter() - begun)
        got = (counted[0], counted[1], counted[2])
    return median(times), got


def _counting(columns: tuple[str, str]) -> tuple[Callable[[pa.RecordBatch, int], None], list[int]]:
    """A function that takes batches, and where it adds up: rows, and each of the columns."""
    counted = [0, 0, 0]

    def take(batch: pa.RecordBatch, epoch: int) -> None:
        counted[0] += batch.num_rows
        for number, name in enumerate(columns, 1):
            counted[number] += pc.sum(batch.column(name)).as_py() or 0

    return take, counted


def _duck(query: str, **tables: pa.Table) -> tuple[float, tuple[int, int, int]]:
    with duckdb.connect() as connection:
        connection.execute("set threads = 1")
        for name, table in tables.items():
            connection.register(name, table)
        begun = perf_counter()
        (row,) = connection.sql(query).fetchall()
        return perf_counter() - begun, (int(row[0]), int(row[1]), int(row[2]))


def _line(
    rows: int, size: int, stream: Stream, columns: tuple[str, str], query: str, variant: str, **tables: pa.Table
) -> Measured:
    seconds, got = _measure(stream, columns)
    theirs, expected = _duck(query, **tables)
    assert got == expected, f"{variant}: {got} instead of {expected}"
    extra = {"million_events_per_second": round(rows / seconds / 1e6, 2), "duckdb_seconds": round(theirs, 3)}
    return Measured(rows, size, seconds, ":".join(map(str, got)), variant, extra=extra)


def _sizes(scale: float) -> list[tuple[str, int, int]]:
    rows = max(int(_EVENTS * scale), 20_000)
    return [(f"{keys} keys", rows, max(int(keys * min(scale, 1)), 1_000)) for keys in _SIDE_KEYS]


@benchmark(
    "join_stream", "every event with the row of its key on the other side, both kept for ever (q20 without text)"
)
def join_stream(scale: float) -> list[Measured]:
    """Events and side rows come mixed, as epochs cut them; both count as events."""
    lines = []
    for variant, rows, keys in _sizes(scale):
        side = side_rows(keys)
        bids = events(side["id"].to_numpy(), rows)
        stream = _stream(bids, "bids").join(_stream(side, "side"), "id", ttl="unbounded")
        query = "select count(*), sum(v), sum(w) from bids join side using (id)"
        size = bids.nbytes + side.nbytes
        lines.append(_line(rows + keys, size, stream, ("v", "w"), query, variant, bids=bids, side=side))
    return lines


@benchmark("join_interval", "events of two streams with equal keys at most 100 ms apart")
def join_interval(scale: float) -> list[Measured]:
    """Both streams have as many rows; state is bounded by the watermark."""
    lines = []
    for variant, rows, keys in _sizes(scale):
        names = side_rows(keys)["id"].to_numpy()
        half = rows // 2
        a = events(names, half, 31)
        b = events(names, half, 32).rename_columns(["id", "w", "at"])
        left, right = (_stream(table, name).watermark("at", delay="1s") for name, table in (("a", a), ("b", b)))
        stream = left.join_interval(right, "id", lower="-100ms", upper="100ms")
        query = (
            "select count(*), coalesce(sum(v), 0), coalesce(sum(w), 0) from a join b on a.id = b.id and "
            "b.at >= a.at - interval '100 milliseconds' and b.at <= a.at + interval '100 milliseconds'"
        )
        lines.append(_line(2 * half, a.nbytes + b.nbytes, stream, ("v", "w"), query, variant, a=a, b=b))
    return lines


@benchmark("join_lookup", "every event with the row of its key in a table beside the stream (q13)")
def join_lookup(scale: float) -> list[Measured]:
    """The table is loaded with a first batch, in a time told apart as `load_s`; the rate is that of the rest."""
    lines = []
    for variant, rows, keys in _sizes(scale):
        side = side_rows(keys)
        bids = events(side["id"].to_numpy(), rows + _BATCH)
        query = "select count(*), sum(v), sum(w) from bids join side using (id)"
        loads, times = [], []
        for _ in range(3):
            loading, seconds, got = _after_loading(bids, side)
            loads.append(loading)
            times.append(seconds)
        theirs, expected = _duck(query, bids=bids, side=side)
        assert got == expected, f"{variant}: {got} instead of {expected}"
        seconds = median(times)
        extra = {
            "million_events_per_second": round(rows / seconds / 1e6, 2),
            "duckdb_seconds": round(theirs, 3),  # with its table of the keys, and over one batch more
            "load_s": round(median(loads), 3),
        }
        lines.append(Measured(rows, bids.slice(_BATCH).nbytes, seconds, ":".join(map(str, got)), variant, extra=extra))
    return lines


def _after_loading(bids: pa.Table, side: pa.Table) -> tuple[float, float, tuple[int, int, int]]:
    """Seconds of the first batch, with loading; of the rest; and rows and sums of what came out."""
    first, *rest = bids.combine_chunks().to_batches(max_chunksize=_BATCH)
    source = MemorySource([first], bounded=False, name="bids")
    take, counted = _counting(("v", "w"))
    with wr.from_source(source).join_lookup(side, "id").for_each_batch(take, name="out") as job:
        begun = perf_counter()
        job.run(until="caught up")
        loaded = perf_counter()
        for batch in rest:
            source.append(batch)
        appended = perf_counter()
        job.run(until="caught up")
        return loaded - begun, perf_counter() - appended, (counted[0], counted[1], counted[2])
