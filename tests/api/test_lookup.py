"""join_lookup through the public API, against DuckDB over the same rows; refreshed by a clock."""

from __future__ import annotations

import sys
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet
import pytest

import windrow as wr
from tests.operators.test_join import duck, net
from windrow.clock import ManualClock

ROWS = 500


@pytest.fixture
def bids() -> pa.Table:
    random = np.random.default_rng(3)
    ids = [None if i % 9 == 0 else int(i) for i in random.integers(0, 12, ROWS)]
    return pa.table({"id": pa.array(ids, pa.int64()), "x": pa.array(range(ROWS))})


@pytest.fixture
def side() -> pa.Table:
    ids = pa.array([1, 2, 3, 3, None, 7, 8], pa.int32())
    return pa.table({"id": ids, "x": pa.array(range(7)), "name": pa.array(list("abcdefg"))})


@pytest.mark.parametrize("how", ["inner", "left", "semi", "anti"])
@pytest.mark.parametrize("condition", [None, pl.col("x_right") < pl.col("x") - 100])
def test_lookup_is_the_join_of_duckdb(bids: pa.Table, side: pa.Table, how: str, condition: pl.Expr | None) -> None:
    """Differential: every kind, several rows for a key, nulls on both sides."""
    stream = wr.from_arrow(bids.to_batches(max_chunksize=70), name="bids")
    found = stream.join_lookup(side, "id", how, where=condition).collect(workers=2)  # type: ignore[arg-type]
    shown = "a.id, a.x" if how in ("semi", "anti") else "a.id, a.x, b.x as x_right, b.name"
    extra = "" if condition is None else "and b.x < a.x - 100"
    assert net(found) == duck(f"select {shown} from a {how} join b on a.id = b.id {extra}", a=bids, b=side)


@pytest.mark.parametrize("how", ["inner", "left", "semi", "anti"])
@pytest.mark.parametrize("twice", [False, True])
def test_keys_that_are_there_once_or_twice(how: str, twice: bool) -> None:
    """differential: a key that is there once is its row; null equals nothing, though the table has it too"""
    keys = [5, None, 7, 2**40, 9, *([7] if twice else [])]
    side = pa.table({"id": pa.array(keys, pa.int64()), "w": list(range(len(keys)))})
    rows = pa.table({"id": pa.array([7, None, 8, 5, 7, 2**40], pa.int64()), "v": list(range(6))})
    found = wr.from_arrow(rows).join_lookup(side, "id", how=how).collect()
    with duckdb.connect() as connection:
        connection.register("a", rows)
        connection.register("b", side)
        kind = how if how in ("semi", "anti") else f"{how} outer" if how == "left" else how
        wanted = connection.sql(f"select * from a {kind} join b using (id)").to_arrow_table()
    assert sorted(map(str, found.to_pylist())) == sorted(map(str, wanted.to_pylist()))


def test_tables_to_look_up_come_from_anywhere(bids: pa.Table, side: pa.Table, tmp_path: Path) -> None:
    """Differential: a frame, a file, a glob, a function, a query; the same result."""
    pyarrow.parquet.write_table(side, tmp_path / "side.parquet")
    stream = wr.from_arrow(bids, name="bids")
    expected = duck("select a.id, a.x, b.name from a join b on a.id = b.id", a=bids, b=side)
    with duckdb.connect() as connection:
        connection.register("side", side)
        for table in (
            pl.from_arrow(side),
            tmp_path / "side.parquet",
            str(tmp_path / "*.parquet"),
            lambda: side,
            lambda: connection.sql("select * from side"),
        ):
            joined = stream.join_lookup(table, "id").select("id", "x", "name")
            assert net(joined.collect()) == expected


def test_all_rows_of_an_epoch_meet_the_same_version_and_later_ones_a_newer() -> None:
    """Law: loaded again by the first epoch that begins `refresh` after the last load."""
    clock, versions = ManualClock(), []

    def load() -> pa.Table:
        versions.append(len(versions))
        return pa.table({"id": [1], "version": [versions[-1]]})

    stream = wr.from_arrow([pa.record_batch({"id": [1, 1]}) for _ in range(6)], name="events")
    got: list[list[int]] = []
    joined = stream.join_lookup(load, "id", refresh="10s")
    sink = joined.for_each_batch(lambda batch, epoch: got.append(batch["version"].to_pylist()))
    with wr.job(sink, clock=clock, limits=wr.Limits(epoch_rows=2, interval_ms=0)) as job:
        while not job.ended:
            job.step()
            clock.advance(4_000_000)
    rows = [version for part in got for version in part]
    assert rows[0] == 1  # version 0 was loaded to see its columns
    assert rows == sorted(rows) and len(set(rows)) > 1
    assert all(len(set(part)) == 1 for part in got)


