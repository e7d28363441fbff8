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
db = duckdb.connect()
db.execute("SET TimeZone = 'UTC'")
db.execute(f"SET threads = {TASK['cores']}")
# Told by its guide on tuning workloads: rows in any order need less memory and are faster.
db.execute("SET preserve_insertion_order = false")
loaded: list[object] = []  # the folder, source and kinds of the tables that there are


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
    wanted = [data, TASK["source"], TASK["kinds"]]
    if wanted == loaded:
        return
    memory = TASK["source"] == "memory"
    for kind in _OF_KIND:
        db.execute(f"DROP {'TABLE' if memory else 'VIEW'} IF EXISTS {kind}")
    for kind in TASK["kinds"]:
        made = f"CREATE {'TABLE' if memory else 'VIEW'} {kind}"
        db.execute(f"{made} AS SELECT * FROM {relation(data, kind)}")
    if TASK["query"] == "ysb":
        db.execute(f"CREATE OR REPLACE TABLE campaigns AS SELECT * FROM '{data}/campaigns.parquet'")
    loaded[:] = wanted


def run(data: Path, out: Path | None) -> None:
    found = db.execute(queries(DIALECT)[TASK["query"]]).to_arrow_table()
    if out is not None:
        pq.write_table(found, out / "rows.parquet")


rounds(run, prepare=prepare)
