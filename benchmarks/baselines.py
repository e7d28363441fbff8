"""The same work done by DuckDB and polars, one thread each: what the ratios in our results are ratios to.

Each function gives the median over `runs` and the result of the last run as an Arrow table, so that a benchmark can
check that both sides computed the same. polars sizes its pool of threads when it is imported: the benchmark runner sets
``POLARS_MAX_THREADS`` for that, and these functions refuse to run with more than one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import duckdb
import polars as pl
import pyarrow as pa

_DUCKDB_TYPES = {
    pa.int64(): "BIGINT",
    pa.float64(): "DOUBLE",
    pa.bool_(): "BOOLEAN",
    pa.string(): "VARCHAR",
    pa.timestamp("us", "UTC"): "TIMESTAMP",
}


@dataclass(frozen=True, slots=True)
class Baseline:
    """What another engine needed for the same work, and what it made of it."""

    seconds: float
    result: pa.Table


def duckdb_read_json(paths: Sequence[Path], schema: pa.Schema, runs: int = 3) -> Baseline:
    """All columns of `schema` from newline-delimited JSON files, as Arrow."""
    query = f"SELECT {', '.join(_quoted(name) for name in schema.names)} FROM {_duckdb_files(paths, schema)}"
    return _duckdb(query, runs)


def polars_read_json(paths: Sequence[Path], schema: pa.Schema, runs: int = 3) -> Baseline:
    """All columns of `schema` from newline-delimited JSON files, as Arrow; keys besides them are passed over."""
    _check_polars_threads()
    types = {name: _polars_type(type_) for name, type_ in zip(schema.names, schema.types, strict=True)}
    times = [name for name, type_ in zip(schema.names, schema.types, strict=True) if pa.types.is_timestamp(type_)]

    def read() -> pa.Table:
        frame = pl.scan_ndjson(list(paths), schema=types)
        parsed = frame.with_columns(pl.col(times).str.to_datetime(time_unit="us", time_zone="UTC")).collect()
        return parsed.to_arrow(compat_level=pl.CompatLevel.newest())  # string views as they are: no copy in the time

    return _timed(read, runs)


def duckdb_tumbling_json(
    paths: Sequence[Path], schema: pa.Schema, key: str, time: str, value: str, size_us: int, runs: int = 3
) -> Baseline:
    """Tumbling count, sum and max of `value` per `key` straight from newline-delimited JSON files."""
    needed = pa.schema([schema.field(name) for name in (key, time, value)])
    epoch_us = f"epoch_us({_quoted(time)})"
    return _duckdb(_tumbling_sql(_duckdb_files(paths, needed), key, epoch_us, value, size_us), runs)


def duckdb_tumbling(rows: pa.Table, key: str, time: str, value: str, size_us: int, runs: int = 3) -> Baseline:
    """Tumbling count, sum and max of `value` per `key`; `time` is int64 microseconds."""
    return _duckdb(_tumbling_sql("rows", key, _quoted(time), value, size_us), runs, rows)


def polars_tumbling(rows: pa.Table, key: str, time: str, value: str, size_us: int, runs: int = 3) -> Baseline:
    """Tumbling count, sum and max of `value` per `key`; `time` is int64 microseconds, zero or later."""
    _check_polars_threads()
    frame = pl.from_arrow(rows)
    assert isinstance(frame, pl.DataFrame)
    window = (pl.col(time) - pl.col(time) % size_us).alias("window_start")
    wanted = [
        pl.len().cast(pl.Int64).alias("count"),
        pl.col(value).sum().alias("sum"),
        pl.col(value).max().alias("max"),
    ]
    return _timed(lambda: frame.lazy().group_by(window, key).agg(wanted).collect().to_arrow(), runs)


def _tumbling_sql(rows: str, key: str, time: str, value: str, size_us: int) -> str:
    key, value = _quoted(key), _quoted(value)
    return (
        f"SELECT {time} - {time} % {size_us} AS window_start, {key}, "
        f"count(*) AS count, sum({value})::BIGINT AS sum, max({value}) AS max FROM {rows} GROUP BY ALL"
    )


def _duckdb(query: str, runs: int, rows: pa.Table | None = None) -> Baseline:
    with duckdb.connect(config={"threads": 1, "preserve_insertion_order": False}) as connection:
        if rows is not None:
            # Into DuckDB's own columns first: scanning Arrow would be timed as well otherwise.
            connection.register("arrow_rows", rows)
            connection.execute("CREATE TABLE rows AS SELECT * FROM arrow_rows")
        return _timed(lambda: connection.sql(query).to_arrow_table(), runs)


def _timed(action: Callable[[], pa.Table], runs: int) -> Baseline:
    result = action()
    seconds = []
    for _ in range(runs):
        start = perf_counter()
        result = action()
        seconds.append(perf_counter() - start)
    return Baseline(median(seconds), result)


def _duckdb_files(paths: Sequence[Path], schema: pa.Schema) -> str:
    columns = ", ".join(
        f"{_quoted(name)}: '{_DUCKDB_TYPES[type_]}'" for name, type_ in zip(schema.names, schema.types, strict=True)
    )
    files = ", ".join("'" + str(path).replace("'", "''") + "'" for path in paths)
    return f"read_json([{files}], format = 'newline_delimited', columns = {{{columns}}})"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _polars_type(type_: pa.DataType) -> pl.DataType | type[pl.DataType]:
    # Times are parsed in a step of their own: told a time type, the reader took ten times as long (2.1.0).
    if pa.types.is_timestamp(type_):
        return pl.String
    frame = pl.from_arrow(pa.table({"x": pa.array([], type_)}))
    assert isinstance(frame, pl.DataFrame)
    return frame.schema["x"]


def _check_polars_threads() -> None:
    if pl.thread_pool_size() != 1:
        raise RuntimeError(
            f"polars would use {pl.thread_pool_size()} threads; run through `python -m benchmarks run`, "
            "or set POLARS_MAX_THREADS=1 before it is imported"
        )
