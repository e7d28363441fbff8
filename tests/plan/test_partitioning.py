"""Which jobs a group can run (law): those of which every step finds what it needs in one partition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

import windrow as wr

SCHEMA = wr.schema(auction="int64", bidder="int64", price="int64", tags=pa.list_(pa.string()), at="timestamp")
Step = Callable[[wr.Stream], Any]


def read(by: str | tuple[str, ...] | None = "auction", topic: str = "bids", **options: Any) -> wr.Stream:
    stream = wr.read_kafka("localhost:1", topic, schema=SCHEMA, partitioned_by=by, name=topic, **options)
    return stream.watermark("at")


def job(stream: wr.Stream) -> wr.Job:
    changes: Any = {"changes": "log"} if stream._node.updating else {}
    return wr.job(stream.write_kafka("localhost:1", "out", key=None, **changes), name="job", group=True)


def add(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch


TUMBLING = wr.tumbling("10s")
GOOD: dict[str, Step] = {
    "no state": lambda s: s.filter(pl.col("price") > 1).select("bidder"),
    "by the key": lambda s: s.group_by("auction").agg(n=wr.count()),
    "by more than the key": lambda s: s.group_by("bidder", "auction").window(TUMBLING).agg(n=wr.count()).final(),
    "renamed": lambda s: s.select(lot="auction").group_by("lot").agg(n=wr.count()),
    "kept by with_columns": lambda s: s.with_columns(twice=pl.col("price") * 2).group_by("auction").agg(n=wr.count()),
    "after another aggregate": lambda s: (
        s.group_by("auction", "bidder").agg(n=wr.count()).group_by("auction").agg(most=wr.max("n"))
    ),
    "unique": lambda s: s.unique(["auction", "bidder"]),
    "top_k": lambda s: s.top_k(3, by="price", per="auction"),
    "exploded": lambda s: s.explode("tags").group_by("auction", "tags").agg(n=wr.count()),
    "union": lambda s: s.union(read(topic="more")).group_by("auction").agg(n=wr.count()),
    "join": lambda s: s.join(read(topic="more").select("auction", "at", more="price"), on="auction", ttl="1h"),
    "join, then group": lambda s: (
        s.join(read(topic="more").select("auction", "at", more="price"), on="auction", ttl="1h", how="left")
        .group_by("auction")
        .agg(n=wr.count())
    ),
    "join of other names": lambda s: s.join(
        read("bidder", "more").select("bidder", "at", more="price"), left_on="auction", right_on="bidder", ttl="1h"
    ),
    "lookup": lambda s: (
        s.join_lookup(pa.table({"bidder": [1], "name": ["x"]}), on="bidder").group_by("auction").agg(n=wr.count())
    ),
}
BAD: dict[str, tuple[Step, str]] = {
    "by another column": (
        lambda s: s.group_by("bidder").agg(n=wr.count()),
        "all rows with equal bidder together; 'bids' is partitioned by auction",
    ),
    "all in one": (lambda s: s.group_by().agg(n=wr.count()), "needs all rows together"),
    "computed anew": (
        lambda s: s.with_columns(auction=pl.col("auction") % 10).group_by("auction").agg(n=wr.count()),
        "all rows with equal auction together",
    ),
    "through a function": (
        lambda s: s.map_batches(add, schema=s.schema).group_by("auction").agg(n=wr.count()),
        "all rows with equal auction together",
    ),
    "join by another column": (
        lambda s: s.join(read(topic="more").select("bidder", "at", more="price"), on="bidder", ttl="1h"),
        r"rows of both inputs with equal keys \(bidder; bidder\) together",
    ),
    "join with a side that is partitioned otherwise": (
        lambda s: s.join(
            read("bidder", "more").select("auction", "bidder", "at", more="price"), on=["auction"], ttl="1h"
        ),
        "'more' is partitioned by bidder",
    ),
    "union with another one": (
        lambda s: s.union(read("bidder", "more")).group_by("auction").agg(n=wr.count()),
        "'more' is partitioned by bidder",
    ),
    "the right side's key after a left join": (
        lambda s: (
            s.join(
                read("bidder", "more").select("bidder", "at", more="price"),
                left_on="auction", right_on="bidder", ttl="1h", how="full",
            )
            .group_by("price").agg(n=wr.count())
        ),
        "all rows with equal price",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_a_group_can_run_it(name: str) -> None:
    assert "in a group" in job(GOOD[name](read())).explain()


@pytest.mark.parametrize("name", BAD)
def test_a_group_cannot_run_it_and_says_why(name: str) -> None:
    step, said = BAD[name]
    with pytest.raises(wr.PlanError, match=said):
        job(step(read()))
    with pytest.raises(wr.PlanError, match=r"read_kafka\(\.\.\., partitioned_by=\.\.\.\)"):
        job(step(read()))


def test_what_a_group_does_not_read_or_write() -> None:
    """law: sources and sinks are topics of one cluster, and the job has a name."""
    import re

    rows = wr.from_arrow(pa.table({"a": [1]}))
    with pytest.raises(wr.PlanError, match="source 'memory' cannot be shared by a group"):
        job(rows)
    with pytest.raises(wr.PlanError, match="cannot be shared by a group"):
        job(wr.read_kafka("localhost:1", re.compile("bids.*"), schema=SCHEMA))
    with pytest.raises(wr.PlanError, match="is not in the cluster that the group reads"):
        wr.job(read().write_kafka("localhost:2", "out", key=None), name="job", group=True)
    with pytest.raises(wr.PlanError, match="reads several"):
        other = wr.read_kafka("localhost:2", "bids", schema=SCHEMA, name="other").watermark("at")
        job(read().union(other))
    with pytest.raises(wr.PlanError, match="leave ledger= away"):
        wr.job(read().write_kafka("localhost:1", "out", key=None), name="job", group=True, ledger="folder")
    with pytest.raises(wr.PlanError, match="needs a name that all its instances give"):
        wr.job(read().write_kafka("localhost:1", "out", key=None), group=True)
    with pytest.raises(wr.PlanError, match=r"group=True, instance="):
        wr.job(read().write_kafka("localhost:1", "out", key=None), name="job", instance="a")
    with pytest.raises(wr.PlanError, match="partitioned_by names 'lot'; there are auction"):
        read("lot")
    with pytest.raises(wr.PlanError, match="job in a group has epochs of every partition"):
        job(read()).step()
