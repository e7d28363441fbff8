"""What we read and write is what Java's tools and librdkafka read and write (differential, on real brokers)."""

from __future__ import annotations

import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from kafka.protocol.producer import ProduceRequest

import windrow as wr
from tests.broker import jars, tools
from tests.broker.cluster import brokers
from windrow.codec.kafka_compression import Compression
from windrow.codec.kafka_encode import encode
from windrow.codec.kafka_records import HEADERS
from windrow.io.kafka.client import Cluster

CODECS: tuple[Compression, ...] = ("none", "gzip", "snappy", "lz4", "zstd")
INCLUDE = ("key", "headers", "timestamp", "partition", "offset")
PARTITIONS = 3
START_MS = 1_700_000_000_000
#: What stands for null in what Java prints; no value is that.
NULL = "(null)"

Headers = list[tuple[str, bytes | None]]
#: partition, offset, timestamp in ms, headers, key, value
Row = tuple[int, int, int, Headers, bytes | None, bytes | None]


def made_topic(broker: str, partitions: int = PARTITIONS) -> str:
    topic = f"conform-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": broker})  # named: what it was asked for ends with it
    admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(20)
    return topic


def record(i: int) -> tuple[bytes | None, bytes | None, Headers]:
    """Keys, values and headers that are missing, empty, or not, in all combinations; values that compress."""
    key = (None, b"", b"key-%d" % (i % 7))[i % 3]
    value = (b"value-%d " % i * 20, None, b"", b"v%d" % i)[i % 4]
    headers: Headers = [[], [("h", b"%d" % i)], [("h", b"1"), ("h", None), ("e", b"")]][i % 5 % 3]
    return key, value, headers


def produce(broker: str, topic: str, codec: str, transactions: list[bool], rows: int = 60) -> None:
    """By librdkafka: a transaction for each of `transactions`, committed where it is True."""
    producer = Producer(
        {"bootstrap.servers": broker, "transactional.id": f"{topic}-{codec}", "compression.type": codec, "linger.ms": 5}
    )
    producer.init_transactions(20)
    for number, commits in enumerate(transactions):
        producer.begin_transaction()
        for i in range(number * rows, (number + 1) * rows):
            key, value, headers = record(i)
            producer.produce(
                topic, value, key, partition=i % PARTITIONS, timestamp=START_MS + i, headers=headers or None
            )
        assert producer.flush(20) == 0
        if commits:
            producer.commit_transaction(20)
        else:
            producer.abort_transaction(20)


