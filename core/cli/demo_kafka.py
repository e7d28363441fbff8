"""``windrow demo --kafka``: the demo's pipeline from a Kafka topic to Kafka topics."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import polars as pl
import pyarrow as pa

import windrow as wr
from windrow.api.job import Job
from windrow.api.stream import Stream
from windrow.cli import figures
from windrow.cli.demo_data import PARTITIONS, SEED
from windrow.cli.demo_pipeline import BID
from windrow.cli.nexmark.topic import Topic

if TYPE_CHECKING:
    from rich.console import Console

    from windrow.cli.bars import Advance

_RESULTS = {
    "hot_auctions": wr.schema(
        auction="int64", window_start="timestamp", window_end="timestamp", bids="int64", top="int64", spent="int64"
    ),
    "highest_bids": wr.schema(window_start="timestamp", window_end="timestamp", price="int64", bids="int64"),
}
SHOWN = 8


class Place:
    """The topics of a run: the events are written once for each number of them, the results by every run anew."""

    def __init__(self, bootstrap: str, events: int) -> None:
        self.bootstrap = bootstrap
        self.events = events
        self._topic = Topic(bootstrap, events, SEED)
        self.run = f"windrow-demo-{time.time_ns() // 1_000_000}"

    def missing(self) -> int:
        """How many of the events have still to be written."""
        return self._topic.missing()

    def write_events(self, advance: Advance) -> None:
        """Produce them as mixed JSON documents, in transactions; what an earlier run has written stays."""
        self._topic.write(advance)

    def job(self, workers: int | None) -> Job:
        """Both results, in one transaction an epoch."""
        everything = wr.read_kafka(self.bootstrap, self._topic.name, schema=BID, end="latest")
        bids = everything.filter(pl.col("event_type") == 2).watermark("date_time", delay="4s")
        hot = (
            bids.group_by("auction")
            .window(wr.hopping("10s", "2s"))
            .agg(bids=wr.count(), top=wr.max("price"), spent=wr.sum("price"))
        )
        best = bids.group_by().window(wr.tumbling("10s")).agg(price=wr.max("price"), bids=wr.count())
        sinks = self._sink(hot, "hot_auctions", "auction"), self._sink(best, "highest_bids")
        made: Job = wr.job(*sinks, name=self.run, workers=workers)
        return made

    def _sink(self, stream: Stream, name: str, key: str | None = None) -> Job:
        topic = f"{self.run}-{name}"
        return stream.write_kafka(self.bootstrap, topic, key=key, create=True, partitions=PARTITIONS, name=name)

    def results(self, name: str) -> pa.Table:
        """What a reader of committed records sees of a result."""
        topic = f"{self.run}-{name}"
        return wr.read_kafka(self.bootstrap, topic, schema=_RESULTS[name], end="latest").collect()


def show(place: Place, console: Console) -> None:
    """The largest results, and how many there are."""
    for name, column in (("hot_auctions", "bids"), ("highest_bids", "price")):
        rows = place.results(name)
        top = rows.sort_by([(column, "descending"), ("window_start", "ascending")]).slice(0, SHOWN).to_pylist()
        console.print(f"{place.run}-{name}: {figures.count(rows.num_rows)} committed rows; the first by {column}:")
        for row in top:
            shown = ", ".join(f"{key} {figures.count(value)}" for key, value in row.items() if isinstance(value, int))
            console.print(f"  {row['window_start']:%H:%M:%S} to {row['window_end']:%H:%M:%S}  {shown}")
