"""Dead letters in Kafka: whole records, with their story, in the epoch's transaction (law, crash)."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Sequence
from typing import Any

import pytest

import windrow as wr
from tests.kafka.test_exactly_once import Died, die
from windrow.testing import At, installed

SCHEMA = wr.schema(n=wr.field("int64", required=True))
Headers = list[tuple[str, bytes | None]]


def fresh(name: str) -> str:
    return f"{name}-{uuid.uuid4().hex[:8]}"


def make(broker: str, topic: str, partitions: int = 1, **config: str) -> str:
    from confluent_kafka.admin import AdminClient, NewTopic

    admin = AdminClient({"bootstrap.servers": broker})
    admin.create_topics([NewTopic(topic, partitions, 1, config=config)])[topic].result(30)
    return topic


def produce(broker: str, topic: str, records: Sequence[tuple[bytes | None, Headers]], **options: Any) -> None:
    """Values with their headers, all with the key ``k``, the i-th to partition 0 with i + 1 ms as its time."""
    from confluent_kafka import Producer

    producer = Producer({"bootstrap.servers": broker, "linger.ms": 50, **options})
    for number, (value, headers) in enumerate(records):
        producer.produce(topic, value, b"k", partition=0, headers=headers, timestamp=number + 1)
    assert producer.flush(30) == 0


def copy(broker: str, source: str, target: str, dead: str, **options: Any) -> wr.Job:
    stream = wr.read_kafka(broker, source, schema=SCHEMA, end="latest", dead_letter=dead, create_dead_letter=True)
    return wr.job(stream.write_kafka(broker, target, create=True, partitions=1), name=f"job-{target}", **options)


def records(broker: str, topic: str) -> list[Any]:
    """What librdkafka sees of a topic's partition 0 when it reads what is committed."""
    from confluent_kafka import Consumer, TopicPartition

    reader = Consumer({"bootstrap.servers": broker, "group.id": topic, "isolation.level": "read_committed",
                       "enable.partition.eof": True})  # fmt: skip
    reader.assign([TopicPartition(topic, 0, 0)])
    found = []
    while True:
        message = reader.poll(10)
        assert message is not None
        if message.error() is not None:
            reader.close()
            return found
        found.append(message)


MIXED: list[tuple[bytes | None, Headers]] = [
    (b'{"n": 1}', []),
    (b'{"n": "many"}', [("trace", b"\x00\xff"), ("trace", None)]),
    (b"\xff not json", []),
    (b'{"n": 2}', [("a", b"b")]),
    (None, [("gone", b"")]),
    (b'{"m": 3}', []),
]


def test_a_dead_letter_is_the_record_and_its_story(broker: str) -> None:
    """law: key, value and headers as they were, in the eyes of another client; and where they come from, and why."""
    source, target, dead = make(broker, fresh("in")), fresh("out"), fresh("dead")
    produce(broker, source, MIXED)
    with copy(broker, source, target, dead) as job:
        assert f"dead letters: {dead}" in job.explain()
        job.run()
        counts = job.metrics()["sources"][source]
    assert (counts["rows_in"], counts["rows_out"], counts["rejected_rows"], counts["dead_letter_rows"]) == (6, 2, 4, 4)
    assert [json.loads(one.value())["n"] for one in records(broker, target)] == [1, 2]
    letters = records(broker, dead)
    bad = [1, 2, 4, 5]
    assert [(one.key(), one.value()) for one in letters] == [(b"k", MIXED[number][0]) for number in bad]
    for one, number in zip(letters, bad, strict=True):
        kept, story = one.headers()[:-8], dict(one.headers()[-8:])
        assert kept == MIXED[number][1]
        told = {name.removeprefix("__windrow.errors."): value for name, value in story.items()}
        assert {name: told[name] for name in ("topic", "partition", "offset", "timestamp", "job", "step")} == {
            "topic": source.encode(), "partition": b"0", "offset": b"%d" % number, "timestamp": b"%d" % (number + 1),
            "job": f"job-{target}".encode(), "step": f"decode {source}".encode(),
        }  # fmt: skip
        assert told["field"] == (b"n" if number in (1, 5) else None)
        assert told["reason"]


