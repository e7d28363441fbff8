"""top_k and unique through the public API: cut at random, restored in the middle, against DuckDB over the same rows."""

from __future__ import annotations

from collections import Counter
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
from windrow.testing import Driver, Feed

TIES = ("row_number", "rank", "dense_rank")
SECOND = 1_000_000


def events(seed: int, rows: int, keys: int = 5) -> pa.Table:
    """Rows with few different values, some null, nearly in order of time, 1 s apart."""
    random = np.random.default_rng(seed)
    times = np.arange(rows) * SECOND + random.integers(-2 * SECOND, 2 * SECOND, rows) + 10 * SECOND
    values = [[None, *range(-3, 4)][i] for i in random.integers(0, 8, rows)]
    floats = [[None, -0.0, 0.0, -1.5, 2.5, float("inf")][i] for i in random.integers(0, 6, rows)]
    return pa.table(
        {
            "id": pa.array([None if i == 0 else f"k{i}" for i in random.integers(0, keys, rows)], pa.string()),
            "x": pa.array(values, pa.int64()),
            "f": pa.array(floats, pa.float64()),
            "n": pa.array(np.arange(rows)),
            "at": pa.array(times).cast(pa.timestamp("us", "UTC")),
        }
    )


def source(table: pa.Table, seed: int, timed: bool = False) -> wr.Stream:
    size = max(1, table.num_rows // (1 + seed % 7))
    stream = wr.from_arrow(table.to_batches(max_chunksize=size) or [table], schema=table.schema, name="events")
    return stream.watermark("at", delay="5s") if timed else stream


def bag(rows: list[dict[str, Any]]) -> Counter[Any]:
    """Rows as often as they occur, or, with `op`, with their changes added up."""
    counted: Counter[Any] = Counter()
    for row in rows:
        weight = {"c": 1, "d": -1}[row.pop("op", "c")]
        counted[tuple(row.values())] += weight
    return Counter({row: count for row, count in counted.items() if count})


def duck(query: str, t: pa.Table) -> Counter[Any]:
    with duckdb.connect() as connection:
        connection.register("t", t)
        return bag(connection.sql(query).to_arrow_table().to_pylist())


def run(stream: wr.Stream, epoch: int, folder: Path | None = None, workers: int = 1, shards: int = 3) -> Counter[Any]:
    """All that is there in the end; with a folder, it starts anew from what was saved after each two epochs."""
    limits = wr.Limits(epoch_rows=epoch)
    if folder is None:
        return bag(stream.collect(limits=limits, workers=workers, shards=shards).to_pylist())
    got: list[dict[str, Any]] = []
    for _ in range(1_000):
        changes = "log" if isinstance(stream, wr.Table) else "upsert"
        sink = stream.for_each_batch(lambda batch, _: got.extend(batch.to_pylist()), changes=changes, name="out")
        with wr.job(sink, ledger=wr.open_log(folder / "log"), limits=limits, shards=shards) as job:
            job.run(epochs=2)
            if job.ended:
                return bag(got)
    raise AssertionError("the job never ended")


@given(
    seed=st.integers(0, 10**6), rows=st.integers(0, 80), n=st.integers(1, 4), ties=st.sampled_from(TIES),
    descending=st.tuples(st.booleans(), st.booleans()), keyed=st.booleans(), epoch=st.integers(1, 40),
    shards=st.integers(1, 4),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_the_first_rows_are_those_of_duckdb(
    seed: int, rows: int, n: int, ties: Any, descending: tuple[bool, bool], keyed: bool, epoch: int, shards: int
) -> None:
    """Differential: whatever the cut, with null and equal values; equal rows come by arrival."""
    table = events(seed, rows)
    per = ["id"] if keyed else []
    ranked = source(table, seed).top_k(n, ["x", "f"], per=per, descending=descending, ties=ties, rank="rank")
    ways = ["desc" if way else "asc" for way in descending]
    order = f"x {ways[0]} nulls last, f {ways[1]} nulls last" + (", n" if ties == "row_number" else "")
    part = "partition by id" if keyed else ""
    expected = duck(f"select *, {ties}() over ({part} order by {order}) as r from t qualify r <= {n}", table)
    assert run(ranked, epoch, shards=shards) == expected


@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize("kind", ["stream", "table", "window", "none"])
def test_it_goes_on_where_it_was_after_a_restart(kind: str, ties: Any, tmp_path: Path) -> None:
    """Differential: a new process' worth of restore after every two epochs, and dropping what is gone whenever
    anything is, change nothing."""
    table = events(3, 150, keys=12)
    stream = source(table, 3, timed=True)
    match kind:
        case "stream":
            ranked = stream.top_k(2, "x", per="id", ties=ties, rank="rank")
        case "table":
            counts = stream.group_by("id", "x").agg(c=wr.count(), s=wr.sum("f"))
            ranked = counts.top_k(2, ["c", "x"], per="id", ties=ties, rank="rank")
        case "window":
            ranked = stream.top_k(2, "x", per="id", ties=ties, rank="rank", window=wr.tumbling("10s"))
        case _:
            ranked = stream.unique(["id", "x"], keep="none")
    expected = run(ranked, 1_000)
    assert expected
    with patch("windrow.state.rankings.runs._FEW", 0), patch("windrow.state.rankings.arena._SLACK", 0):
        assert run(ranked, 13, tmp_path) == expected
        assert run(ranked, 7) == expected


@given(
    seed=st.integers(0, 10**6), rows=st.integers(0, 60), n=st.integers(1, 3), ties=st.sampled_from(TIES),
    ranked=st.booleans(), epoch=st.integers(1, 30), shards=st.integers(1, 3),
)  # fmt: skip
@settings(max_examples=30, deadline=None)
def test_the_first_rows_of_a_table_follow_its_changes(
    seed: int, rows: int, n: int, ties: Any, ranked: bool, epoch: int, shards: int
) -> None:
    """Differential: counts go up, rows leave their place, others come back."""
    table = events(seed, rows)
    counts = source(table, seed).group_by("id", "x").agg(c=wr.count())
    first = counts.top_k(n, ["c", "x"], per="id", ties=ties, rank="rank" if ranked else None)
    expected = duck(
        f"with c as (select id, x, count(*) as c from t group by all) select *{'' if ranked else ' exclude (r)'} from "
        f"(select *, {ties}() over (partition by id order by c desc, x desc nulls last) as r from c qualify r <= {n})",
        table,
    )
    assert run(first, epoch, shards=shards) == expected
    again = first.filter(pl.col("c") > 1).group_by("x").agg(many=wr.count(), most=wr.sum("c"))
    expected = duck(
        "with c as (select id, x, count(*) as c from t group by all), "
        f"r as (select *, {ties}() over (partition by id order by c desc, x desc nulls last) as r from c) "
        f"select x, count(*), sum(c)::bigint from r where r <= {n} and c > 1 group by x",
        table,
    )
    assert run(again, epoch, shards=shards) == expected


@given(
    seed=st.integers(0, 10**6), rows=st.integers(0, 80), keep=st.sampled_from(["first", "last", "none"]),
    timed=st.booleans(), epoch=st.integers(1, 40), shards=st.integers(1, 4),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_unique_rows_are_those_of_duckdb(seed: int, rows: int, keep: Any, timed: bool, epoch: int, shards: int) -> None:
    """Differential: the first and the last by event time, then by arrival."""
    table = events(seed, rows)
    way = "desc" if keep == "last" else "asc"
    order = f"t.at {way}, n {way}" if timed else f"n {way}"
    if keep == "none":
        query = "select * from t qualify count(*) over (partition by id, x) = 1"
    else:
        query = f"select * from t qualify row_number() over (partition by id, x order by {order}) = 1"
    stream = source(table, seed, timed).unique(["id", "x"], keep=keep)
    assert run(stream, epoch, shards=shards) == duck(query, table)


@given(
    seed=st.integers(0, 10**6), ties=st.sampled_from(TIES), slide=st.sampled_from([10, 5, 2]),
    epoch=st.integers(1, 40), shards=st.integers(1, 3),
)  # fmt: skip
@settings(max_examples=25, deadline=None)
def test_the_first_rows_of_each_window_come_once(seed: int, ties: Any, slide: int, epoch: int, shards: int) -> None:
    """Differential: q7, the highest of each window; and q5, the groups of a window with the most rows."""
    table = events(seed, 70)
    stream = source(table, seed, timed=True)
    window = wr.tumbling("10s") if slide == 10 else wr.hopping("10s", f"{slide}s")
    windows = (
        f"w as (select t.*, to_timestamp(g * {slide}) as ws from t join range(-12, 99) r(g) "
        f"on epoch_us(t.at) >= g * {slide} * 1000000 and epoch_us(t.at) < (g * {slide} + 10) * 1000000)"
    )
    order = "x desc nulls last" + (", n" if ties == "row_number" else "")
    expected = duck(
        f"with {windows} select id, x, f, n, w.at, ws, ws + interval 10 seconds, {ties}() over "
        f"(partition by ws order by {order}) as r from w qualify r <= 1",
        table,
    )
    highest = stream.top_k(1, "x", ties=ties, rank="rank", window=window)
    assert run(highest, epoch, shards=shards) == expected

    hot = stream.group_by("id").window(window).agg(c=wr.count()).top_k(1, "c", ties="rank")
    expected = duck(
        f"with {windows} select id, ws, ws + interval 10 seconds, count(*) as c from w group by id, ws "
        "qualify rank() over (partition by ws order by c desc) = 1",
        table,
    )
    assert run(hot, epoch, shards=shards) == expected


def test_late_rows_are_kept_apart() -> None:
    """Law: a row is in the result's window or among the late ones."""
    at = pa.array([s * SECOND for s in (1, 30, 2, 31)]).cast(pa.timestamp("us", "UTC"))
    table = pa.table({"x": [1, 2, 3, 4], "at": at})
    stream = wr.from_arrow(table, name="late").watermark("at", delay="5s")
    first = stream.top_k(1, "x", window=wr.tumbling("10s"))
    assert first.collect().column("x").to_pylist() == [1, 4]
    assert first.late.collect().column("x").to_pylist() == [3]


def test_only_what_changed_is_sent() -> None:
    """Law: a row that comes in below sends nothing, one above the rows that move."""
    feed = Feed(wr.schema(k="string", x="int64"))
    with Driver(feed.stream().top_k(2, "x", per="k", rank="rank")) as driver:
        feed.append({"k": ["a", "a", "b"], "x": [5, 3, 1]})
        assert len(driver.step()) == 3
        feed.append({"k": ["a"], "x": [2]})
        assert driver.step() == []
        feed.append({"k": ["a"], "x": [4]})
        assert [(row["x"], row["rank"]) for row in driver.step() if row.get("op", "c") == "c"] == [(4, 2)]


def test_what_cannot_be_done_is_refused() -> None:
    """Law: the error names the step and the way out."""
    table = events(1, 5)
    stream = source(table, 1)
    for make, words in [
        (lambda: stream.top_k(0, "x"), "n must be a number"),
        (lambda: stream.top_k(1, "id", ties="rank"), "cannot be ordered by"),
        (lambda: stream.top_k(1, "x", per="no"), "no column 'no'"),
        (lambda: stream.top_k(1, ["x", "n"], descending=[True]), "descending as many values"),
        (lambda: stream.top_k(1, "x", rank="f"), "already"),
        (lambda: stream.top_k(1, "x", window=wr.tumbling("1s")), "needs event time"),
        (lambda: stream.group_by("id").agg(c=wr.count()).unique("c"), "no first and last"),
        (lambda: stream.unique("id", keep="any"), "'first', 'last' or 'none'"),  # type: ignore[arg-type]
    ]:
        with pytest.raises(wr.PlanError, match=words):
            make()
