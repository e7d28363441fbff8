"""What the results must be: DuckDB's, over all events at once; and what an engine has written, in the same form.

Every engine writes the result of a small run as Parquet or JSON lines. Columns are brought to whole numbers and text,
rows of key 0 are left out, and the sum of the rows' hashes is compared, which is the same in any order.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb

from windrow.cli.nexmark.reference import SQL

_YSB = """SELECT campaign, time_bucket(INTERVAL '10 seconds', dateTime, TIMESTAMPTZ '1970-01-01 00:00:00+00')
    AS window_start, count(*) AS views FROM view JOIN campaigns ON ad_id = ad WHERE event_type = 'view' GROUP BY ALL"""
_COUNTS = ("total_bids", "rank1_bids", "rank2_bids", "rank3_bids", "min_price", "max_price", "avg_price", "sum_price")

#: Query -> the columns that are compared, and what they are; the first one is 0 in rows that do not count. A bid that
#: is the last of several of the same millisecond is any of them, so q18 is compared without what may differ.
COLUMNS: dict[str, dict[str, str]] = {
    "q0": {"auction": "int", "bidder": "int", "price": "int", "dateTime": "time", "extra": "text"},
    "q1": {"auction": "int", "bidder": "int", "price": "milli", "dateTime": "time", "extra": "text"},
    "q2": {"auction": "int", "price": "int"},
    "q5": {"auction": "int", "num": "int"},
    "q7": {"auction": "int", "price": "int", "bidder": "int", "dateTime": "time", "extra": "text"},
    "q8": {"id": "int", "name": "text", "window_start": "time"},
    "q11": {"bidder": "int", "bid_count": "int", "starttime": "time", "endtime": "time"},
    "q17": {"auction": "int", "day": "text", **dict.fromkeys(_COUNTS, "int")},
    "q18": {"bidder": "int", "auction": "int", "dateTime": "time"},
    "q20": {
        "auction": "int", "bidder": "int", "price": "int", "channel": "text", "url": "text", "dateTime": "time",
        "extra": "text", "itemName": "text", "initialBid": "int", "reserve": "int", "auction_dateTime": "time",
        "expires": "time", "seller": "int", "category": "int",
    },
    "ysb": {"campaign": "int", "window_start": "time", "views": "int"},
}  # fmt: skip
#: Query -> the kinds of events that it reads.
KINDS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(COLUMNS, ("bid",)), "q8": ("person", "auction"), "q20": ("bid", "auction"), "ysb": ("view",),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Answer:
    rows: int
    digest: int

    def __str__(self) -> str:
        return f"{self.rows}:{self.digest & (2**64 - 1):x}"


def expected(query: str, data: Path) -> Answer:
    """By DuckDB, from the Parquet files in `data`."""
    with _connect() as db:
        for kind in KINDS[query]:
            table = f"SELECT *, row_number() OVER () AS seq FROM '{data}/lanes1/{kind}-parquet/0.parquet'"
            db.execute(f"CREATE TABLE {kind} AS {table}")
        if query == "ysb":
            db.execute(f"CREATE TABLE campaigns AS SELECT * FROM '{data}/campaigns.parquet'")
        return _answer(db, query, _YSB if query == "ysb" else SQL[query])


def written(query: str, folder: Path) -> Answer:
    """Of the files that an engine has written."""
    names = COLUMNS[query]
    with _connect() as db:
        if any(folder.rglob("*.parquet")):
            return _answer(db, query, f"SELECT * FROM read_parquet('{folder}/**/*.parquet')")
        texts = ", ".join(f"{name}: 'VARCHAR'" for name in names)
        form = "format = 'newline_delimited'"
        return _answer(db, query, f"SELECT * FROM read_json('{folder}/**/*.json', {form}, columns = {{{texts}}})")


def _connect() -> duckdb.DuckDBPyConnection:
    db = duckdb.connect()
    db.execute("SET TimeZone = 'UTC'")
    return db


def _answer(db: duckdb.DuckDBPyConnection, query: str, sql: str) -> Answer:
    forms = {
        "int": "CAST({0} AS BIGINT)",
        "text": "CAST({0} AS VARCHAR)",
        "time": "epoch_us(CAST({0} AS TIMESTAMPTZ))",
        "milli": "CAST(round(CAST({0} AS DOUBLE) * 1000) AS BIGINT)",
    }
    names = COLUMNS[query]
    columns = ", ".join(forms[form].format(name) + f" AS {name}" for name, form in names.items())
    kept = f"SELECT {columns} FROM ({sql}) WHERE CAST({next(iter(names))} AS BIGINT) <> 0"
    found = db.execute(f"SELECT count(*), coalesce(sum(hash(r)), 0) FROM ({kept}) AS r").fetchall()
    return Answer(int(found[0][0]), int(found[0][1]))
