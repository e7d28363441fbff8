"""An auction house: who wins, who must be told that they no longer do, and how far apart bids and offers are.

    python examples/auction_app.py             # in a folder of its own, which is removed
    python examples/auction_app.py my-auctions # stop it, run it again: it goes on where it was

See docs/auction_app.md.
"""

from __future__ import annotations

import json
import random
import sqlite3
import sys
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import polars as pl
import pyarrow as pa

import windrow as wr

TIME = wr.field("timestamp", format="ms")
AUCTION = wr.schema(auction="int64", item="string", reserve="int64", closes=TIME)
BID = wr.schema(bid="int64", auction="int64", bidder="string", price="int64", at=TIME)
OFFER = wr.schema(auction="int64", offer="int64", offered=TIME)


def winning_bids(bids: wr.Stream, auctions: wr.Stream) -> wr.Stream:
    """The highest bid of each auction, a Table: in time, not under the reserve, the earliest of equal ones."""
    in_time = pl.col("at") < pl.col("closes")
    valid = bids.join(auctions, "auction", ttl="unbounded", where=in_time & (pl.col("price") >= pl.col("reserve")))
    return valid.select("auction", "item", "bidder", "price", "at", "bid").top_k(
        1, by=["price", "at", "bid"], descending=[True, False, False], per="auction"
    )


def spreads(bids: wr.Stream, offers: wr.Stream) -> wr.Stream:
    """Every auction's 10 seconds: each bid against what the seller asked for when it was made."""
    met = bids.join_temporal(offers, "auction").with_columns(spread=pl.col("offer") - pl.col("price"))
    return (
        met.group_by("auction")
        .window(wr.tumbling("10s"))
        .agg(
            bids=wr.count(),
            highest_bid=wr.max("price"),
            lowest_offer=wr.min("offer"),
            narrowest=wr.min("spread"),
            widest=wr.max("spread"),
            mean=wr.mean("spread"),
            met=wr.count_if(pl.col("spread") <= 0),
        )
    )


class Outbox:
    """Notices to bidders who were the highest and no longer are, in an SQLite file, each once.

    It is given an epoch's new winning bids, and remembers those before. An epoch that is given again, because the
    process died before the epoch was committed, finds its number here and changes nothing.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = path
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("CREATE TABLE IF NOT EXISTS highest (auction PRIMARY KEY, epoch, bidder, price)")
            db.execute("CREATE TABLE IF NOT EXISTS notices (auction, epoch, bidder, price, outbid_by, outbid_at)")

    def take(self, batch: pa.RecordBatch, epoch: int) -> None:
        """One transaction: the notices, and what they go by the next time."""
        rows = [{**row, "epoch": epoch} for row in batch.select(["auction", "bidder", "price"]).to_pylist()]
        with closing(sqlite3.connect(self.path)) as db, db:
            db.executemany(
                "INSERT INTO notices SELECT auction, :epoch, bidder, price, :bidder, :price FROM highest"
                " WHERE auction = :auction AND bidder <> :bidder AND epoch < :epoch",
                rows,
            )
            db.executemany(
                "INSERT INTO highest VALUES (:auction, :epoch, :bidder, :price) ON CONFLICT (auction) DO UPDATE"
                " SET epoch = excluded.epoch, bidder = excluded.bidder, price = excluded.price"
                " WHERE highest.epoch < excluded.epoch",
                rows,
            )

    def notices(self) -> list[tuple[Any, ...]]:
        """(auction, epoch, bidder, price, outbid_by, outbid_at), in the order in which they were written."""
        with closing(sqlite3.connect(self.path)) as db:
            return db.execute("SELECT * FROM notices ORDER BY rowid").fetchall()


def application(folder: str | Path, end: Literal["latest"] | None = "latest", **options: Any) -> wr.Job:
    """All of it as one job over the topics of a log: an epoch commits winners and spreads together."""
    auctions = wr.read_log(folder, "auctions", schema=AUCTION, end=end)
    bids = wr.read_log(folder, "bids", schema=BID, end=end).watermark("at", delay="5s")
    offers = wr.read_log(folder, "offers", schema=OFFER, end=end).watermark("offered", delay="5s")
    winners = winning_bids(bids, auctions)
    return wr.job(
        winners.write_log(folder, "winners", key="auction"),
        spreads(bids, offers).write_log(folder, "spreads", key="auction"),
        winners.for_each_batch(Outbox(Path(folder) / "outbox.sqlite").take, name="outbid"),
        name="auctions",
        **options,
    )


def append(log: wr.Log, topic: str, events: Iterable[dict[str, Any]]) -> None:
    """Events as JSON, those of an auction in one partition and so in their order."""
    events = list(events)
    keys = [str(event["auction"]).encode() for event in events]
    log.append(topic, [json.dumps(event).encode() for event in events], keys=keys)


def make_events(seed: int, auctions: int, bids: int) -> dict[str, list[dict[str, Any]]]:
    """Topic -> events: bids that creep up, sellers that come down, some bids too low, too late, or out of order."""
    chance = random.Random(seed)
    made: dict[str, list[dict[str, Any]]] = {"auctions": [], "offers": [], "bids": []}
    for auction in range(auctions):
        reserve = chance.randrange(50, 150)
        closes = chance.randrange(40_000, 80_000)
        made["auctions"].append({"auction": auction, "item": f"lot {auction}", "reserve": reserve, "closes": closes})
        made["offers"] += [
            {"auction": auction, "offer": 4 * reserve - 10 * step, "offered": 4_000 * step + chance.randrange(4_000)}
            for step in range(20)
        ]
    for number in range(bids):
        at = number * 80_000 // bids
        price = 40 + at // 400 + chance.randrange(60)
        bidder = chance.choice(["Ada", "Ben", "Cleo", "Dan", "Eve"])
        jitter = chance.randrange(3_000)
        made["bids"].append(
            {"bid": number, "auction": chance.randrange(auctions), "bidder": bidder, "price": price, "at": at + jitter}
        )
    made["offers"].sort(key=lambda event: int(event["offered"]))
    return made


def fill(folder: str | Path, seed: int = 1, auctions: int = 5, bids: int = 2_000) -> None:
    """The topics, with events; a folder that has them stays as it is."""
    with wr.open_log(folder) as log:
        if any(topic.name == "bids" for topic in log.topics()):
            return
        for topic, events in make_events(seed, auctions, bids).items():
            log.create_topic(topic, partitions=2)
            append(log, topic, events)


def main(folder: str) -> None:
    fill(folder)
    with application(folder, limits=wr.Limits(epoch_rows=300)) as job:
        job.run()
    winners = wr.read_log(folder, "winners", end="latest").unique("auction", keep="last").collect()
    print(pl.DataFrame(winners.sort_by("auction")))
    found = wr.read_log(folder, "spreads", end="latest").collect()
    print(pl.DataFrame(found.sort_by([("auction", "ascending"), ("window_start", "ascending")])))
    for auction, epoch, bidder, price, by, at in Outbox(Path(folder) / "outbox.sqlite").notices()[-5:]:
        print(f"epoch {epoch}: {bidder}, your {price} for lot {auction} is outbid: {by} bids {at}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(sys.argv[1])
    else:
        with TemporaryDirectory() as temporary:
            main(temporary)
