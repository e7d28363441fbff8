"""What runs in forked children: laying input, one attempt of the job, a reader beside it, the look at what is left.

The job reads one topic of a Kafka cluster and writes five of them, its ledger is in the cluster too. What must come out
is recomputed from the input by `tests.crash.events.Model`, which knows nothing of the engine.
"""

from __future__ import annotations

import contextlib
import faulthandler
import json
import random
import signal
import threading
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

import windrow as wr
from tests.crash.events import PARTITIONS, Expected, Model, Row
from tests.crash.pipeline import SCHEMA
from tests.kafka.lines import open_at_last
from windrow.io.kafka import topics
from windrow.io.kafka.client import Cluster
from windrow.progress import faults

ENDED, FAILED, FENCED, LOST_END, CRASHED = 0, 1, 3, 4, 137
OUTPUTS = {"plain": 2, "tumbling": 2, "hopping": 1, "late": 1, "totals": 2}
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
_QUIET = {"log_level": 0, "logger": None}


@dataclass(frozen=True)
class Life:
    """One job from its first epoch to its last, however many processes that takes. `name` begins all its topics."""

    bootstrap: str
    name: str
    root: Path
    seed: int
    events: int  # of each partition
    replication: int = 1
    transaction_timeout_s: float = 60.0  # after which brokers abort what lies open

    def topic(self, output: str) -> str:
        return f"{self.name}.{output}"

    @property
    def all_topics(self) -> list[str]:
        return [self.topic("in"), *map(self.topic, OUTPUTS), f"{self.name}-ledger", f"{self.name}-changelog"]


def prepare(life: Life, model: Model) -> int:
    """Make the topics, and the input: in transactions, of which one in three is aborted, in all codecs."""
    cluster = Cluster(life.bootstrap)
    for name, partitions in {"in": PARTITIONS, **OUTPUTS}.items():
        topics.create(cluster, topics.NewTopic(life.topic(name), partitions, life.replication))
    cluster.close()
    from confluent_kafka import Producer

    chance = random.Random(life.seed)
    producer = Producer(
        {
            "bootstrap.servers": life.bootstrap,
            "transactional.id": f"{life.name}.in",
            "compression.type": chance.choice(CODECS),
            "linger.ms": 2,
        }
    )
    producer.init_transactions(60)
    step = max(len(model.events[0]) // 6, 1)
    for first in range(0, len(model.events[0]), step):
        for commits in (False, True) if chance.random() < 0.5 else (True,):
            producer.begin_transaction()
            for events in model.events:
                for event in events[first : first + step]:
                    # what is aborted would be seen in every output
                    text = event.text if commits else event.text.replace(b'"value": ', b'"value": 77')
                    producer.produce(life.topic("in"), text, partition=event.partition)
            if commits:
                producer.commit_transaction(60)
            else:
                producer.flush(60)
                producer.abort_transaction(60)
    return ENDED


def make_job(life: Life, epoch_rows: int) -> wr.Job:
    """The job of a life: stateless, windows of two kinds, what was late, and running totals."""
    at = life.bootstrap
    events = wr.read_kafka(at, life.topic("in"), schema=SCHEMA, end="latest", name="events")
    timed = events.watermark("time", delay="4s")
    tumbled = timed.group_by("key").window(wr.tumbling("10s"))
    tumbling = tumbled.agg(n=wr.count(), total=wr.sum("value"), top=wr.max("value"))
    hopping = timed.group_by("word").window(wr.hopping("10s", "5s")).agg(n=wr.count(), low=wr.min("value"))
    totals = events.group_by("word").agg(n=wr.count(), total=wr.sum("value"))
    plain = timed.filter(pl.col("value") % 3 != 0).select("id", "key", doubled=pl.col("value") * 2)
    waits = {"transaction_timeout_ms": int(life.transaction_timeout_s * 1e3)}  # the ledger is made by the first sink
    sinks = [
        plain.write_kafka(at, life.topic("plain"), key="key", kafka=waits),
        tumbling.write_kafka(at, life.topic("tumbling"), key="key"),
        tumbling.late.select("id", "key").write_kafka(at, life.topic("late")),
        hopping.write_kafka(at, life.topic("hopping")),
        totals.write_kafka(at, life.topic("totals")),
    ]
    return wr.job(*sinks, name=life.name, shards=3, limits=wr.Limits(epoch_rows=epoch_rows, interval_ms=0))


def attempt(life: Life, number: int, *, epoch_rows: int, point: str | None, arrival: int, stops: bool = False) -> int:
    """Run the job until it ends, or dies at the `arrival`-th reach of `point`; when it `stops`, until it is resumed."""
    faulthandler.register(signal.SIGUSR1, (life.root / f"stacks.{number}").open("w"))
    counts: Counter[str] = Counter()
    fault = faults.At(point, _stop if stops else faults.crash, arrival) if point else None

    def handler(reached: str) -> None:
        counts[reached] += 1
        if reached == "epoch.planned":
            (life.root / f"running.{number}").touch()
        if fault is not None:
            fault(reached)

    faults.install(handler)
    from windrow.runtime import snapshots

    snapshots._LEAST_BYTES, snapshots._MOST_DELTAS = 0, random.Random(number).choice((2, 5, 50))
    try:
        job = make_job(life, epoch_rows)
        job.run()
        job.close()
    except wr.FencedError:
        (life.root / f"errors of attempt {number}, fenced").write_text(traceback.format_exc())
        raise
    (life.root / f"reached.{number}").write_text(json.dumps(counts))
    return ENDED


def _stop() -> None:
    """Stop here. A signal to the whole process may be taken by another thread, and this one gets on meanwhile."""
    signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)


