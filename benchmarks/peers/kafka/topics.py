"""The topics of the comparison: bids in, keyed by auction; what the result must be; and what a reader sees of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import duckdb
import orjson
import polars as pl
from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

import windrow as wr
from windrow.io.nexmark.generator import BIDS, CYCLE

PARTITIONS = 4
WINDOW_S = 10
_SEED = 1

#: (auction, start of the window in ms) -> (bids, spent, top)
Rows = dict[tuple[int, int], tuple[int, int, int]]


@dataclass(frozen=True, slots=True)
class Input:
    """A topic of bids as JSON (seven fields) whose key is the auction and whose time is the bid's.

    Each partition ends with a bid of auction 0 an hour later, so that engines that close windows by event time close
    all of them. `expected`: every row of the result, but those of auction 0.
    """

    topic: str
    events: int
    nbytes: int
    expected: Rows


def make(bootstrap: str, events: int, rate: float = 10_000) -> Input:
    """Fill a topic with so many bids, at so many events a second of event time."""
    topic = f"bids-{events}-{time.time_ns() // 1_000_000}"
    bids = wr.nexmark("bid", events=events * CYCLE // BIDS + CYCLE, seed=_SEED, rate=rate).collect().slice(0, events)
    stream = wr.from_arrow(bids, name="bids")
    new_topic(bootstrap, topic)
    written = stream.write_kafka(bootstrap, topic, key="auction", timestamp="dateTime")
    with written.configured(name=f"fill-{topic}", ledger="") as job:
        job.run()
    _close_windows(bootstrap, topic, bids["dateTime"][-1].as_py() + timedelta(hours=1))
    return Input(topic, events, int(events * _value_bytes(bootstrap, topic)), _expected(bids))


def _close_windows(bootstrap: str, topic: str, when: datetime) -> None:
    producer = Producer({"bootstrap.servers": bootstrap})
    last = {"auction": 0, "bidder": 0, "price": 0, "channel": "", "url": "", "extra": ""}
    value = orjson.dumps({**last, "dateTime": when.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")})
    for partition in range(PARTITIONS):
        producer.produce(topic, value, bytes(8), partition, timestamp=int(when.timestamp() * 1_000))
    producer.flush(30)


def _value_bytes(bootstrap: str, topic: str) -> float:
    """Bytes of a value, the mean of the first ones."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "sizes"})
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    sizes: list[int] = []
    deadline_s = time.monotonic() + 5
    while len(sizes) < 1_000 and time.monotonic() < deadline_s:
        sizes += [len(message.value()) for message in consumer.consume(1_000, 0.5) if message.error() is None]
    consumer.close()
    return sum(sizes) / max(len(sizes), 1)


def _expected(bids: Any) -> Rows:
    with duckdb.connect() as db:
        db.register("bids", bids)
        found = db.execute(
            f"SELECT auction, epoch_ms(time_bucket(INTERVAL {WINDOW_S} SECOND, dateTime)), count(*), "
            "sum(price)::BIGINT, max(price) FROM bids GROUP BY ALL"
        ).fetchall()
    return {(auction, start): (count, total, top) for auction, start, count, total, top in found}


def new_topic(bootstrap: str, topic: str) -> None:
    """An empty topic. Events carry their own time, by which brokers would find them old enough to delete."""
    admin = AdminClient({"bootstrap.servers": bootstrap})  # kept: a future ends with its client
    admin.create_topics([NewTopic(topic, PARTITIONS, 1, config={"retention.ms": "-1"})])[topic].result(30)


@dataclass(slots=True)
class Results:
    """What a reader with ``read_committed`` sees of a topic of results, while it is written."""

    rows: Rows = field(default_factory=dict)
    right: int = 0  # rows that are as expected now
    count: int = 0  # records, also those that were sent again
    first_s: float | None = None  # when the first one was seen (monotonic)
    last_s: float = 0.0


class Reader:
    """Follows a topic of results from its begin."""

    def __init__(self, bootstrap: str, topic: str, expected: Rows | None = None) -> None:
        self._expected = expected or {}
        settings = {"bootstrap.servers": bootstrap, "group.id": f"reader-{topic}", "isolation.level": "read_committed"}
        self._consumer = Consumer({**settings, "enable.auto.commit": False, "fetch.wait.max.ms": 5})
        self._consumer.assign([TopicPartition(topic, n, OFFSET_BEGINNING) for n in range(PARTITIONS)])
        self.results = Results()

    def poll(self, timeout_s: float) -> list[Mapping[str, int]]:
        """The rows that have come, auction 0 left out."""
        found = []
        for message in self._consumer.consume(50_000, timeout_s):
            if message.error() is None and message.value() is not None:
                row = orjson.loads(message.value())
                if row["auction"] != 0:
                    found.append(row)
        results, now = self.results, time.monotonic()
        for row in found:
            key, totals = (row["auction"], row["window_start"]), (row["bids"], row["spent"], row["top"])
            wanted = self._expected.get(key)
            results.right += (totals == wanted) - (wanted is not None and results.rows.get(key) == wanted)
            results.rows[key] = totals
        if found:
            results.first_s, results.last_s = results.first_s or now, now
            results.count += len(found)
        return found

    def close(self) -> None:
        self._consumer.close()


def checksum(rows: Rows) -> str:
    """Of all rows, whatever their order."""
    frame = pl.DataFrame([(*key, *value) for key, value in rows.items()], orient="row")
    return f"{int(frame.hash_rows().sum() or 0) if len(frame) else 0:x}"
