"""Joins through the public API, cut at random, restored in the middle, against DuckDB over the same rows."""

from __future__ import annotations

from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import windrow as wr
from windrow.operators import base

HOWS = ("inner", "left", "right", "full", "semi", "anti")
SECOND = 1_000_000


def events(seed: int, rows: int, value: str, keys: int = 8) -> pa.Table:
    """Rows with null keys, nearly in order of time, 1 s apart."""
    random = np.random.default_rng(seed)
    ids = random.integers(0, keys, rows)
    times = np.arange(rows) * SECOND + random.integers(-2 * SECOND, 2 * SECOND, rows) + 10 * SECOND
    return pa.table(
        {
            "id": pa.array([None if i == 0 else int(i) for i in ids], pa.int64()),
            value: pa.array(np.arange(rows)),
            "text": pa.array([None if i % 5 == 0 else f"{value}{i}" for i in range(rows)]),
            "at": pa.array(times).cast(pa.timestamp("us", "UTC")),
        }
    )


def source(table: pa.Table, name: str, seed: int, timed: bool) -> wr.Stream:
    size = max(1, table.num_rows // (1 + seed % 7))
    stream = wr.from_arrow(table.to_batches(max_chunksize=size) or [table], schema=table.schema, name=name)
    return stream.watermark("at", delay="5s") if timed else stream


def net(batches: list[pa.RecordBatch] | pa.Table) -> Counter[Any]:
    """Rows with their weights added up."""
    counted: Counter[Any] = Counter()
    parts = batches.to_batches() if isinstance(batches, pa.Table) else batches
    for batch in parts:
        for row in batch.to_pylist():
            counted[tuple(row.values())] += 1
    return counted


def duck(query: str, **tables: pa.Table) -> Counter[Any]:
    with duckdb.connect() as connection:
        for name, table in tables.items():
            connection.register(name, table)
        return net(connection.sql(query).to_arrow_table())


def columns(how: str) -> str:
    left, right = "a.id, a.x, a.text, a.at", "b.y, b.text as text_right, b.at as at_right"
    match how:
        case "semi" | "anti":
            return left
        case "right":
            return f"a.x, a.text, a.at, b.id, {right.replace('text_right', 'tr').replace('at_right', 'ar')}"
        case "full":
            return f"coalesce(a.id, b.id) as id, a.x, a.text, a.at, {right}"
    return f"{left}, {right}"


def run(stream: wr.Stream, rows: int, folder: Path | None = None, workers: int = 1, shards: int = 3) -> Counter[Any]:
    """All that comes out, in epochs of so many rows; with a folder, a new process' worth of restore after each two.

    Where the rows are odd in number, text stays where it came in, as in batches of many rows."""
    many = 1 if rows % 2 else 65_536
    with patch.object(base, "DEAL_ROWS", many):
        return _run(stream, rows, folder, workers, shards)


def _run(stream: wr.Stream, rows: int, folder: Path | None, workers: int, shards: int) -> Counter[Any]:
    limits = wr.Limits(epoch_rows=rows)
    if folder is None:
        return net(stream.collect(limits=limits, workers=workers, shards=shards))
    got: list[pa.RecordBatch] = []
    for _ in range(1_000):
        sink = stream.for_each_batch(lambda batch, epoch: got.append(batch), name="out")
        with wr.job(sink, ledger=wr.open_log(folder / "log"), limits=limits, shards=shards) as job:
            job.run(epochs=2)
            if job.ended:
                return net(got)
    raise AssertionError("the job never ended")


@given(seed=st.integers(0, 10**6), rows=st.integers(1, 60), epoch=st.integers(1, 40), shards=st.integers(1, 4))
@settings(max_examples=15, deadline=None)
def test_an_endless_join_of_streams_is_that_of_duckdb(seed: int, rows: int, epoch: int, shards: int) -> None:
    """Differential: inner, with a condition on both sides."""
    a, b = events(seed, rows, "x"), events(seed + 1, rows + 7, "y")
    left, right = source(a, "a", seed, False), source(b, "b", seed + 1, False)
    joined = left.join(right, "id", where=pl.col("x") < pl.col("y"), ttl="unbounded")
    expected = duck(f"select {columns('inner')} from a join b on a.id = b.id and a.x < b.y", a=a, b=b)
    assert run(joined, epoch, shards=shards) == expected


@given(
    seed=st.integers(0, 10**6), how=st.sampled_from(HOWS), lower=st.integers(-9, 3), width=st.integers(0, 9),
    epoch=st.integers(5, 60), shards=st.integers(1, 3),
)  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_an_interval_join_is_that_of_duckdb(
    seed: int, how: str, lower: int, width: int, epoch: int, shards: int
) -> None:
    """Differential: every kind, rows without a match leave with the watermark."""
    a, b = events(seed, 60, "x"), events(seed + 1, 45, "y")
    upper = lower + width
    left, right = source(a, "a", seed, True), source(b, "b", seed + 1, True)
    joined = left.join_interval(right, "id", how, lower=lower * 1_000, upper=upper * 1_000)  # type: ignore[arg-type]
    near = f"b.at between a.at + interval '{lower} seconds' and a.at + interval '{upper} seconds'"
    query = f"select {columns(how)} from a {how} join b on a.id = b.id and {near}"
    assert run(joined, epoch, shards=shards) == duck(query, a=a, b=b)


@pytest.mark.parametrize("how", HOWS)
def test_a_window_join_is_that_of_duckdb(how: str) -> None:
    """Differential: tumbling windows, every kind."""
    a, b = events(5, 80, "x"), events(6, 70, "y")
    joined = source(a, "a", 3, True).join_window(source(b, "b", 4, True), "id", wr.tumbling("10s"), how)  # type: ignore[arg-type]
    same = "epoch_us(a.at) // 10000000 = epoch_us(b.at) // 10000000"
    assert run(joined, 23) == duck(f"select {columns(how)} from a {how} join b on a.id = b.id and {same}", a=a, b=b)


def test_hopping_windows_pair_rows_once_for_each_window() -> None:
    """Differential: 10 s every 5 s."""
    a, b = events(7, 60, "x"), events(8, 50, "y")
    joined = source(a, "a", 3, True).join_window(source(b, "b", 4, True), "id", wr.hopping("10s", "5s"))
    query = f"""select {columns("inner")} from a join b on a.id = b.id, unnest([0, 1]) as w(n)
        where epoch_us(a.at) // 5000000 - n <= epoch_us(b.at) // 5000000
        and epoch_us(b.at) // 5000000 <= epoch_us(a.at) // 5000000 - n + 1"""
    assert run(joined, 31) == duck(query, a=a, b=b)


@pytest.mark.parametrize("how", ["inner", "left", "full", "semi"])
def test_a_restored_join_goes_on_where_it_was(how: str, tmp_path: Path) -> None:
    """Differential: the job is closed and opened again all the time, with deltas and snapshots in between."""
    a, b = events(9, 120, "x"), events(10, 100, "y")
    logged = wr.open_log(tmp_path / "in")
    for name, table in (("a", a), ("b", b)):
        wr.from_arrow(table).write_log(logged, name).run()
    left, right = [wr.read_log(logged, name, end="latest").watermark("at", delay="5s") for name in ("a", "b")]
    joined = left.join(right, "id", how, ttl="6s")  # type: ignore[arg-type]
    near = "b.at between a.at - interval '6 seconds' and a.at + interval '6 seconds'"
    expected = duck(f"select {columns(how)} from a {how} join b on a.id = b.id and {near}", a=a, b=b)
    assert run(joined, 17, tmp_path, shards=2) == expected


KEYS: dict[str, tuple[list[Any], pa.DataType, pa.DataType]] = {
    "ints of different widths": ([1, 2, None, -3], pa.int16(), pa.int64()),
    "unsigned and signed": ([1, 2, None, 3], pa.uint32(), pa.int64()),
    "strings of different layouts": (["a", "", None, "long text that is not inlined"], pa.string(), pa.string_view()),
    "bytes": ([b"a", b"", None, b"\x00"], pa.binary(), pa.large_binary()),
    "decimals of different scales": ([Decimal("1.50"), Decimal("2.00"), None, Decimal("-1.25")], pa.decimal128(9, 2),
        pa.decimal128(30, 4)),
    "dates": ([1, 2, None, 3], pa.date32(), pa.date32()),
    "times of different units": ([1_000, 2_000, None, 3_000], pa.timestamp("ms", "UTC"), pa.timestamp("us", "UTC")),
    "floats": ([1.5, 0.0, None, -2.0], pa.float32(), pa.float64()),
}  # fmt: skip


@pytest.mark.parametrize("kind", KEYS)
def test_keys_of_every_type(kind: str) -> None:
    """Oracle: alone and together with another column; null equals nothing."""
    values, ours, theirs = KEYS[kind]
    typed = pa.array(values, ours)
    cast = typed.cast(theirs) if not pa.types.is_string_view(theirs) else pa.array(values, theirs)
    number = pa.array(range(4))
    left = wr.from_arrow(pa.table({"k": typed, "n": number, "x": number}), name="a")
    right = wr.from_arrow(pa.table({"k": cast, "n": number, "y": number}), name="b")
    for on in ("k", ["k", "n"]):
        rows = left.join(right, on, ttl="unbounded").collect()
        assert sorted(rows["x"].to_pylist()) == sorted(rows["y"].to_pylist()) == [0, 1, 3]


def test_a_skewed_key_is_paired_in_bounded_batches() -> None:
    """Law: one key on both sides gives the product, in batches of bounded size."""
    rows = 700
    left = wr.from_arrow(pa.table({"k": pa.array([7] * rows), "x": pa.array(range(rows))}), name="a")
    right = wr.from_arrow(pa.table({"k": pa.array([7] * rows), "y": pa.array(range(rows))}), name="b")
    batches = list(left.join(right, "k", ttl="unbounded").batches())
    assert sum(batch.num_rows for batch in batches) == rows * rows
    assert max(batch.num_rows for batch in batches) <= 1 << 16


def test_what_cannot_be_joined_is_said_when_it_is_built() -> None:
    """Golden: messages name the step and the way out."""
    a, b = events(1, 5, "x"), events(2, 5, "y")
    left, right = wr.from_arrow(a, name="a"), wr.from_arrow(b, name="b")
    for words, build in {
        "kept for ever": lambda: left.join(right, "id"),
        "needs event time on both sides": lambda: left.join(right, "id", ttl="1h"),
        "give the columns to compare": lambda: left.join(right, ttl="unbounded"),
        "no column 'nothing'": lambda: left.join(right, "nothing", ttl="unbounded"),
        "which cannot be compared": lambda: left.join(right, left_on="id", right_on="text", ttl="unbounded"),
        "how must be one of": lambda: left.join(right, "id", "outer", ttl="unbounded"),  # type: ignore[arg-type]
        "lower .* is more than upper": lambda: source(a, "a", 1, True).join_interval(
            source(b, "b", 1, True), "id", lower="5s", upper="1s"
        ),
    }.items():
        with pytest.raises(wr.PlanError, match=words):
            build()


def totals(table: pa.Table, name: str, seed: int, value: str) -> wr.Table:
    """A Table that changes with every epoch: one row an id."""
    grouped = source(table, name, seed, False).group_by("id").agg(**{f"n_{value}": wr.count(), value: wr.max(value)})
    assert isinstance(grouped, wr.Table)
    return grouped


def query_of_totals(how: str, condition: str = "true") -> str:
    left, right = "p.id, p.n_x, p.x", "q.n_y, q.y"
    shown = {
        "semi": left, "anti": left, "right": f"p.n_x, p.x, q.id, {right}",
        "full": f"coalesce(p.id, q.id) as id, p.n_x, p.x, {right}",
    }.get(how, f"{left}, {right}")  # fmt: skip
    grouped = "(select id, count(*) as n_{0}, max({0}) as {0} from {1} group by id)"
    return (
        f"select {shown} from {grouped.format('x', 'a')} p {how} join {grouped.format('y', 'b')} q "
        f"on p.id = q.id and {condition}"
    )


@given(seed=st.integers(0, 10**6), how=st.sampled_from(HOWS), epoch=st.integers(1, 60), shards=st.integers(1, 3))
@settings(max_examples=30, deadline=None)
def test_a_join_of_tables_follows_their_changes(seed: int, how: str, epoch: int, shards: int) -> None:
    """Differential: what is left of all changes is the join of the last rows; every kind, with a condition."""
    a, b = events(seed, 50, "x"), events(seed + 1, 40, "y")
    left, right = totals(a, "a", seed, "x"), totals(b, "b", seed + 1, "y")
    joined = left.join(right, "id", how, where=pl.col("n_x") <= pl.col("y"))  # type: ignore[arg-type]
    assert isinstance(joined, wr.Table)
    assert run(joined, epoch, shards=shards) == duck(query_of_totals(how, "n_x <= y"), a=a, b=b)


@given(seed=st.integers(0, 10**6), how=st.sampled_from(HOWS), epoch=st.integers(1, 60))
@settings(max_examples=20, deadline=None)
def test_a_stream_joined_with_a_table_follows_its_changes(seed: int, how: str, epoch: int) -> None:
    """Differential: the result is that of the Table as it is at the end, however epochs are cut."""
    a, b = events(seed, 50, "x"), events(seed + 1, 40, "y")
    joined = source(a, "a", seed, False).join(totals(b, "b", seed + 1, "y"), "id", how)  # type: ignore[arg-type]
    left, right = "a.id, a.x, a.text, a.at", "q.n_y, q.y"
    shown = {
        "semi": left, "anti": left, "right": f"a.x, a.text, a.at, q.id, {right}",
        "full": f"coalesce(a.id, q.id) as id, a.x, a.text, a.at, {right}",
    }.get(how, f"{left}, {right}")  # fmt: skip
    grouped = "(select id, count(*) as n_y, max(y) as y from b group by id)"
    query = f"select {shown} from a {how} join {grouped} q on a.id = q.id"
    assert run(joined, epoch) == duck(query, a=a, b=b)


@pytest.mark.parametrize("how", ["left", "right", "full", "anti"])
def test_an_endless_outer_join_takes_back_rows_that_find_a_match(how: str) -> None:
    """Differential: rows without a match come at once, as a Table."""
    a, b = events(3, 60, "x"), events(4, 50, "y")
    joined = source(a, "a", 1, False).join(source(b, "b", 2, False), "id", how, ttl="unbounded")  # type: ignore[arg-type]
    assert run(joined, 13) == duck(f"select {columns(how)} from a {how} join b on a.id = b.id", a=a, b=b)


@pytest.mark.parametrize("how", ["inner", "full"])
def test_changes_of_a_restored_join_of_tables_add_up(how: str, tmp_path: Path) -> None:
    """Differential: the change log of a job that is closed and opened all the time, dead rows dropped in between."""
    a, b = events(11, 150, "x"), events(12, 130, "y")
    logged = wr.open_log(tmp_path / "in")
    for name, table in (("a", a), ("b", b)):
        wr.from_arrow(table).write_log(logged, name).run()
    left, right = [
        wr.read_log(logged, name, end="latest").group_by("id").agg(**{f"n_{v}": wr.count(), v: wr.max(v)})
        for name, v in (("a", "x"), ("b", "y"))
    ]
    joined = left.join(right, "id", how)  # type: ignore[arg-type]
    got: list[pa.RecordBatch] = []
    with patch("windrow.state.joins.side._SLACK", 2):
        for _ in range(100):
            sink = joined.for_each_batch(lambda batch, epoch: got.append(batch), changes="log", name="out")
            with wr.job(sink, ledger=wr.open_log(tmp_path / "log"), limits=wr.Limits(epoch_rows=23), shards=2) as job:
                job.run(epochs=2)
                if job.ended:
                    break
    left_over: Counter[Any] = Counter()
    for batch in got:
        for row in batch.to_pylist():
            weight = 1 if row.pop("op") == "c" else -1
            left_over[tuple(row.values())] += weight
    assert +left_over == duck(query_of_totals(how), a=a, b=b)
    assert min(left_over.values()) == 0
