"""windrow's part of `benchmarks.peers.nexmark`: the queries of its own package, from memory, Parquet or JSON lines."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from rounds import TASK, files, rounds

import windrow as wr
from windrow.api.sinks import plainest
from windrow.api.stream import Stream
from windrow.cli.nexmark.queries import QUERIES, Events
from windrow.io.nexmark.generator import SCHEMAS

DELAY = "4s"
VIEW = dict.fromkeys(("user_id", "page_id", "ad_id", "ad_type", "event_type", "ip_address"), "string")


@lru_cache(2)  # kinds that a query reads
def in_memory(path: str) -> pa.Table:
    return pq.read_table(path).combine_chunks()  # as from Arrow IPC, polars or DuckDB; pyarrow cuts what it reads


def kind(data: Path, name: str) -> Stream:
    if name not in TASK["kinds"]:  # not read by the query
        stream = wr.from_arrow(SCHEMAS[name].empty_table(), name=name)
    elif TASK["source"] == "memory":
        stream = wr.from_arrow(in_memory(str(data / "lanes1" / f"{name}-parquet" / "0.parquet")), name=name)
    elif TASK["source"] == "parquet":
        stream = wr.read_parquet(files(data, name), name=name)
    else:
        stream = wr.read_json(files(data, name), schema=columns(name), name=name)
    return stream.watermark("dateTime", delay=DELAY)


def columns(name: str) -> dict[str, str]:
    if name == "view":
        return {**VIEW, "dateTime": "timestamp"}
    return {
        field.name: "timestamp" if pa.types.is_timestamp(field.type) else str(field.type) for field in SCHEMAS[name]
    }


def ysb(data: Path) -> Stream:
    side = pl.read_parquet(data / "campaigns.parquet")
    views = kind(data, "view").filter(pl.col("event_type") == "view").select("dateTime", ad="ad_id")
    counts = views.join_lookup(side, on="ad").group_by("campaign").window(wr.tumbling("10s")).agg(views=wr.count())
    return counts.select("campaign", "window_start", "views")


def stream(data: Path) -> Stream:
    if TASK["query"] == "ysb":
        return ysb(data)
    return QUERIES[TASK["query"]](Events(*(kind(data, name) for name in ("person", "auction", "bid"))))


def drop(batch: pa.RecordBatch, epoch: int) -> None:
    """Where the results of a measured run go."""


def run(data: Path, out: Path | None) -> None:
    if out is None:
        made = stream(data)
        made.for_each_batch(drop, name="dropped", changes=plainest(made)).run()
    else:
        pq.write_table(stream(data).collect(), out / "rows.parquet")


def prepare(data: Path) -> None:
    if TASK["source"] == "memory":
        for name in TASK["kinds"]:
            kind(data, name)


rounds(run, prepare=prepare)
