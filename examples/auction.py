"""Bids per auction and the highest bid, from 5 million auction events: the pipeline that `windrow demo` runs.

Run `windrow demo` first: it writes the events. Then

    windrow run examples/auction.py --until caught-up
    windrow log head demo-data/results hot_auctions
"""

import polars as pl

import windrow as wr

EVENTS, RESULTS = "demo-data/events", "demo-data/results"

# Persons, auctions and bids come mixed, as JSON: {"event_type": 2, "person": null, "auction": null, "bid": {...}}
BID = wr.schema(
    event_type="int64",
    auction=wr.field("int64", path="bid.auction"),
    price=wr.field("int64", path="bid.price"),
    date_time=wr.field("timestamp", path="bid.dateTime"),
)

everything = wr.read_log(EVENTS, "nexmark", schema=BID, end="latest")
bids = everything.filter(pl.col("event_type") == 2).watermark("date_time", delay="4s")

# How often and how high was bid for each auction in the last 10 seconds, every 2 seconds?
hot = (
    bids.group_by("auction")
    .window(wr.hopping("10s", "2s"))
    .agg(bids=wr.count(), top=wr.max("price"), spent=wr.sum("price"))
)

# What was the highest bid of all in each 10 seconds?
best = bids.group_by().window(wr.tumbling("10s")).agg(price=wr.max("price"), bids=wr.count())

# Both are committed together, with the offsets they came from.
job = wr.job(
    hot.write_log(RESULTS, "hot_auctions", key="auction"),
    best.write_log(RESULTS, "highest_bids"),
    name="demo",
)

if __name__ == "__main__":
    job.run(until="caught up")
