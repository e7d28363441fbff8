"""The job of `benchmarks.peers.kafka` in windrow: BOOTSTRAP INPUT OUTPUT NAME final|current COMMIT_MS."""

from __future__ import annotations

import sys

import polars as pl

import windrow as wr

bootstrap, source, target, name, mode, commit_ms = sys.argv[1:]

bids = wr.read_kafka(bootstrap, source, schema={"auction": "int64", "price": "int64", "dateTime": "timestamp"})
totals = (
    bids.watermark("dateTime", delay="4s")
    .group_by("auction")
    .window(wr.tumbling("10s"))
    .agg(bids=wr.count(), spent=wr.sum("price"), top=wr.max("price"))
)
if mode == "final":
    result = totals.select("auction", pl.col("window_start").dt.epoch("ms"), "bids", "spent", "top")
else:
    result = totals.current()
job = wr.job(
    result.write_kafka(bootstrap, target, key="auction"), name=name, limits=wr.Limits(interval_ms=int(commit_ms))
)
job.run()
