"""Topics that real brokers have compacted, cut, or given times of their own (differential and law)."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise

import pyarrow as pa
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, ResourceType

import windrow as wr
from tests.kafka.lines import ends, fresh, made
from tests.kafka.test_exactly_once import Died, die, events, expected, fill, latest, read, totals
from tests.kafka.test_read_conformance import (
    CODECS,
    START_MS,
    as_java_prints,
    check,
    javas,
    librdkafkas,
    ours,
    produce,
)
from windrow.io.kafka import topics
from windrow.io.kafka.client import Cluster
from windrow.testing import At, installed

#: Segments that last for 50 ms are cleaned by the brokers' next look, which is every 300 ms here.
COMPACTED = {
    "cleanup.policy": "compact", "segment.ms": "50", "min.cleanable.dirty.ratio": "0.001", "delete.retention.ms": "0",
}  # fmt: skip
RESULT = wr.schema(key="int64", n="int64", total="int64")
KEYS = 12
WITHIN_S = 40.0


def compacted(broker: str, name: str, partitions: int = 1) -> str:
    cluster = Cluster(broker)
    try:
        return made(cluster, name, partitions, **COMPACTED)
    finally:
        cluster.close()


def clean_no_more(broker: str, topic: str) -> None:
    """What is compacted stays as it is from now on."""
    entry = ConfigEntry("cleanup.policy", "delete", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": broker})
    admin.incremental_alter_configs([resource])[resource].result(20)
    time.sleep(0.5)


def await_cleaned(count: Callable[[], int], most: int) -> None:
    """Until no more than `most` records are left."""
    deadline_s = time.monotonic() + WITHIN_S
    while count() > most:
        assert time.monotonic() < deadline_s, f"nothing was compacted within {WITHIN_S} s"
        time.sleep(0.2)


def fill_in_rounds(broker: str, topic: str) -> dict[bytes, bytes]:
    """Rounds of every key in every codec, every second one aborted, some keys deleted; what the last values are."""
    last: dict[bytes, bytes] = {}
    producers = [
        Producer({"bootstrap.servers": broker, "transactional.id": f"{topic}-{codec}", "compression.type": codec})
        for codec in CODECS
    ]
    for producer in producers:
        producer.init_transactions(20)
    for number in range(10):
        producer = producers[number // 2]
        producer.begin_transaction()
        commits = number % 2 == 0
        for key in (b"key-%d" % n for n in range(KEYS)):
            value = None if number >= 6 and key == b"key-3" else b"value-%d of %s " % (number, key) * (1 + number)
            producer.produce(topic, value, key, partition=0)
            if commits and value is not None:
                last[key] = value
            elif commits:
                last.pop(key, None)
        producer.produce(topic, b"only in round %d" % number, b"round-%d" % number, partition=0)
        if commits:
            last[b"round-%d" % number] = b"only in round %d" % number
            producer.commit_transaction(20)
        else:
            producer.flush(20)
            producer.abort_transaction(20)
        time.sleep(0.07)
    return last


def test_a_compacted_topic_is_what_java_reads(broker: str) -> None:
    """differential: gaps where records were, batches without records, markers, what was aborted; then the same rows in
    small epochs of one process after the other, and from an offset that is no longer there."""
    topic = compacted(broker, "compacted")
    last = fill_in_rounds(broker, topic)
    await_cleaned(lambda: len(ours(broker, topic)), 4 * KEYS)
    clean_no_more(broker, topic)
    rows = ours(broker, topic)
    check(broker, topic, len(rows), 1)
    found = {key: value for _, _, _, _, key, value in rows}
    assert {key: value for key, value in found.items() if value is not None} == last
    offsets = [row[1] for row in rows]
    gap = next(at + 1 for at, after in pairwise(offsets) if after > at + 1)
    part = wr.read_kafka(broker, topic, format="raw", include=["offset"], start={0: gap}, end="latest").collect()
    assert part["offset"].to_pylist() == [at for at in offsets if at > gap]
    seen: list[int] = []
    for _ in range(40):
        stream = wr.read_kafka(broker, topic, format="raw", include=["offset"], end="latest")
        kept = stream.for_each_batch(lambda batch, _: seen.extend(batch["offset"].to_pylist()), name="keep")
        with wr.job(kept, name=f"in-{topic}", ledger=f"kafka://{broker}", limits=wr.Limits(epoch_rows=5)) as job:
            job.run(epochs=1)
        if seen == offsets:
            break
    assert seen == offsets


def test_a_compacted_output_goes_on(broker: str) -> None:
    """differential: upserts that brokers compact while the job runs; what is left is the state, in our eyes and in
    librdkafka's."""
    source, target, rows = fresh("in"), compacted(broker, "out", 2), events(5)
    fill(broker, source, rows)
    for _ in range(3):
        with totals(broker, source, target, limits=wr.Limits(epoch_rows=1_000)) as job:
            job.run(epochs=1)
        time.sleep(0.1)
    await_cleaned(lambda: len(read(broker, target, RESULT)), 100)
    fill(broker, source, events(6, 500))
    with totals(broker, source, target) as job:
        job.run()
    clean_no_more(broker, target)
    written = read(broker, target, RESULT)
    assert latest(written) == expected(pa.concat_tables([rows, events(6, 500)]))
    assert len(librdkafkas(broker, target, 2)) == len(written)