def test_a_query_is_asked_again_by_each_refresh(tmp_path: Path) -> None:
    """Differential: rows of DuckDB as they are when the epoch begins; the file is free between loads."""
    path, clock = tmp_path / "side.db", ManualClock()
    with duckdb.connect(str(path)) as base:
        base.execute("create table users (id bigint, name varchar); insert into users values (1, 'ann'), (2, 'bo')")
    users = wr.query("select id, upper(name) as name\n from users", f"duckdb://{path}")
    stream = wr.from_arrow([pa.record_batch({"id": [1, 2, 3]}) for _ in range(3)], name="events")
    joined = stream.join_lookup(users, "id", refresh="10s")
    assert f"in query 'select id, upper(name) as name from users' of duckdb {path}" in joined.explain()
    got: list[list[str]] = []
    sink = joined.for_each_batch(lambda batch, epoch: got.append(sorted(batch["name"].to_pylist())))
    with wr.job(sink, clock=clock, limits=wr.Limits(epoch_rows=3, interval_ms=0)) as job:
        while not job.ended:
            job.step()
            job.wait(0)
            with duckdb.connect(str(path)) as base:
                base.execute("insert into users values (3, 'cy')" if len(got) == 1 else "select 1")
            clock.advance(6_000_000)
    assert got == [["ANN", "BO"], ["ANN", "BO"], ["ANN", "BO", "CY"]]


def test_files_can_be_queried(tmp_path: Path, side: pa.Table) -> None:
    """Oracle: a database in memory reads files."""
    pyarrow.parquet.write_table(side, tmp_path / "side.parquet")
    names = wr.query(f"select id, count(*) as n from '{tmp_path}/*.parquet' where id > 2 group by id", "duckdb://")
    stream = wr.from_arrow(pa.table({"id": [3, 7, 1]}), name="events")
    assert sorted(stream.join_lookup(names, "id").collect()["n"].to_pylist()) == [1, 2]


class Database:
    """Stands in for an ADBC driver's module `dbapi`."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.open = 0

    def connect(self, uri: str) -> Database:
        if "wrong" in uri:
            raise OSError(f"could not connect to {uri}: password authentication failed")
        self.uri = uri
        return self

    def cursor(self) -> Database:
        return self

    def execute(self, sql: str) -> None:
        self.asked.append((self.uri, sql))

    def fetch_arrow_table(self) -> pa.Table:
        return pa.table({"id": [1], "name": ["ann"]})

    def __enter__(self) -> Database:
        self.open += 1
        return self

    def __exit__(self, *_: object) -> None:
        self.open -= 1


def test_a_query_goes_through_the_driver_of_its_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    """Oracle: the driver gets the connection and the query; cursor and connection are closed; no password is shown."""
    database = Database()
    monkeypatch.setitem(sys.modules, "adbc_driver_postgresql.dbapi", database)
    users = wr.query("select 1", "postgresql://me:hidden7@db.host:5433/shop?sslkey=hidden8")
    joined = wr.from_arrow(pa.table({"id": [1]}), name="events").join_lookup(users, "id")
    assert joined.collect().to_pylist() == [{"id": 1, "name": "ann"}]
    assert set(database.asked) == {("postgresql://me:hidden7@db.host:5433/shop?sslkey=hidden8", "select 1")}
    assert database.open == 0
    assert "in query 'select 1' of postgresql db.host:5433" in joined.explain() and "hidden" not in joined.explain()
    with pytest.raises(wr.PlanError, match="password authentication failed") as caught:
        wr.query("select 1", "postgresql://wrong:hidden7@db.host/shop?sslkey=hidden8").load()
    assert "hidden" not in str(caught.value) and "hidden" not in repr(users)


def test_what_cannot_be_queried_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Golden: messages."""
    with pytest.raises(wr.PlanError, match="no driver for a connection of scheme 'mysql'; there are: duckdb, sqlite"):
        wr.query("select 1", "mysql://host")
    with pytest.raises(wr.PlanError, match="expected a SQL query"):
        wr.query(" ", "duckdb://")
    with pytest.raises(wr.PlanError, match=r"query 'select x from y' of duckdb.*y"):
        wr.query("select x from y", "duckdb://").load()
    with pytest.raises(wr.PlanError, match=r"nothing\.db"):
        wr.query("select 1", f"duckdb://{tmp_path}/nothing.db").load()
    monkeypatch.setitem(sys.modules, "duckdb", None)
    with pytest.raises(wr.PlanError, match=r"duckdb is not installed: pip install 'windrow\[duckdb\]'"):
        wr.query("select 1", "duckdb://").load()
    monkeypatch.setitem(sys.modules, "adbc_driver_snowflake.dbapi", None)
    with pytest.raises(wr.PlanError, match="pip install adbc-driver-snowflake adbc-driver-manager"):
        wr.query("select 1", "snowflake://account").load()


def test_what_cannot_be_looked_up_is_said() -> None:
    """Golden: messages."""
    stream = wr.from_arrow(pa.table({"id": [1]}), name="events")
    with pytest.raises(wr.PlanError, match="no file"):
        stream.join_lookup("nothing.parquet", "id")
    with pytest.raises(wr.PlanError, match="expected a polars frame"):
        stream.join_lookup(7, "id")
    with pytest.raises(wr.PlanError, match="how must be"):
        stream.join_lookup(pa.table({"id": [1]}), "id", "full")
    table = stream.group_by("id").agg(n=wr.count())
    with pytest.raises(wr.PlanError, match="leave out refresh"):
        table.join_lookup(pa.table({"id": [1]}), "id", refresh="1s")
