"""What `job.metrics()` says of a job that reads Kafka (law)."""

from __future__ import annotations

import time

import windrow as wr
from tests.kafka.test_dead_letters import fresh, make, produce


def test_an_open_transaction_of_somebody_else_is_reported_and_harms_nothing(broker: str) -> None:
    """law: how many offsets it keeps back, and for how long; what it writes is read when it commits, and not before."""
    from confluent_kafka import Producer

    source, target = make(broker, fresh("in")), make(broker, fresh("out"))
    produce(broker, source, [(b'{"n": %d}' % n, []) for n in range(3)])
    foreign = Producer({"bootstrap.servers": broker, "transactional.id": fresh("foreign"), "linger.ms": 0})
    foreign.init_transactions(30)
    foreign.begin_transaction()
    for n in range(5):
        foreign.produce(source, b'{"n": %d}' % (10 + n), partition=0)
    assert foreign.flush(30) == 0
    produce(broker, source, [(b'{"n": 3}', [])])
    stream = wr.read_kafka(broker, source, schema=wr.schema(n="int64"))
    with wr.job(stream.write_kafka(broker, target), name=fresh("job")) as job:
        assert job.metrics()["sources"] == {}
        deadline_s = time.monotonic() + 30
        said: dict[str, float] = {}
        while said.get("held_seconds", 0.0) < 0.3 and time.monotonic() < deadline_s:
            job.run(timeout=0.3)
            said = job.metrics()["sources"][source]["partitions"][f"{source}[0]"]
        assert said["held_back"] == 6 and said["held_seconds"] > 0.3
        assert (said["next_offset"], said["stable_offset"], said["high_watermark"], said["lag"]) == (3, 3, 9, 0)
        foreign.commit_transaction(30)
        job.run(until=lambda progress: progress.events == 9, timeout=30)
        said = job.metrics()["sources"][source]["partitions"][f"{source}[0]"]
        assert (said["held_back"], said["held_seconds"], said["refetches"], said["stopped"]) == (0, 0, 0, 0)
        assert said["fetched_bytes"] > 200
    after = job.metrics()["sources"][source]
    assert after["rows_in"] == after["rows_out"] == 9 and after["partitions"]
    result = wr.read_kafka(broker, target, schema=wr.schema(n="int64"), end="latest").collect()
    assert result["n"].to_pylist() == [0, 1, 2, 10, 11, 12, 13, 14, 3]
