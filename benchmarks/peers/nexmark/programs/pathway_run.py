"""Pathway's part of `benchmarks.peers.nexmark`: JSON lines by its own reader, in static mode (all rows are one batch of
changes, which is its fastest), as many threads as cores. Times stay text where a query only hands them on.

From memory: its Python connector, a call a row, all in one batch; rows are dicts with times as `datetime`, made before
the clock starts. Its other way, `table_from_pandas`, converts the frame in the run and was four times slower (17 k
instead of 65 k rows a second).
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from rounds import TASK, files, rounds

os.environ["PATHWAY_THREADS"] = str(TASK["cores"])  # read when it is imported
import pathway as pw
import pyarrow as pa
import pyarrow.parquet as pq

TEN, TWO = timedelta(seconds=10), timedelta(seconds=2)
Table = Any


class Bid(pw.Schema):
    auction: int
    bidder: int
    price: int
    channel: str
    url: str
    dateTime: str
    extra: str


class Auction(pw.Schema):
    key: int  # id, which is the name of Pathway's own keys
    itemName: str
    initialBid: int
    reserve: int
    dateTime: str
    expires: str
    seller: int
    category: int
    extra: str


class Person(pw.Schema):
    key: int
    name: str
    dateTime: str


class View(pw.Schema):
    ad_id: str
    event_type: str
    dateTime: str


class Campaign(pw.Schema):
    ad: str
    campaign: int


SCHEMAS: dict[str, Any] = {"bid": Bid, "auction": Auction, "person": Person, "view": View}


def timed(table: Table) -> Table:
    if TASK["source"] == "memory":
        return table.with_columns(t=pw.this.dateTime)
    return table.with_columns(t=pw.this.dateTime.dt.strptime("%Y-%m-%d %H:%M:%S%.f"))


def q0(bid: Table) -> Table:
    return bid.select(pw.this.auction, pw.this.bidder, pw.this.price, pw.this.dateTime, pw.this.extra)


def q1(bid: Table) -> Table:
    return q0(bid).with_columns(price=pw.this.price * 0.908)


def q2(bid: Table) -> Table:
    return bid.filter(pw.this.auction % 123 == 0).select(pw.this.auction, pw.this.price)


def q5(bid: Table) -> Table:
    hops = timed(bid).windowby(pw.this.t, window=pw.temporal.sliding(hop=TWO, duration=TEN), instance=pw.this.auction)
    counts = hops.reduce(auction=pw.this._pw_instance, start=pw.this._pw_window_start, num=pw.reducers.count())
    most = counts.groupby(pw.this.start).reduce(pw.this.start, most=pw.reducers.max(pw.this.num))
    joined = counts.join(most, counts.start == most.start)
    return joined.select(counts.auction, counts.num, most.most).filter(pw.this.num == pw.this.most).without("most")


def q7(bid: Table) -> Table:
    ms = timed(bid).with_columns(ms=pw.this.t.dt.timestamp(unit="ms"))
    windows = ms.with_columns(start=pw.cast(int, pw.this.ms) // 10_000)
    best = windows.groupby(pw.this.start).reduce(pw.this.start, most=pw.reducers.max(pw.this.price))
    joined = windows.join(best, windows.start == best.start, windows.price == best.most)
    return joined.select(windows.auction, windows.price, windows.bidder, windows.dateTime, windows.extra)


def q8(person: Table, auction: Table) -> Table:
    left, right = timed(person), timed(auction)
    joined = left.window_join(right, left.t, right.t, pw.temporal.tumbling(TEN), left.key == right.seller)
    rows = joined.select(key=left.key, name=left.name, window_start=pw.this._pw_window_start)
    found = rows.groupby(pw.this.key, pw.this.name, pw.this.window_start)
    return found.reduce(pw.this.key, pw.this.name, pw.this.window_start)


def q11(bid: Table) -> Table:
    sessions = timed(bid).windowby(pw.this.t, window=pw.temporal.session(max_gap=TEN), instance=pw.this.bidder)
    return sessions.reduce(
        bidder=pw.this._pw_instance,
        bid_count=pw.reducers.count(),
        starttime=pw.reducers.min(pw.this.t),
        last=pw.reducers.max(pw.this.t),
    ).select(pw.this.bidder, pw.this.bid_count, pw.this.starttime, endtime=pw.this.last + TEN)


def q17(bid: Table) -> Table:
    time = pw.this.dateTime
    days = bid.with_columns(
        day=time.dt.strftime("%Y-%m-%d") if TASK["source"] == "memory" else time.str.slice(0, 10),
        low=pw.cast(int, pw.this.price < 10_000),
        high=pw.cast(int, pw.this.price >= 1_000_000),
    )
    totals = days.groupby(pw.this.auction, pw.this.day).reduce(
        pw.this.auction,
        pw.this.day,
        total_bids=pw.reducers.count(),
        rank1_bids=pw.reducers.sum(pw.this.low),
        rank3_bids=pw.reducers.sum(pw.this.high),
        min_price=pw.reducers.min(pw.this.price),
        max_price=pw.reducers.max(pw.this.price),
        sum_price=pw.reducers.sum(pw.this.price),
    )
    return totals.with_columns(
        rank2_bids=pw.this.total_bids - pw.this.rank1_bids - pw.this.rank3_bids,
        avg_price=pw.this.sum_price // pw.this.total_bids,
    )


def q18(bid: Table) -> Table:
    last = bid.groupby(bid.bidder, bid.auction).reduce(last=pw.reducers.argmax(bid.dateTime))
    return bid.ix(last.last, context=last)


def q20(bid: Table, auction: Table) -> Table:
    tens = auction.filter(pw.this.category == 10)
    return bid.join(tens, bid.auction == tens.key).select(
        *[bid[name] for name in Bid.column_names()],
        tens.itemName, tens.initialBid, tens.reserve, tens.expires, tens.seller, tens.category,
        auction_dateTime=tens.dateTime, auction_extra=tens.extra,
    )  # fmt: skip


def ysb(view: Table) -> Table:
    campaigns = pw.io.jsonlines.read(str(Path(TASK["data"]) / "campaigns.json"), schema=Campaign, mode="static")
    views = timed(view.filter(pw.this.event_type == "view"))
    joined = views.join(campaigns, views.ad_id == campaigns.ad).select(views.t, campaigns.campaign)
    windows = joined.windowby(pw.this.t, window=pw.temporal.tumbling(TEN), instance=pw.this.campaign)
    return windows.reduce(
        campaign=pw.this._pw_instance, window_start=pw.this._pw_window_start, views=pw.reducers.count()
    )


QUERIES: dict[str, Callable[..., Table]] = {
    "q0": q0, "q1": q1, "q2": q2, "q5": q5, "q7": q7, "q8": q8, "q11": q11, "q17": q17, "q18": q18, "q20": q20,
    "ysb": ysb,
}  # fmt: skip


inputs: list[Table] = []


def prepare(data: Path) -> None:
    """Sources are declared anew: a graph runs once."""
    pw.internals.parse_graph.G.clear()
    inputs[:] = [(_rows if TASK["source"] == "memory" else _lines)(data, kind) for kind in TASK["kinds"]]


def _lines(data: Path, kind: str) -> Table:
    folder, schema = Path(files(data, kind, 1)[0]).parent, SCHEMAS[kind]
    renamed = {"key": "/id"} if "key" in schema.column_names() else None
    return pw.io.jsonlines.read(str(folder), schema=schema, mode="static", json_field_paths=renamed)


class _Subject(pw.io.python.ConnectorSubject):
    def __init__(self, rows: list[dict[str, Any]]) -> None:
        super().__init__()
        self._rows = rows

    def run(self) -> None:
        for row in self._rows:
            self.next(**row)


def _rows(data: Path, kind: str) -> Table:
    names = SCHEMAS[kind].column_names()
    table = pq.read_table(files(data, kind, 1, "parquet")[0])
    table = table.rename_columns(["key" if name == "id" else name for name in table.column_names]).select(names)
    times = [name for name in names if pa.types.is_timestamp(table[name].type)]
    for name in times:
        table = table.set_column(names.index(name), name, table[name].cast(pa.timestamp("us")))
    types = {**SCHEMAS[kind].typehints(), **dict.fromkeys(times, pw.DateTimeNaive)}
    subject = _Subject(table.to_pylist())
    return pw.io.python.read(subject, schema=pw.schema_from_types(**types), autocommit_duration_ms=None)


def run(data: Path, out: Path | None) -> None:
    result = QUERIES[TASK["query"]](*inputs)
    if out is None:
        pw.io.null.write(result)
    else:
        pw.io.jsonlines.write(result, str(out / "rows.json"))
    pw.run(monitoring_level=pw.MonitoringLevel.NONE)
    if out is not None and TASK["query"] == "q8":
        rows = out / "rows.json"
        rows.write_text(rows.read_text().replace('"key":', '"id":'))


rounds(run, warm=False, prepare=prepare)
