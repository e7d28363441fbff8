"""DuckDB and polars as baselines give the same answers (differential), and those are right (oracle)."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa

from benchmarks import baselines

START = datetime(2024, 2, 28, 23, 59, 50, tzinfo=UTC)
SCHEMA = pa.schema([("auction", pa.int64()), ("price", pa.int64()), ("at", pa.timestamp("us", "UTC"))])
ORDER = [("window_start", "ascending"), ("auction", "ascending")]


def events(count: int) -> list[dict[str, object]]:
    draw = random.Random(7)
    return [
        {"auction": draw.randrange(5), "price": draw.randrange(-9, 9), "at": START + timedelta(milliseconds=17 * i)}
        for i in range(count)
    ]


def write(path: Path, rows: list[dict[str, object]]) -> None:
    texts = [{**row, "at": row["at"].isoformat().replace("+00:00", "Z"), "extra": "\\u005c"} for row in rows]  # type: ignore[attr-defined]
    path.write_text("".join(json.dumps(text) + "\n" for text in texts))


def test_readers_agree_with_what_was_written(tmp_path: Path) -> None:
    rows = events(100)
    write(tmp_path / "rows.json", rows)
    expected = pa.Table.from_pylist(rows, SCHEMA)
    for read in (baselines.duckdb_read_json, baselines.polars_read_json):
        assert read([tmp_path / "rows.json"], SCHEMA, runs=1).result.cast(SCHEMA).equals(expected)


def test_tumbling_agrees_with_plain_python(tmp_path: Path) -> None:
    rows = events(2_000)
    write(tmp_path / "rows.json", rows)
    groups: dict[tuple[int, int], list[int]] = {}
    for row in rows:
        at_us = (row["at"] - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)  # type: ignore[operator]
        groups.setdefault((at_us // 10_000_000 * 10_000_000, row["auction"]), []).append(row["price"])  # type: ignore[arg-type]
    expected = [
        {"window_start": start, "auction": auction, "count": len(prices), "sum": sum(prices), "max": max(prices)}
        for (start, auction), prices in sorted(groups.items())
    ]
    table = pa.Table.from_pylist(rows, SCHEMA)
    table = table.set_column(2, "at", table["at"].cast(pa.int64()))
    columns = ("auction", "at", "price", 10_000_000)
    answers = [
        baselines.duckdb_tumbling(table, *columns, runs=1),
        baselines.polars_tumbling(table, *columns, runs=1),
        baselines.duckdb_tumbling_json([tmp_path / "rows.json"], SCHEMA, *columns, runs=1),
    ]
    for answer in answers:
        assert answer.seconds > 0
        assert answer.result.sort_by(ORDER).to_pylist() == expected