@pytest.mark.parametrize("point", ["kafka.partly_produced", "kafka.produced", "kafka.ended", "commit.committed"])
def test_a_death_doubles_and_loses_no_dead_letter(broker: str, point: str) -> None:
    """crash: rows and dead letters are in one transaction, so that what comes in is out or dead, once."""
    source, target, dead = make(broker, fresh("in")), fresh("out"), fresh("dead")
    values = [b'{"n": %d}' % n if n % 3 else b"bad %d" % n for n in range(90)]
    produce(broker, source, [(value, []) for value in values])
    limits = wr.Limits(epoch_rows=20)
    for arrival in (1, 2, None):
        handler = At(point, die, arrival) if arrival else None
        try:
            with installed(handler or (lambda _: None)), copy(broker, source, target, dead, limits=limits) as job:
                job.run()
        except Died:
            assert arrival
        else:
            assert not arrival
    assert [json.loads(one.value())["n"] for one in records(broker, target)] == [n for n in range(90) if n % 3]
    assert [one.value() for one in records(broker, dead)] == [b"bad %d" % n for n in range(0, 90, 3)]


def test_each_source_has_the_dead_letters_that_it_asked_for(broker: str) -> None:
    """law: two sources with two topics and one that skips; none gets what is another's."""
    topics = [make(broker, fresh(name)) for name in ("one", "two", "three")]
    for topic in topics:
        produce(broker, topic, [(topic.encode(), []), (b'{"n": 1}', [])])
    dead = [fresh("dead"), fresh("dead")]
    streams = [
        wr.read_kafka(broker, topic, schema=SCHEMA, end="latest", dead_letter=letter, create_dead_letter=True)
        for topic, letter in zip(topics, dead, strict=False)
    ]
    streams.append(wr.read_kafka(broker, topics[2], schema=SCHEMA, end="latest", on_error="skip"))
    union = streams[0].union(*streams[1:])
    with wr.job(union.write_kafka(broker, fresh("out"), create=True), name=fresh("job")) as job:
        job.run()
        found = job.metrics()["sources"]
    assert [[one.value() for one in records(broker, topic)] for topic in dead] == [[t.encode()] for t in topics[:2]]
    assert [found[t]["dead_letter_rows"] for t in topics] == [1, 1, 0]
    assert [found[t]["rejected_rows"] for t in topics] == [1, 1, 1]


def test_letters_that_are_too_large(broker: str) -> None:
    """law: what was small because it was compressed is kept whole; what no batch can hold stops the job with its
    offset, and nothing of its epoch is written."""
    source, dead = make(broker, fresh("in")), make(broker, fresh("dead"))
    huge = b"x" * 15_000_000
    sizes = {"message.max.bytes": 30_000_000, "compression.type": "zstd"}
    produce(broker, source, [(huge, [("h", b"1")])], **sizes)
    produce(broker, source, [(b'{"n": 1}', []), (random.randbytes(50_000), [])])
    copy(broker, source, fresh("out"), dead).run()
    letters = records(broker, dead)
    assert sorted(len(one.value()) for one in letters) == [50_000, len(huge)]
    (letter,) = [one for one in letters if one.value() == huge]
    assert letter.headers()[0] == ("h", b"1")
    tight, target = make(broker, fresh("tight"), **{"max.message.bytes": "20000"}), fresh("out")
    with pytest.raises(wr.RecordError, match=rf"{source}\[0\] offset 2: .* topic '{tight}' takes .*max.message.bytes"):
        copy(broker, source, target, tight).run()
    assert records(broker, target) == records(broker, tight) == []


def test_a_missing_topic_is_said(broker: str) -> None:
    """law: topics are made when that is asked for; and a job without a ledger has no dead letters."""
    source, dead = make(broker, fresh("in")), fresh("dead")
    stream = wr.read_kafka(broker, source, schema=SCHEMA, end="latest", dead_letter=dead)
    with pytest.raises(wr.PlanError, match=rf"no topic '{dead}' for dead letters; make it .*create_dead_letter"):
        stream.write_kafka(broker, fresh("out"), create=True).run()
    with pytest.raises(wr.PlanError, match="has none: give it ledger="):
        stream.collect()
