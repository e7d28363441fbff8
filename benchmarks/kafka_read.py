"""A topic to Arrow columns, next to the Java client and to librdkafka with orjson, in turn on the same topic.

The topic ``windrow-bench-read`` is made, and filled as far as it is not. In the test suite, a scripted broker in this
process stands in; its figure says nothing about Kafka.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from statistics import median

import numpy as np

import windrow as wr
from benchmarks.harness import Measured, benchmark
from benchmarks.kafka_place import broker_versions, place
from windrow.io.kafka.source import KafkaSource

TOPIC = "windrow-bench-read"
SCHEMA = {
    "auction": "int64", "bidder": "int64", "price": "int64", "channel": "string", "url": "string",
    "date_time": "int64", "extra": "string",
}  # fmt: skip
WANTED = ("auction", "price", "date_time")
_RUNS = 3  # starting the Java client takes longer than all else: 2.5 s each time
_ORJSON_ROWS = 300_000  # enough for a rate, and it is slow


def document(n: int) -> bytes:
    """Event `n`: about 250 bytes."""
    url = f"https://www.nexmark.com/item.htm?query={n % 9973}"
    row = [1000 + n % 997, n % 50_021, n * 7919 % 100_000, f"channel-{n % 100}", url, 1_700_000_000_000 + n, "x" * 100]
    return json.dumps(dict(zip(SCHEMA, row, strict=True)), separators=(",", ":")).encode()


@benchmark("kafka_read", "topic of 250-byte JSON events to 3 of their 7 columns, next to other clients", workers=2)
def kafka_read(scale: float) -> list[Measured]:
    """Variants: windrow; java (kafka-consumer-perf-test, its rate without the group's rebalance, nothing decoded: how
    fast the broker gives); confluent (batches, orjson, the same three columns as lists)."""
    events = max(int(2_000_000 * scale), 1_000)
    if scale < 0.1:
        with _double(events) as own:
            return [_measured("scripted broker", events, [_ours(own, events) for _ in range(2)])]
    with place() as bootstrap:
        return _compared(bootstrap, events)


def _compared(bootstrap: str, events: int) -> list[Measured]:
    from tests.broker.jars import TOOLS, class_path

    _fill(bootstrap, events)
    class_path(TOOLS)  # fetched before anything is measured
    clients: dict[str, Callable[[], tuple[float, int]]] = {
        "windrow": lambda: _ours(bootstrap, events),
        "java": lambda: _java(bootstrap, events),
        "confluent": lambda: _confluent(bootstrap, events),
    }
    _ours(bootstrap, events)
    runs: dict[str, list[tuple[float, int]]] = {name: [] for name in clients}
    for _ in range(_RUNS):
        for name, run in clients.items():
            runs[name].append(run())
    own = median(seconds for seconds, _ in runs["windrow"])
    measured = [_measured(name, events, found) for name, found in runs.items()]
    extra = {**broker_versions(), "java_client": TOOLS}
    return [replace(each, extra={"ratio_of_windrow": round(each.seconds / own, 2), **extra}) for each in measured]


def _measured(variant: str, events: int, runs: list[tuple[float, int]]) -> Measured:
    """`runs`: (seconds for all events, checksum) each."""
    seconds = median(seconds for seconds, _ in runs)
    return Measured(events, events * len(document(0)), seconds, f"{runs[0][1]:x}", variant)


def _ours(bootstrap: str, events: int) -> tuple[float, int]:
    begun, checksum, at = time.perf_counter(), 0, 0
    source: KafkaSource = wr.read_kafka(bootstrap, TOPIC, schema=SCHEMA, end={0: events})._node.make()
    try:
        while at < events:
            end = source.plan(0, at, events, 1 << 29)
            if end == at:
                source.wait(1.0)
            for piece in source.read(0, at, end, WANTED) if end > at else ():
                checksum += sum(int(np.sum(column.to_numpy())) for column in piece.data.columns)
            at = end
    finally:
        source.close()
    return time.perf_counter() - begun, checksum


def _java(bootstrap: str, events: int) -> tuple[float, int]:
    """Of the tools' own version, which need not be the broker's, in a Java that compiles as it does by default."""
    from tests.broker import tools

    printed = tools.run(
        "consumer-perf-test",
        ["--bootstrap-server", bootstrap, "--topic", TOPIC, "--num-records", str(events), "--hide-header",
         "--command-property", "isolation.level=read_committed"],
        timeout_s=120, java=["java"],
    )  # fmt: skip
    columns = printed.strip().splitlines()[-1].split(",")
    if int(columns[4]) < events:
        raise tools.ToolError(f"consumer-perf-test read {columns[4]} of {events} records: {printed[-500:]}")
    return events / float(columns[-1]), int(columns[4])


def _confluent(bootstrap: str, all_events: int) -> tuple[float, int]:
    import orjson
    from confluent_kafka import Consumer, TopicPartition

    # librdkafka pauses for a second when its queue is full, unless told so
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench", "fetch.queue.backoff.ms": 0})
    events = min(all_events, _ORJSON_ROWS)
    columns: tuple[list[int], ...] = ([], [], [])
    begun = time.perf_counter()
    consumer.assign([TopicPartition(TOPIC, 0, 0)])
    while len(columns[0]) < events:
        for message in consumer.consume(min(10_000, events - len(columns[0])), 1.0):
            row = orjson.loads(message.value())
            for column, name in zip(columns, WANTED, strict=True):
                column.append(row[name])
    seconds = time.perf_counter() - begun
    consumer.close()
    return seconds * all_events / events, sum(map(sum, columns))


def _fill(bootstrap: str, events: int) -> None:
    """What a smaller run, or one that was ended, has left is gone on from."""
    from confluent_kafka import Consumer, Producer, TopicPartition
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": bootstrap})
    there = 0
    if TOPIC in admin.list_topics(timeout=10).topics:
        consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "bench"})
        there = consumer.get_watermark_offsets(TopicPartition(TOPIC, 0), timeout=10)[1]
        consumer.close()
    else:
        admin.create_topics([NewTopic(TOPIC, 1, 1)])[TOPIC].result(10)
    producer = Producer({"bootstrap.servers": bootstrap, "batch.size": 131_072, "linger.ms": 20})
    for n in range(there, events):
        while True:
            try:
                producer.produce(TOPIC, document(n))
                break
            except BufferError:
                producer.poll(0.1)
    producer.flush()


@contextlib.contextmanager
def _double(events: int) -> Iterator[str]:
    from tests.io.kafka_double import Cluster

    with Cluster() as cluster:
        (log,) = cluster.topic(TOPIC)
        for first in range(0, events, 500):
            log.add(*map(document, range(first, min(first + 500, events))))
        yield cluster.bootstrap