# -- what readers see


@dataclass
class View:
    """The outputs as far as they were read: rows of each, and what is wrong with them."""

    rows: dict[str, Counter[Row]] = field(default_factory=lambda: {name: Counter() for name in OUTPUTS})
    totals: dict[str | None, tuple[int, int]] = field(default_factory=dict)
    newest: dict[Row, int] = field(default_factory=dict)
    count: int = 0
    problems: list[str] = field(default_factory=list)

    def take(self, output: str, value: bytes, want: Expected) -> None:
        """One more record, which must belong there, and not be there already."""
        row = json.loads(value)
        self.count += 1
        if output == "totals":
            self._update(row)
            return
        key = _row(row)
        self.rows[output][key] += 1
        if self.rows[output][key] > getattr(want, output)[key]:
            self.problems.append(f"{output}: {key} is there {self.rows[output][key]} times")
        if output == "plain" and row["key"] is not None:
            place = (row["id"] // 1_000_000, row["key"])
            if self.newest.get(place, -1) >= row["id"]:
                self.problems.append(f"plain: {row['id']} stands after {self.newest[place]}")
            self.newest[place] = row["id"]

    def missing(self, want: Expected) -> list[str]:
        """What is not there, when all should be."""
        found = []
        for output, rows in self.rows.items():
            lost = Counter() if output == "totals" else getattr(want, output) - rows
            if lost:
                found.append(f"{output}: {sum(lost.values())} rows lost: {list(lost)[:3]}")
        if self.totals != want.totals:
            found.append(f"totals: {self.totals}, not {want.totals}")
        return found

    def _update(self, row: dict[str, Any]) -> None:
        word, now = row["word"], (row["n"], row["total"])
        if word in self.totals and self.totals[word][0] >= now[0]:
            self.problems.append(f"totals: {word!r} goes from {self.totals[word]} to {now}")
        self.totals[word] = now


def _row(row: dict[str, Any]) -> Row:
    return tuple(_time_us(value) if name.startswith("window_") else value for name, value in row.items())


def _time_us(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1_000_000)


def read_along(life: Life, model: Model) -> int:
    """Poll the outputs, committed records only, until told to stop; then up to their ends. Runs through every fault."""
    from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

    want, view = model.complete(), View()
    reader = Consumer(
        {
            "bootstrap.servers": life.bootstrap,
            "group.id": f"{life.name}-reader",
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 50,
            "log_level": 0,
        }
    )
    places = [(life.topic(name), part) for name, count in OUTPUTS.items() for part in range(count)]
    reader.assign([TopicPartition(topic, part, OFFSET_BEGINNING) for topic, part in places])
    ended: set[tuple[str, int]] = set()
    stopping_s = 0.0
    while not view.problems:
        if not stopping_s and (life.root / "stop").exists():
            stopping_s = time.monotonic()
            ended.clear()
            for topic, part in places:  # ask for the ends again: an end that was told is not told twice
                (at,) = reader.position([TopicPartition(topic, part)])
                reader.seek(TopicPartition(topic, part, max(at.offset, 0)))
        if stopping_s and (len(ended) == len(places) or time.monotonic() - stopping_s > 60):
            break
        message = reader.poll(0.1)
        if message is None:
            continue
        if message.error() is not None:
            if message.error().code() == KafkaError._PARTITION_EOF:
                ended.add((message.topic(), message.partition()))
            continue
        view.take(message.topic().rpartition(".")[2], message.value(), want)
    reader.close()
    whole = (life.root / "finished").exists()
    problems = view.problems or (view.missing(want) if whole else [])
    if stopping_s and len(ended) < len(places):
        problems.append(f"a reader of committed records did not come to the ends: {sorted(ended)} of {places}")
    (life.root / "reader").write_text(json.dumps({"rows": view.count, "problems": [f"reader: {p}" for p in problems]}))
    return ENDED


def look(life: Life, model: Model) -> int:
    """When the job has ended: that no transaction is left open, and what we read ourselves."""
    with contextlib.closing(Cluster(life.bootstrap)) as cluster:
        behind, going = open_at_last(cluster, life.all_topics, life.name)
    if behind and not going and life.replication == 1:
        return LOST_END  # KAFKA-20734: what brokers of one replica each can lose when one is down
    if behind or going:
        raise AssertionError(f"left open: {behind + going}")
    want, view = model.complete(), View()
    for output in OUTPUTS:
        table = wr.read_kafka(life.bootstrap, life.topic(output), format="raw", end="latest").collect()
        for value in table["value"].to_pylist():
            view.take(output, value, want)
    problems = view.problems + view.missing(want)
    (life.root / "verdict").write_text(json.dumps({"rows": view.count, "problems": problems}))
    return ENDED
