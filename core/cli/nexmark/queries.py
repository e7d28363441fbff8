"""The Nexmark queries in windrow's words. Definitions: github.com/nexmark/nexmark, nexmark-flink, resources/queries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import polars as pl

import windrow as wr
from windrow.api.aggregates import AggregateExpr
from windrow.api.job import Job
from windrow.api.stream import Stream

SIDE_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class Events:
    """The three kinds of events, each with its event time; a query reads the ones it needs."""

    person: Stream
    auction: Stream
    bid: Stream


Query = Callable[[Events], Stream]
_BID = ("auction", "bidder", "price", "channel", "url", "dateTime", "extra")
_EUROS = pl.col("price").cast(pl.Decimal(20, 0)) * pl.lit(Decimal("0.908"))
_RANKS = {
    "rank1": pl.col("price") < 10_000,
    "rank2": (pl.col("price") >= 10_000) & (pl.col("price") < 1_000_000),
    "rank3": pl.col("price") >= 1_000_000,
}


def q0(events: Events) -> Stream:
    """Every bid as it is."""
    return events.bid.select("auction", "bidder", "price", "dateTime", "extra")


def q1(events: Events) -> Stream:
    """Prices in euros, exactly."""
    return events.bid.select("auction", "bidder", _EUROS.alias("price"), "dateTime", "extra")


def q2(events: Events) -> Stream:
    """Bids on a few auctions."""
    return events.bid.filter(pl.col("auction") % 123 == 0).select("auction", "price")


def q3(events: Events) -> Stream:
    """Who sells in a category, in three states."""
    sellers = events.person.filter(pl.col("state").is_in(["OR", "ID", "CA"]))
    found = events.auction.filter(pl.col("category") == 10).join(
        sellers, left_on="seller", right_on="id", ttl="unbounded"
    )
    return found.select("name", "city", "state", "id")


def _valid_bids(events: Events, *columns: str) -> Stream:
    """Bids with their auction's columns, while it was open; a bid's own columns are called bid_*."""
    bids = events.bid.select("auction", *(pl.col(name).alias(f"bid_{name}") for name in columns))
    return events.auction.join(
        bids,
        left_on="id",
        right_on="auction",
        where=pl.col("bid_dateTime").is_between(pl.col("dateTime"), pl.col("expires")),
        ttl="unbounded",
    )


def q4(events: Events) -> Stream:
    """The average of the highest prices of a category's auctions."""
    best = _valid_bids(events, "price", "dateTime").group_by("id", "category").agg(final=wr.max("bid_price"))
    of_category = best.group_by("category").agg(total=wr.sum("final"), auctions=wr.count())
    return of_category.select("category", average=pl.col("total") // pl.col("auctions"))


def q5(events: Events) -> Stream:
    """The auctions with the most bids of the last 10 s, every 2 s."""
    counts = events.bid.group_by("auction").window(wr.hopping("10s", "2s")).agg(num=wr.count())
    return counts.top_k(1, by="num", ties="rank").select("auction", "num")


def _winners(events: Events, *columns: str) -> Stream:
    """Each auction with its winning bid: the highest, then the earliest."""
    return _valid_bids(events, *columns).top_k(1, by=["bid_price", "bid_dateTime"], descending=[True, False], per="id")


def q6(events: Events) -> Stream:
    """The average of a seller's last eleven winning prices."""
    winners = _winners(events, "price", "dateTime")
    frame = winners.over("seller", order_by=["bid_dateTime", "id"], rows=(10, 0)).agg(
        total=wr.sum("bid_price"), auctions=wr.count()
    )
    return frame.select("seller", average=pl.col("total") // pl.col("auctions"))


def q7(events: Events) -> Stream:
    """The highest bids of every 10 s; a bid on the edge belongs to both windows."""
    highest = events.bid.group_by().window(wr.tumbling("10s")).agg(highest=wr.max("price"))
    # A window's time is its last microsecond: a bid is from its start to its end when that comes 10 s - 1 us after the
    # bid, or less, down to 1 us before it.
    found = events.bid.join_interval(
        highest.select("highest"), left_on="price", right_on="highest", lower="-1us", upper="9s999ms999us"
    )
    return found.select("auction", "price", "bidder", "dateTime", "extra")


def q8(events: Events) -> Stream:
    """Persons who opened auctions within the 10 s in which they came."""
    window = wr.tumbling("10s")
    persons = events.person.group_by("id", "name").window(window).agg(n=wr.count())
    sellers = events.auction.group_by("seller").window(window).agg(n=wr.count())
    found = persons.select("id", "name", "window_start").join_window(
        sellers.select("seller"), left_on="id", right_on="seller", window=window
    )
    return found.select("id", "name", "window_start")


def q9(events: Events) -> Stream:
    """Each auction with its winning bid."""
    auction = ("id", "itemName", "description", "initialBid", "reserve", "dateTime", "expires", "seller", "category")
    winners = _winners(events, "bidder", "price", "dateTime", "extra")
    return winners.select(
        *auction, "extra", auction="id", bidder="bid_bidder", price="bid_price",
        bid_dateTime="bid_dateTime", bid_extra="bid_extra",
    )  # fmt: skip


def q10(events: Events) -> Stream:
    """Bids with the day and minute that name their file."""
    return events.bid.select(
        "auction", "bidder", "price", "dateTime", "extra",
        dt=pl.col("dateTime").dt.date().cast(pl.String), hm=pl.col("dateTime").dt.strftime("%H:%M"),
    )  # fmt: skip


def minutes_as_files(bids: Stream, folder: Path) -> Job:
    """q10's sink: a folder for each minute, marked as complete when event time has passed it by a minute."""
    return bids.write_csv(folder, partition_by=["dt", "hm"], partition_time="%Y-%m-%d %H:%M", done_after="1m")


def q11(events: Events) -> Stream:
    """How often a bidder bids without a pause of 10 s."""
    sessions = events.bid.group_by("bidder").window(wr.session("10s")).agg(bid_count=wr.count())
    return sessions.select("bidder", "bid_count", starttime="window_start", endtime="window_end")


def q12(events: Events) -> Stream:
    """How often a bidder bids within 10 s of processing time."""
    windows = events.bid.group_by("bidder").window(wr.tumbling("10s", time="processing")).agg(bid_count=wr.count())
    return windows.select("bidder", "bid_count", starttime="window_start", endtime="window_end")


def q13(events: Events) -> Stream:
    """Bids with a value from a table that does not change."""
    side = pl.DataFrame({"key": range(SIDE_ROWS), "value": [str(key) for key in range(SIDE_ROWS)]})
    bids = events.bid.select("auction", "bidder", "price", "dateTime", key=pl.col("auction") % SIDE_ROWS)
    return bids.join_lookup(side, on="key").select("auction", "bidder", "price", "dateTime", "value")


def q14(events: Events) -> Stream:
    """Bids of a price range with the part of the day and a count of letters."""
    hour = pl.col("dateTime").dt.hour()
    part = (
        pl.when(hour.is_between(8, 18)).then(pl.lit("dayTime"))
        .when((hour <= 6) | (hour >= 20)).then(pl.lit("nightTime"))
        .otherwise(pl.lit("otherTime"))
    )  # fmt: skip
    # 0.908 * price > 1,000,000 and < 50,000,000, in whole numbers
    kept = events.bid.filter(pl.col("price").is_between(1_000_000_000 // 908 + 1, 50_000_000_000 // 908))
    return kept.select(
        "auction", "bidder", _EUROS.alias("price"), part.alias("bidTimeType"), "dateTime", "extra",
        c_counts=pl.col("extra").str.count_matches("c", literal=True).cast(pl.Int64),
    )  # fmt: skip


def _by_rank() -> dict[str, AggregateExpr]:
    counts = {f"{rank}_bids": wr.count().filter(where) for rank, where in _RANKS.items()}
    return {"total_bids": wr.count(), **counts}


def _distinct_by_rank() -> dict[str, AggregateExpr]:
    found = {}
    for column, name in (("bidder", "bidders"), ("auction", "auctions")):
        found[f"total_{name}"] = wr.count_distinct(column)
        found |= {f"{rank}_{name}": wr.count_distinct(column).filter(where) for rank, where in _RANKS.items()}
    return found


def _day(bids: Stream) -> Stream:
    return bids.with_columns(date=pl.col("dateTime").dt.date())


_DAY = pl.col("date").cast(pl.String)


def q15(events: Events) -> Stream:
    """Bids, bidders and auctions of a day, in all and by price."""
    days = _day(events.bid).group_by("date").agg(**_by_rank(), **_distinct_by_rank())
    return days.select(_DAY.alias("day"), *days.columns[1:])


def q16(events: Events) -> Stream:
    """As q15 for each channel, with the last minute in which it was used."""
    minute = (pl.col("dateTime").dt.hour().cast(pl.Int32) * 60 + pl.col("dateTime").dt.minute()).alias("minute")
    days = (
        _day(events.bid)
        .with_columns(minute)
        .group_by("channel", "date")
        .agg(minute=wr.max("minute"), **_by_rank(), **_distinct_by_rank())
    )
    clock = pl.format(
        "{}:{}",
        (pl.col("minute") // 60).cast(pl.String).str.zfill(2),
        (pl.col("minute") % 60).cast(pl.String).str.zfill(2),
    )
    return days.select("channel", _DAY.alias("day"), clock.alias("minute"), *days.columns[3:])


def q17(events: Events) -> Stream:
    """Counts and prices of an auction's day."""
    days = (
        _day(events.bid)
        .group_by("auction", "date")
        .agg(**_by_rank(), min_price=wr.min("price"), max_price=wr.max("price"), sum_price=wr.sum("price"))
    )
    return days.select(
        "auction", _DAY.alias("day"), "total_bids", "rank1_bids", "rank2_bids", "rank3_bids", "min_price", "max_price",
        avg_price=pl.col("sum_price") // pl.col("total_bids"), sum_price="sum_price",
    )  # fmt: skip


def q18(events: Events) -> Stream:
    """A bidder's last bid on each auction."""
    return events.bid.select(*_BID).unique(["bidder", "auction"], keep="last")


def q19(events: Events) -> Stream:
    """The ten highest bids of each auction."""
    return events.bid.select(*_BID).top_k(
        10, by=["price", "dateTime"], descending=[True, False], per="auction", rank="rank_number"
    )


def q20(events: Events) -> Stream:
    """Bids with their auction, of one category."""
    names = ("id", "itemName", "description", "initialBid", "reserve", "expires", "seller", "category")
    auctions = events.auction.filter(pl.col("category") == 10).select(
        *names, auction_dateTime="dateTime", auction_extra="extra"
    )
    found = events.bid.select(*_BID).join(auctions, left_on="auction", right_on="id", ttl="unbounded")
    return found.select(
        *_BID, "itemName", "description", "initialBid", "reserve", "auction_dateTime", "expires", "seller", "category",
        "auction_extra",
    )  # fmt: skip


def q21(events: Events) -> Stream:
    """The number of a bid's channel, from its name or its address."""
    known = {"apple": "0", "google": "1", "facebook": "2", "baidu": "3"}
    written = pl.col("url").str.extract(r"(?:&|^)channel_id=([^&]*)", 1)
    number = pl.col("channel").str.to_lowercase().replace_strict(known, default=written, return_dtype=pl.String)
    found = events.bid.select("auction", "bidder", "price", "channel", channel_id=number)
    return found.filter(pl.col("channel_id").is_not_null())


def q22(events: Events) -> Stream:
    """The folders of a bid's address."""
    parts = pl.col("url").str.split_exact("/", 6).struct
    return events.bid.select(
        "auction", "bidder", "price", "channel",
        **{f"dir{place - 2}": parts.field(f"field_{place}") for place in (3, 4, 5)},
    )  # fmt: skip


def q23(events: Events) -> Stream:
    """Bids with their bidder and what he sells himself."""
    bids = events.bid.select("auction", "bidder", "price", "channel", "dateTime")
    persons = events.person.select(person="id", name="name", emailAddress="emailAddress", city="city", state="state")
    auctions = events.auction.select("id", "itemName", "category", "seller")
    found = bids.join(persons, left_on="bidder", right_on="person", ttl="unbounded").join(
        auctions, left_on="bidder", right_on="seller", ttl="unbounded"
    )
    return found.select(
        "auction", "bidder", "price", "channel", "dateTime", "name", "emailAddress", "city", "state", "id", "itemName",
        "category",
    )  # fmt: skip


QUERIES: dict[str, Query] = {f"q{number}": globals()[f"q{number}"] for number in range(24)}
