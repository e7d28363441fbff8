"""Windowed aggregation from Arrow batches in memory, through the public API, on one worker.

The input is a table of random 62-bit keys, values up to a million, and event times in order at one million events a
second, cut into batches of 131,072 rows. What is timed is the whole run: plan, partial aggregates, exchange, shards,
and the result as an Arrow table.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from statistics import median
from time import perf_counter
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

import windrow as wr
from benchmarks import baselines
from benchmarks.harness import Measured, benchmark
from windrow.api.stream import Stream

_EVENTS = 20_000_000
_BATCH = 131_072
_AGGREGATES = {"count": wr.count(), "sum": wr.sum("value"), "max": wr.max("value")}


def events(rows: int, keys: int, seed: int = 11) -> pa.Table:
    """`rows` events over `keys` different random keys; ``time`` int64 microseconds in order, 1 microsecond apart."""
    random = np.random.default_rng(seed)
    names = random.integers(0, 2**62, keys, dtype=np.int64)
    table = pa.table(
        {
            "key": names[random.integers(0, keys, rows)],
            "time": pa.array(np.arange(rows, dtype=np.int64)).cast(pa.timestamp("us", "UTC")),
            "value": random.integers(0, 1_000_000, rows, dtype=np.int64),
        }
    )
    return pa.Table.from_batches(table.to_batches(max_chunksize=_BATCH))


def checksum(table: pa.Table) -> str:
    """Rows, and the sums of the aggregate columns: equal whatever the order of the rows."""
    sums = [pc.sum(table[name].cast(pa.int64())).as_py() or 0 for name in ("count", "sum", "max")]
    return ":".join(map(str, [table.num_rows, *sums]))


def _windowed(table: pa.Table, window: wr.tumbling) -> Stream:  # type: ignore[valid-type]
    return wr.from_arrow(table).watermark("time").group_by("key").window(window).agg(**_AGGREGATES)


def _measure(make: Callable[[], Stream], runs: int) -> tuple[float, pa.Table]:
    make().collect()  # warm: compiled kernels, memory from the system
    times, result = [], None
    for _ in range(runs):
        begun = perf_counter()
        result = make().collect()
        times.append(perf_counter() - begun)
    assert result is not None
    return median(times), result


def _sizes(scale: float) -> list[tuple[str, int, int]]:
    rows = max(int(_EVENTS * scale), 20_000)
    return [("1k keys", rows, 1_000), ("1M keys", rows, max(int(1_000_000 * min(scale, 1)), 1_000))]


def _windows(scale: float, window: object, name: str) -> list[Measured]:
    lines = []
    for variant, rows, keys in _sizes(scale):
        table = events(rows, keys)
        seconds, result = _measure(lambda t=table: _windowed(t, window), 5)  # type: ignore[misc]
        lines.append(Measured(rows, table.nbytes, seconds, checksum(result), f"{name} {variant}"))
    return lines


@benchmark("tumbling_memory", "10 s tumbling count, sum and max by key, from memory, with its ratio to batch engines")
def tumbling_memory(scale: float) -> list[Measured]:
    """Whole runs, median of five."""
    return _windows(scale, wr.tumbling("10s"), "tumbling")


@benchmark("hopping_memory", "10 s windows every 2 s of count, sum and max by key, from memory; ratio to tumbling")
def hopping_memory(scale: float) -> list[Measured]:
    """Tumbling and hopping in turn over the same rows."""
    lines = []
    for variant, rows, keys in _sizes(scale):
        table = events(rows, keys)
        tumbling, _ = _measure(lambda t=table: _windowed(t, wr.tumbling("10s")), 3)  # type: ignore[misc]
        hopping, result = _measure(lambda t=table: _windowed(t, wr.hopping("10s", "2s")), 3)  # type: ignore[misc]
        extra = {"ratio_to_tumbling": round(tumbling / hopping, 3)}
        lines.append(Measured(rows, table.nbytes, hopping, checksum(result), f"hopping {variant}", extra=extra))
    return lines


@benchmark("hopping_many_panes", "windows of 100 panes, from suffixes and prefixes, and from all their panes each time")
def hopping_many_panes(scale: float) -> list[Measured]:
    """2 s windows every 20 ms, both ways in turn over the same rows; the results must be the same."""
    lines = []
    rows = max(int(_EVENTS * scale) // 5, 20_000)
    for variant, keys in (("1k keys", 1_000), ("10k keys", 10_000)):
        table = events(rows, keys)
        slid, result = _measure(lambda t=table: _windowed(t, wr.hopping("2s", "20ms")), 3)  # type: ignore[misc]
        with patch("windrow.state.aggregations.sliding._LEAST_PANES", rows):
            anew, again = _measure(lambda t=table: _windowed(t, wr.hopping("2s", "20ms")), 3)  # type: ignore[misc]
        assert checksum(result) == checksum(again), "the two ways do not agree"
        for how, seconds in (("sliding", slid), ("anew", anew)):
            extra = {"ratio_to_anew": round(anew / seconds, 3), "rows_out": result.num_rows}
            lines.append(Measured(rows, table.nbytes, seconds, checksum(result), f"{how} {variant}", extra=extra))
    return lines


@benchmark("session_memory", "sessions with a gap of 10 s over 100 k keys, count, sum and max, from memory")
def session_memory(scale: float) -> list[Measured]:
    """About one event a gap and key, so that sessions open and close all the time."""
    rows, keys = max(int(_EVENTS * scale) // 2, 20_000), max(int(100_000 * min(scale, 1)), 100)
    table = events(rows, keys)
    # 100 k keys at 10 k events a second: a key is silent for 10 s on average, so that sessions open and close
    times = pa.array(np.arange(rows, dtype=np.int64) * 100).cast(pa.timestamp("us", "UTC"))
    table = pa.Table.from_batches(table.set_column(1, "time", times).combine_chunks().to_batches(_BATCH))
    seconds, result = _measure(lambda: _windowed(table, wr.session("10s")), 3)
    return [Measured(rows, table.nbytes, seconds, checksum(result), "sessions")]


@benchmark("polars_group_by", "tumbling_memory against one batch group-by of the same rows by polars and by DuckDB")
def polars_group_by(scale: float) -> list[Measured]:
    """All three results must be the same."""
    lines = []
    for variant, rows, keys in _sizes(scale):
        table = events(rows, keys)
        plain = table.set_column(1, "time", pc.cast(table["time"], pa.int64()))
        ours, result = _measure(lambda t=table: _windowed(t, wr.tumbling("10s")), 3)  # type: ignore[misc]
        polars = baselines.polars_tumbling(plain, "key", "time", "value", 10_000_000)
        duckdb = baselines.duckdb_tumbling(plain, "key", "time", "value", 10_000_000)
        sums = {checksum(one) for one in (result, polars.result, duckdb.result)}
        assert len(sums) == 1, f"the engines do not agree: {sums}"
        extra = {
            "ratio_to_polars": round(polars.seconds / ours, 3),
            "ratio_to_duckdb": round(duckdb.seconds / ours, 3),
            "polars_seconds": polars.seconds,
            "duckdb_seconds": duckdb.seconds,
            "cores": len(os.sched_getaffinity(0)),
        }
        lines.append(Measured(rows, table.nbytes, ours, sums.pop(), variant, extra=extra))
    return lines
