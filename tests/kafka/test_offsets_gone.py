"""Positions that a real broker does not have any more: the job stops and says so; nothing is left out unsaid (law)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient

import windrow as wr
from tests.kafka.lines import fresh, made, produce
from windrow.io.kafka import topics
from windrow.io.kafka.client import Cluster


@pytest.fixture
def cluster(broker: str) -> Iterator[Cluster]:
    opened = Cluster(broker)
    yield opened
    opened.close()


def numbers(first: int, count: int) -> list[bytes]:
    return [b'{"n": %d}' % n for n in range(first, first + count)]


def copying(broker: str, source: str, target: str, **options: Any) -> wr.Job:
    stream = wr.read_kafka(broker, source, schema=wr.schema(n="int64"), **options)
    return wr.job(stream.write_kafka(broker, target, create=True, partitions=1), name=f"job-{target}")


def written(broker: str, target: str) -> list[int]:
    found = wr.read_kafka(broker, target, schema=wr.schema(n="int64"), end="latest").collect()
    values: list[int] = found["n"].to_pylist()
    return values


def test_records_that_were_deleted_before_they_were_read(broker: str, cluster: Cluster) -> None:
    source, target = made(cluster, "deleted"), fresh("out")
    produce(cluster, source, 0, numbers(0, 10))
    with copying(broker, source, target) as job:
        job.run(until="caught up", timeout=20)
    produce(cluster, source, 0, numbers(10, 10))
    topics.delete_before(cluster, source, {0: 14})
    gone = rf"{source}\[0\] offset 10 is gone: the first record there is at 14; 4 offsets"
    for _ in range(2):  # and stays so
        with pytest.raises(wr.BrokerError, match=gone), copying(broker, source, target) as job:
            job.run(until="caught up", timeout=20)
    assert written(broker, target) == list(range(10))
    with copying(broker, source, target, on_offset_gone="earliest") as job:
        job.run(until="caught up", timeout=20)
    assert written(broker, target) == [*range(10), *range(14, 20)]


@pytest.mark.parametrize("longer", [False, True], ids=["shorter", "longer than before"])
def test_a_topic_that_is_made_again(broker: str, cluster: Cluster, longer: bool) -> None:
    source, target = made(cluster, "again"), fresh("out")
    produce(cluster, source, 0, numbers(0, 10))
    with copying(broker, source, target) as job:
        job.run(until="caught up", timeout=20)
    admin = AdminClient({"bootstrap.servers": broker})  # named: what it was asked for ends with it
    admin.delete_topics([source])[source].result(20)
    topics.create(cluster, topics.NewTopic(source, 1))
    produce(cluster, source, 0, numbers(100, 20 if longer else 3))
    again = rf"topic '{source}' was deleted and made again"
    with pytest.raises(wr.BrokerError, match=again), copying(broker, source, target) as job:
        job.run(until="caught up", timeout=20)
    assert written(broker, target) == list(range(10))
