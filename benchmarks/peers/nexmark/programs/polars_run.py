"""Polars' part of `benchmarks.peers.nexmark`: one lazy query over all events, collected by its streaming engine."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import polars as pl
from rounds import TASK, files, rounds

_INTS = {
    "bid": ("auction", "bidder", "price"),
    "person": ("id",),
    "auction": ("id", "initialBid", "reserve", "seller", "category"),
    "view": (),
}
_OF_KIND = {
    "bid": ("channel", "url", "extra"),
    "person": ("name", "emailAddress", "creditCard", "city", "state", "extra"),
    "auction": ("itemName", "description", "extra"),
    "view": ("user_id", "page_id", "ad_id", "ad_type", "event_type", "ip_address"),
}
T = pl.col("dateTime")
START = T.dt.truncate("10s")


@lru_cache(2)  # kinds that a query reads
def in_memory(path: str) -> pl.DataFrame:
    return pl.read_parquet(path)


def scan(data: Path, kind: str) -> pl.LazyFrame:
    if TASK["source"] == "memory":
        return in_memory(str(data / "lanes1" / f"{kind}-parquet" / "0.parquet")).lazy()
    if TASK["source"] == "parquet":
        return pl.scan_parquet(files(data, kind))
    times = ("dateTime", "expires") if kind == "auction" else ("dateTime",)
    texts, ints = dict.fromkeys((*_OF_KIND[kind], *times), pl.String), dict.fromkeys(_INTS[kind], pl.Int64)
    frame = pl.scan_ndjson(files(data, kind), schema={**texts, **ints})
    return frame.with_columns(pl.col(*times).str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us"))


def q0(data: Path) -> pl.LazyFrame:
    return scan(data, "bid").select("auction", "bidder", "price", "dateTime", "extra")


def q1(data: Path) -> pl.LazyFrame:
    euros = (pl.col("price").cast(pl.Decimal(20, 0)) * pl.lit("0.908").cast(pl.Decimal(4, 3))).alias("price")
    return scan(data, "bid").select("auction", "bidder", euros, "dateTime", "extra")


def q2(data: Path) -> pl.LazyFrame:
    return scan(data, "bid").filter(pl.col("auction") % 123 == 0).select("auction", "price")


def q5(data: Path) -> pl.LazyFrame:
    panes = scan(data, "bid").group_by("auction", T.dt.truncate("2s").alias("pane")).len("n")
    hops = panes.with_columns(start=pl.concat_list(pl.col("pane") - pl.duration(seconds=2 * n) for n in range(5)))
    counts = hops.explode("start").group_by("auction", "start").agg(num=pl.col("n").sum().cast(pl.Int64))
    best = counts.group_by("start").agg(num=pl.col("num").max())
    return counts.join(best, on=["start", "num"]).select("auction", "num")


def q7(data: Path) -> pl.LazyFrame:
    most = scan(data, "bid").group_by(START.alias("start")).agg(price=pl.col("price").max())
    bids = scan(data, "bid").select("auction", "price", "bidder", "dateTime", "extra")
    found = bids.join(most, on="price").filter(
        (pl.col("start") <= T) & (pl.col("start") + pl.duration(seconds=10) >= T)
    )
    return found.select("auction", "price", "bidder", "dateTime", "extra")


def q8(data: Path) -> pl.LazyFrame:
    persons = scan(data, "person").select("id", "name", window_start=START).unique()
    sellers = scan(data, "auction").select(id="seller", window_start=START).unique()
    return persons.join(sellers, on=["id", "window_start"]).select("id", "name", "window_start")


def q11(data: Path) -> pl.LazyFrame:
    bids = scan(data, "bid").select("bidder", "dateTime").sort("bidder", "dateTime")
    first = (T.diff() >= pl.duration(seconds=10)) | (pl.col("bidder") != pl.col("bidder").shift())
    marked = bids.with_columns(session=first.fill_null(True).cast(pl.Int64).cum_sum())
    ends = T.max() + pl.duration(seconds=10)
    return marked.group_by("bidder", "session").agg(bid_count=pl.len(), starttime=T.min(), endtime=ends)


def q17(data: Path) -> pl.LazyFrame:
    price = pl.col("price")
    ranks = (price < 10_000, (price >= 10_000) & (price < 1_000_000), price >= 1_000_000)
    counts = {f"rank{n}_bids": rank.sum() for n, rank in enumerate(ranks, 1)}
    sums = {"min_price": price.min(), "max_price": price.max(), "sum_price": price.sum()}
    days = scan(data, "bid").group_by("auction", T.dt.date().alias("date")).agg(total_bids=pl.len(), **counts, **sums)
    average = pl.col("sum_price") // pl.col("total_bids")
    return days.with_columns(day=pl.col("date").cast(pl.String), avg_price=average)


def q18(data: Path) -> pl.LazyFrame:
    return scan(data, "bid").sort("dateTime").unique(["bidder", "auction"], keep="last")


def q20(data: Path) -> pl.LazyFrame:
    auctions = scan(data, "auction").filter(pl.col("category") == 10)
    named = auctions.rename({"dateTime": "auction_dateTime", "extra": "auction_extra"})
    return scan(data, "bid").join(named, left_on="auction", right_on="id")


def ysb(data: Path) -> pl.LazyFrame:
    views = scan(data, "view").filter(pl.col("event_type") == "view").select(ad="ad_id", window_start=START)
    named = views.join(pl.scan_parquet(data / "campaigns.parquet"), on="ad")
    return named.group_by("campaign", "window_start").agg(views=pl.len())


QUERIES: dict[str, Callable[[Path], pl.LazyFrame]] = {
    "q0": q0, "q1": q1, "q2": q2, "q5": q5, "q7": q7, "q8": q8, "q11": q11, "q17": q17, "q18": q18, "q20": q20,
    "ysb": ysb,
}  # fmt: skip


def run(data: Path, out: Path | None) -> None:
    found = QUERIES[TASK["query"]](data).collect(engine="streaming")
    if out is not None:
        found.write_parquet(out / "rows.parquet")


def prepare(data: Path) -> None:
    if TASK["source"] == "memory":
        for kind in TASK["kinds"]:
            scan(data, kind)


rounds(run, prepare=prepare)