def test_a_compacted_ledger_and_changelog_lose_nothing(broker: str) -> None:
    """law: whoever made them by hand may have said so; an open record that comes last must not replace a commit."""
    source, target, rows = fresh("in"), fresh("out"), events(7)
    fill(broker, source, rows)
    cluster = Cluster(broker)
    names = [f"job-{target}-ledger", f"job-{target}-changelog"]
    for name, partitions in zip(names, (1, 4), strict=True):
        topics.create(cluster, topics.NewTopic(name, partitions, -1, COMPACTED))
    for _ in range(2):
        with totals(broker, source, target, limits=wr.Limits(epoch_rows=600)) as job:
            job.run(epochs=1)
        time.sleep(0.1)
    for _ in range(3):  # only open records from here on
        with installed(At("engine.restored", die)), pytest.raises(Died), totals(broker, source, target) as job:
            job.run()
        time.sleep(0.5)
    time.sleep(1.5)
    with totals(broker, source, target, limits=wr.Limits(epoch_rows=600)) as job:
        job.run()
    cluster.close()
    written = read(broker, target, RESULT)
    assert latest(written) == expected(rows)
    counts: dict[int, int] = {}
    for row in written:
        assert row["n"] > counts.get(row["key"], 0)
        counts[row["key"]] = row["n"]


@pytest.mark.parametrize("kept", [0, 1], ids=["nothing is left", "a later record is left"])
def test_a_ledger_that_was_cut_stops_the_job(broker: str, kept: int) -> None:
    """law: to start afresh because retention has taken the commits would write everything twice."""
    source, target = fresh("in"), fresh("out")
    fill(broker, source, events(8, 500))
    with totals(broker, source, target) as job:
        job.run()
    cluster, ledger = Cluster(broker), f"job-{target}-ledger"
    at = ends(cluster, ledger, 1)[0]
    if kept:
        with installed(At("engine.restored", die)), pytest.raises(Died), totals(broker, source, target) as job:
            job.run()
    topics.delete_before(cluster, ledger, {0: at})
    with pytest.raises(wr.StateError, match=rf"topic '{ledger}', partition 0.*commits.*retention"):
        totals(broker, source, target).run()
    cluster.close()


def test_times_that_brokers_give(broker: str) -> None:
    """differential: the timestamp column has the broker's time where the topic says so (message.timestamp.type), for
    records of others and of ours, whatever time was sent along."""
    cluster = Cluster(broker)
    topic = made(cluster, "append-time", 3, message_timestamp_type="LogAppendTime")
    begun_ms = time.time_ns() // 1_000_000
    for codec in ("none", "zstd"):
        produce(broker, topic, codec, [True, False])
    old = pa.array([START_MS * 1_000 + n for n in range(30)], pa.timestamp("us", "UTC"))
    rows = wr.from_arrow(pa.table({"n": range(30), "at": old}), name="rows")
    sink = rows.write_kafka(broker, topic, timestamp="at", compression="zstd")
    wr.job(sink, name=topic).run()
    ended_ms = time.time_ns() // 1_000_000
    cluster.close()
    found = ours(broker, topic)
    assert len(found) == 150 and found == librdkafkas(broker, topic)
    assert all(begun_ms <= row[2] <= ended_ms for row in found)
    shown = [line.replace("CreateTime:", "LogAppendTime:", 1) for line in as_java_prints(found)]
    assert sorted(shown) == javas(broker, topic)
