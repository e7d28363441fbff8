"""Joins with everything small that is large otherwise: pieces of pairs, chunks, tables of keys; keys come and go."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import windrow as wr
from tests.operators.test_asof import recomputed
from tests.operators.test_join import HOWS, SECOND, columns, duck, events, query_of_totals, run, source, totals
from windrow.state.joins.side import SideState

TIGHT = {
    "windrow.state.joins.side.PAIRS_AT_ONCE": 3,
    "windrow.state.joins.side._SLACK": 2,
    "windrow.state.joins.side._FEW_KEYS": 2,
    "windrow.state.joins.join.PAIRS_AT_ONCE": 3,
    "windrow.state.joins.waiting._ROWS_AT_ONCE": 5,
    "windrow.state.joins.waiting._MANY": 1,
    "windrow.state.joins.asof.PAIRS_AT_ONCE": 3,
    "windrow.state.row_store._FEW_ROWS": 4,
}


@pytest.fixture(autouse=True, scope="module")
def tight() -> Iterator[None]:
    with ExitStack() as stack:
        for name, value in TIGHT.items():
            stack.enter_context(patch(name, value))
        yield


def moving(seed: int, rows: int, value: str) -> pa.Table:
    """Events whose keys grow with time, so that old ones are never seen again."""
    table = events(seed, rows, value, 4)
    ids = [None if i is None else i + n // 10 * 4 for n, i in enumerate(table["id"].to_pylist())]
    return table.set_column(0, "id", pa.array(ids, pa.int64()))


@given(seed=st.integers(0, 10**6), how=st.sampled_from(["inner", "left", "full", "semi"]), epoch=st.integers(3, 40))
@settings(max_examples=15, deadline=None)
def test_interval_joins_forget_keys(seed: int, how: str, epoch: int) -> None:
    """Differential: against DuckDB."""
    a, b = moving(seed, 120, "x"), moving(seed + 1, 110, "y")
    left, right = source(a, "a", seed, True), source(b, "b", seed + 1, True)
    joined = left.join(right, "id", how, ttl="3s")  # type: ignore[arg-type]
    near = "b.at between a.at - interval '3 seconds' and a.at + interval '3 seconds'"
    expected = duck(f"select {columns(how)} from a {how} join b on a.id = b.id and {near}", a=a, b=b)
    assert run(joined, epoch, shards=2) == expected


@given(seed=st.integers(0, 10**6), how=st.sampled_from(HOWS), epoch=st.integers(3, 170), few=st.integers(0, 1))
@settings(max_examples=30, deadline=None)
def test_a_side_with_few_rows_finds_all_of_many(seed: int, how: str, epoch: int, few: int) -> None:
    """Differential: rows that are forgotten in the epoch in which they come are paired first, against DuckDB."""
    tables = [moving(seed, 150, "x"), moving(seed + 1, 150, "y")]
    tables[few] = tables[few].take(np.arange(seed % 12, 150, 12))
    a, b = tables
    left, right = source(a, "a", seed, True), source(b, "b", seed + 1, True)
    joined = left.join_interval(right, "id", how, lower="-1s", upper="3s")  # type: ignore[arg-type]
    near = "b.at between a.at - interval '1 seconds' and a.at + interval '3 seconds'"
    expected = duck(f"select {columns(how)} from a {how} join b on a.id = b.id and {near}", a=a, b=b)
    assert run(joined, epoch, shards=2) == expected


@pytest.mark.parametrize("rows", [39, 40, 400, 401])
def test_columns_of_every_width_come_out_as_they_came_in(rows: int) -> None:
    """Differential: with nulls, also where rows are numbers into the batch they came in, against DuckDB."""
    a, b = moving(1, 200, "x"), moving(2, 200, "y")
    random = np.random.default_rng(3)
    numbers = pa.array(random.integers(-9, 9, 200), mask=random.random(200) < 0.3)
    kinds = [pa.int8(), pa.int16(), pa.float32(), pa.decimal128(20, 0), pa.bool_(), pa.date32()]
    for kind in kinds:
        column = numbers.cast(pa.int32()).cast(kind) if kind == pa.date32() else numbers.cast(kind)
        a = a.append_column(f"a_{kind.id}", column)
    left, right = source(a, "a", 0, True), source(b, "b", 0, True)
    names = [f"a_{kind.id}" for kind in kinds]
    found = run(left.join(right, "id", ttl="3s").select("x", "y", *names), rows, shards=2)
    near = "b.at between a.at - interval '3 seconds' and a.at + interval '3 seconds'"
    query = f"select a.x, b.y, {', '.join(f'a.{name}' for name in names)} from a join b on a.id = b.id and {near}"
    assert found == duck(query, a=a, b=b) != {}


@pytest.mark.parametrize("rows", [400, 401])
def test_rows_that_meet_no_key_are_not_stored(rows: int) -> None:
    """Law: of many rows that are forgotten when their epoch ends, only those are stored whose key the few rows of the
    other side have."""
    a, b = moving(1, 400, "x"), moving(2, 400, "y").slice(200, 4)
    left, right = source(a, "a", 0, True), source(b, "b", 0, True)
    with patch.object(SideState, "add", autospec=True, side_effect=SideState.add) as stored:
        found = run(left.join(right, "id", ttl="2s"), rows, shards=1)
    near = "b.at between a.at - interval '2 seconds' and a.at + interval '2 seconds'"
    assert found == duck(f"select {columns('inner')} from a join b on a.id = b.id and {near}", a=a, b=b) != {}
    kept = sum(call.args[1].num_rows for call in stored.call_args_list)
    assert kept < 400 / 2


@given(seed=st.integers(0, 10**6), how=st.sampled_from(["inner", "full", "anti"]), epoch=st.integers(3, 40))
@settings(max_examples=15, deadline=None)
def test_joins_of_tables_forget_what_was_replaced(seed: int, how: str, epoch: int) -> None:
    """Differential: against DuckDB."""
    a, b = events(seed, 90, "x", 5), events(seed + 1, 80, "y", 5)
    joined = totals(a, "a", seed, "x").join(totals(b, "b", seed + 1, "y"), "id", how)  # type: ignore[arg-type]
    assert run(joined, epoch, shards=2) == duck(query_of_totals(how), a=a, b=b)


@given(seed=st.integers(0, 10**6), tolerance=st.sampled_from([None, 0, 6]), epoch=st.integers(3, 40))
@example(seed=20, tolerance=6, epoch=4)  # rows that time had dropped were asked for when dead ones were cleared away
@settings(max_examples=15, deadline=None)
def test_asof_joins_forget_versions(seed: int, tolerance: int | None, epoch: int) -> None:
    """Oracle: against a plain recomputation."""
    a, b = moving(seed, 110, "x"), moving(seed + 1, 120, "y")
    within = None if tolerance is None else f"{tolerance}s"
    left, right = source(a, "a", seed, True), source(b, "b", seed + 1, True)
    joined = left.join_asof(right, "id", tolerance=within)
    assert run(joined, epoch, shards=2) == recomputed(a, b, "backward", tolerance, "left")


@pytest.mark.parametrize("how", ["inner", "left"])
def test_restored_interval_joins_forget_keys(how: str, tmp_path: Path) -> None:
    """Differential: closed and opened all the time."""
    a, b = moving(31, 200, "x"), moving(32, 190, "y")
    logged = wr.open_log(tmp_path / "in")
    for name, table in (("a", a), ("b", b)):
        wr.from_arrow(table).write_log(logged, name).run()
    left, right = [wr.read_log(logged, name, end="latest").watermark("at", delay="5s") for name in ("a", "b")]
    joined = left.join(right, "id", how, ttl="3s")  # type: ignore[arg-type]
    near = "b.at between a.at - interval '3 seconds' and a.at + interval '3 seconds'"
    expected = duck(f"select {columns(how)} from a {how} join b on a.id = b.id and {near}", a=a, b=b)
    assert run(joined, 17, tmp_path, shards=2) == expected


@given(seed=st.integers(0, 10**6), epochs=st.tuples(st.integers(1, 50), st.integers(1, 50)))
@settings(max_examples=15, deadline=None)
def test_what_late_rows_of_an_endless_join_give_does_not_depend_on_epochs(seed: int, epochs: tuple[int, int]) -> None:
    """Law: windows over joined rows are the same however the input is cut, though many rows are late."""
    a, b = events(seed, 60, "x", 4), events(seed + 1, 60, "y", 4)
    left, right = [wr.from_arrow(t, name=n).watermark("at", delay="1s") for t, n in ((a, "a"), (b, "b"))]
    joined = left.join(right, "id", ttl="unbounded")
    counted = joined.group_by("id").window(wr.tumbling("4s")).agg(n=wr.count(), x=wr.sum("x"), y=wr.sum("y"))
    assert run(counted, epochs[0]) == run(counted, epochs[1])


@given(seed=st.integers(0, 10**6), epochs=st.tuples(st.integers(1, 50), st.integers(1, 50)))
@settings(max_examples=15, deadline=None)
def test_bounded_joins_with_late_rows_do_not_depend_on_epochs(seed: int, epochs: tuple[int, int]) -> None:
    """Law: of joins that leave late rows out, and a window after one that holds rows back."""
    a, b = events(seed, 60, "x", 4), events(seed + 1, 60, "y", 4)
    left, right = [wr.from_arrow(t, name=n).watermark("at", delay="1s") for t, n in ((a, "a"), (b, "b"))]
    joined = left.join_interval(right, "id", "full", lower="-3s", upper="2s")
    counted = joined.group_by("id").window(wr.tumbling("4s")).agg(n=wr.count(), x=wr.sum("x"), y=wr.sum("y"))
    asof = left.join_asof(right, "id", "nearest", tolerance="2s")
    for made in (joined, counted, asof, joined.late, joined.late_other):
        assert run(made, epochs[0]) == run(made, epochs[1])


def test_memory_of_a_bounded_join_does_not_grow() -> None:
    """Law: a hundred times the rows take no more state."""
    held = []
    for rows in (2_000, 40_000):
        times = pa.array(np.arange(rows) * SECOND).cast(pa.timestamp("us", "UTC"))
        table = pa.table({"id": pa.array(np.arange(rows) // 3), "at": times})
        left, right = [wr.from_arrow(table, name=name).watermark("at") for name in ("a", "b")]
        sizes: list[int] = []
        with left.join(right, "id", ttl="10s").for_each_batch(lambda batch, epoch: None) as made:
            job = made.configured(limits=wr.Limits(epoch_rows=400), shards=1)
            with job:
                job.run(on_progress=lambda progress: sizes.append(progress.state_bytes))  # noqa: B023
        held.append(max(sizes))
    assert held[1] < 3 * held[0]
