"""DuckDB's part of `benchmarks.peers.nexmark`: one query over all events, the result fetched as Arrow."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow.parquet as pq
from batch_sql import Dialect, queries
from rounds import TASK, files, rounds

DIALECT = Dialect(
    ms="epoch_ms({})",
    time="make_timestamp(({}) * 1000)",
    divide="{} // {}",
    hops="(SELECT unnest(range(5)) AS step)",
    day="strftime({}, '%Y-%m-%d')",
)
_INTS = ("auction", "bidder", "price", "id", "initialBid", "reserve", "seller", "category")
_TIMES = ("dateTime", "expires")
_OF_KIND = {
    "bid": ("auction", "bidder", "price", "channel", "url", "dateTime", "extra"),
    "person": ("id", "name", "emailAddress", "creditCard", "city", "state", "dateTime", "extra"),
    "auction": (
        "id", "itemName", "description", "initialBid", "reserve", "dateTime", "expires", "seller", "category", "extra",
    ),
    "view": ("user_id", "page_id", "ad_id", "ad_type", "event_type", "dateTime", "ip_address"),
}  # fmt: skip
#: Folder, source and kinds -> a database that has them; two, so that what is measured stays beside what is checked.
databases: dict[tuple[object, ...], duckdb.DuckDBPyConnection] = {}


def database() -> duckdb.DuckDBPyConnection:
    made = duckdb.connect()
    made.execute("SET TimeZone = 'UTC'")
    made.execute(f"SET threads = {TASK['cores']}")
    # Told by its guide on tuning workloads: rows in any order need less memory and are faster.
    made.execute("SET preserve_insertion_order = false")
    return made


def relation(data: Path, kind: str) -> str:
    if TASK["source"] != "json":
        return f"read_parquet({files(data, kind, 1, 'parquet')})"
    types = ", ".join(
        f"'{name}': '{'BIGINT' if name in _INTS else 'TIMESTAMP' if name in _TIMES else 'VARCHAR'}'"
        for name in _OF_KIND[kind]
    )
    return f"read_json({files(data, kind)}, format = 'newline_delimited', columns = {{{types}}})"


def prepare(data: Path) -> None:
    """Views over the files; for memory, tables, which are loaded once."""
    wanted = (data, TASK["source"], *TASK["kinds"])
    db = databases.pop(wanted, None)
    if db is not None:
        databases[wanted] = db
        return
    if len(databases) == 2:
        databases.pop(next(iter(databases))).close()
    databases[wanted] = db = database()
    for kind in TASK["kinds"]:
        made = f"CREATE {'TABLE' if TASK['source'] == 'memory' else 'VIEW'} {kind}"
        db.execute(f"{made} AS SELECT * FROM {relation(data, kind)}")
    if TASK["query"] == "ysb":
        db.execute(f"CREATE OR REPLACE TABLE campaigns AS SELECT * FROM '{data}/campaigns.parquet'")


def run(data: Path, out: Path | None) -> None:
    found = next(reversed(databases.values())).execute(queries(DIALECT)[TASK["query"]]).to_arrow_table()
    if out is not None:
        pq.write_table(found, out / "rows.parquet")


rounds(run, prepare=prepare)