def ours(broker: str, topic: str) -> list[Row]:
    table = wr.read_kafka(broker, topic, format="raw", include=INCLUDE, end="latest").collect()
    times = table["timestamp"].cast(pa.timestamp("us", "UTC")).cast(pa.int64()).to_pylist()
    rows: list[Row] = []
    for row, time_us in zip(table.to_pylist(), times, strict=True):
        headers = [(pair["key"], pair["value"]) for pair in row["headers"] or []]
        assert time_us % 1_000 == 0
        rows.append((row["partition"], row["offset"], time_us // 1_000, headers, row["key"], row["value"]))
    return sorted(rows, key=lambda row: row[:2])


def librdkafkas(broker: str, topic: str, partitions: int = PARTITIONS) -> list[Row]:
    reader = Consumer(
        {
            "bootstrap.servers": broker,
            "group.id": topic,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
    )
    reader.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
    rows: list[Row] = []
    ended: set[int] = set()
    deadline_s = time.monotonic() + 30
    while len(ended) < partitions:
        assert time.monotonic() < deadline_s, "librdkafka did not come to the end of the topic"
        message = reader.poll(1)
        if message is None:
            continue
        if message.error() is not None:
            ended.add(message.partition())
            continue
        headers: Headers = list(message.headers() or [])
        rows.append(
            (message.partition(), message.offset(), message.timestamp()[1], headers, message.key(), message.value())
        )
    reader.close()
    return sorted(rows, key=lambda row: row[:2])


def javas(broker: str, topic: str) -> list[str]:
    """The lines that the console consumer prints of committed records."""
    shown = [f"print.{what}=true" for what in ("timestamp", "partition", "offset", "headers", "key", "value")]
    properties = [part for one in [*shown, f"null.literal={NULL}"] for part in ("--formatter-property", one)]
    committed = ["--from-beginning", "--isolation-level", "read_committed", "--timeout-ms", "5000"]
    out = tools.run("console-consumer", ["--bootstrap-server", broker, "--topic", topic, *committed, *properties])
    return sorted(line for line in out.splitlines() if line)


def as_java_prints(rows: list[Row]) -> list[str]:
    def text(value: bytes | None) -> str:
        return NULL if value is None else value.decode()

    return sorted(
        "\t".join(
            [
                f"CreateTime:{time_ms}",
                f"Partition:{partition}",
                f"Offset:{offset}",
                ",".join(f"{name}:{text(value)}" for name, value in headers) or "NO_HEADERS",
                text(key),
                text(value),
            ]
        )
        for partition, offset, time_ms, headers, key, value in rows
    )


def check(broker: str, topic: str, count: int, partitions: int = PARTITIONS) -> list[Row]:
    """Our rows, which are those of Java and of librdkafka."""
    rows = ours(broker, topic)
    assert len(rows) == count
    assert rows == librdkafkas(broker, topic, partitions)
    assert as_java_prints(rows) == javas(broker, topic)
    return rows


def test_every_codec_and_what_was_aborted(broker: str) -> None:
    """differential: one topic of all codecs, transactions that commit and abort in turn; control markers come last."""
    topic = made_topic(broker)
    for codec in CODECS:
        produce(broker, topic, codec, [True, False, True, False])
    rows = check(broker, topic, len(CODECS) * 2 * 60)
    assert {row[5] is None for row in rows} == {row[5] == b"" for row in rows} == {True, False}


def test_only_aborted_records(broker: str) -> None:
    """law: a topic that has nothing but aborted records and markers ends, with no row."""
    topic = made_topic(broker)
    produce(broker, topic, "zstd", [False, False])
    assert ours(broker, topic) == []


def send(broker: str, topic: str, rows: int) -> list[Row]:
    """What `encode` makes, as Produce requests with nothing of ours around it; what should be read back."""
    records = [record(i) for i in range(rows)]
    headers = pa.array([[{"key": k, "value": v} for k, v in each[2]] for each in records], HEADERS)
    keys = pa.array([each[0] for each in records], pa.binary())
    values = pa.array([each[1] for each in records], pa.binary())
    times = np.arange(START_MS, START_MS + rows, dtype=np.int64)
    cluster = Cluster(broker)
    sent: list[Row] = []
    try:
        node = cluster.leaders([topic], 10, refresh=True)[topic][0]
        for codec in CODECS:
            made = encode(keys, values, times, headers, compression=codec, max_batch_bytes=4_096)
            assert not len(made.too_large) and len(made.batches) > 1
            for batch in made.batches:
                part = ProduceRequest.TopicProduceData.PartitionProduceData(
                    index=0, records=bytes(batch.stamped(-1, -1, -1, False))
                )
                data = ProduceRequest.TopicProduceData(name=topic, partition_data=[part])
                request: Any = ProduceRequest(acks=-1, timeout_ms=10_000, topic_data=[data], max_version=9)
                answer = cluster.request(node, request, 10).responses[0].partition_responses[0]
                assert answer.error_code == 0 and answer.base_offset == len(sent)
                for i in range(batch.first_row, batch.first_row + batch.count):
                    key, value, pairs = records[i]
                    sent.append((0, len(sent), START_MS + i, pairs, key, value))
    finally:
        cluster.close()
    return sent


@pytest.mark.slow
@pytest.mark.parametrize("version", [jars.NEWEST, jars.OLDER])
def test_java_reads_what_we_encode(tmp_path: Path, version: str) -> None:
    """differential: batches of every codec stand Java's deep check of the segment file and are read back equal; what
    librdkafka writes to a broker of this version is read equal as well."""
    with brokers(version=version, folder=tmp_path / "broker") as cluster:
        topic = made_topic(cluster.bootstrap, 1)
        sent = send(cluster.bootstrap, topic, 200)
        assert check(cluster.bootstrap, topic, len(sent), 1) == sent
        mixed = made_topic(cluster.bootstrap)
        for codec in CODECS:
            produce(cluster.bootstrap, mixed, codec, [True, False])
        check(cluster.bootstrap, mixed, len(CODECS) * 60)
        (segment,) = (tmp_path / "broker").rglob(f"{topic}-0/*.log")
        dumped = cluster.tool("dump-log", "--deep-iteration", "--files", str(segment))
    batches = [line for line in dumped.splitlines() if line.startswith("baseOffset:")]
    assert sum(int(line.split(" count: ")[1].split()[0]) for line in batches) == len(sent)
    assert all("isvalid: true" in line for line in batches)
    assert {line.split("compresscodec: ")[1].split()[0] for line in batches} == set(CODECS)
    offsets = [int(line.split("offset: ")[1].split()[0]) for line in dumped.splitlines() if line.startswith("| offset")]
    assert offsets == list(range(len(sent)))
