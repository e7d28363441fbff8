"""The pipeline of ``windrow demo``; ``examples/auction.py`` in the repository has the same lines as a user's file."""

from __future__ import annotations

from pathlib import Path

import polars as pl

import windrow as wr
from windrow.api.job import Job

#: Where a bid's columns stand in the mixed Nexmark events: {"event_type": 2, "person": null, "bid": {...}}.
BID = wr.schema(
    event_type="int64",
    auction=wr.field("int64", path="bid.auction"),
    price=wr.field("int64", path="bid.price"),
    date_time=wr.field("timestamp", path="bid.dateTime"),
)


def pipeline(events: Path, results: Path, workers: int | None = None) -> Job:
    """From the topic ``nexmark`` of the log `events` to ``hot_auctions`` and ``highest_bids`` of the log `results`."""
    everything = wr.read_log(events, "nexmark", schema=BID, end="latest")
    bids = everything.filter(pl.col("event_type") == 2).watermark("date_time", delay="4s")
    hot = (
        bids.group_by("auction")
        .window(wr.hopping("10s", "2s"))
        .agg(bids=wr.count(), top=wr.max("price"), spent=wr.sum("price"))
    )
    best = bids.group_by().window(wr.tumbling("10s")).agg(price=wr.max("price"), bids=wr.count())
    job: Job = wr.job(
        hot.write_log(results, "hot_auctions", key="auction"),
        best.write_log(results, "highest_bids"),
        name="demo",
        workers=workers,
    )
    return job
