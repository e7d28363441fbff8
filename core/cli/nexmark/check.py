"""Whether a query's result is what DuckDB makes of the same events at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from windrow.cli.nexmark.reference import SQL
from windrow.errors import WindrowError

if TYPE_CHECKING:
    import duckdb

SHOWN = 5


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many rows there are, and some that only one of the two has."""

    rows: int
    expected_rows: int
    digest: int = 0  # the sum of DuckDB's hashes of the rows
    only_here: tuple[tuple[Any, ...], ...] = ()
    missing: tuple[tuple[Any, ...], ...] = ()

    @property
    def equal(self) -> bool:
        return not self.only_here and not self.missing and self.rows == self.expected_rows

    def __str__(self) -> str:
        if self.equal:
            return f"equal to DuckDB's, {self.rows:,} rows"
        lines = [f"{self.rows:,} rows, but DuckDB has {self.expected_rows:,}"]
        lines += [f"  only here  {row}" for row in self.only_here]
        lines += [f"  missing    {row}" for row in self.missing]
        return "\n".join(lines)


def check(query: str, result: pa.Table, events: Mapping[str, pa.Table]) -> Verdict:
    """Compare all rows, each as often as it occurs, in any order. `events`: the tables that the reference speaks of.

    Raises `WindrowError` when duckdb is not installed.
    """
    connection = _connect()
    for name, table in {**events, "result": result}.items():
        connection.register(name, table)
    columns = ", ".join(result.column_names)
    got, wanted = "SELECT * FROM result", f"SELECT {columns} FROM ({_reference(query)})"
    if query == "q12":
        got = "SELECT bidder, CAST(sum(bid_count) AS BIGINT) AS bid_count FROM result GROUP BY bidder"
        wanted = _reference(query)
    (rows, here), (expected_rows, there) = _digest(connection, got), _digest(connection, wanted)
    if (rows, here) == (expected_rows, there):
        return Verdict(rows, expected_rows, here)
    return Verdict(rows, expected_rows, here, _without(connection, got, wanted), _without(connection, wanted, got))


def _reference(query: str) -> str:
    """q12 counts in windows of processing time: how bids fall into them is not given, how many there are is."""
    return "SELECT bidder, count(*) AS bid_count FROM bid GROUP BY bidder" if query == "q12" else SQL[query]


def _connect() -> duckdb.DuckDBPyConnection:
    try:
        import duckdb
    except ModuleNotFoundError:
        raise WindrowError("--check compares with DuckDB, which is not installed: pip install duckdb") from None
    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def _digest(connection: duckdb.DuckDBPyConnection, rows: str) -> tuple[int, int]:
    """Number of rows, and the sum of their hashes: equal for equal bags of rows."""
    found = connection.execute(f"SELECT count(*), coalesce(sum(hash(r)), 0) FROM ({rows}) AS r").fetchall()
    return int(found[0][0]), int(found[0][1])


def _without(connection: duckdb.DuckDBPyConnection, rows: str, others: str) -> tuple[tuple[Any, ...], ...]:
    """Some of the rows that are not among the others, as text: duckdb needs a library to give times with zones."""
    sql = f"SELECT CAST(r AS VARCHAR) FROM (({rows}) EXCEPT ALL ({others})) AS r LIMIT {SHOWN}"
    return tuple(connection.execute(sql).fetchall())
