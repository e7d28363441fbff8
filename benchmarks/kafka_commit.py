"""What a commit to Kafka takes: one transaction over eight partitions, next to librdkafka's producer doing the same."""

from __future__ import annotations

import json
import time
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.harness import Measured, benchmark
from benchmarks.kafka_place import broker_versions, fresh, milliseconds, place
from windrow.codec.kafka_encode import EncodedBatch, encode
from windrow.io.kafka import stored, topics
from windrow.io.kafka.client import Cluster, release, shared
from windrow.io.kafka.ledger import KafkaLedger
from windrow.io.kafka.writes import record_write
from windrow.progress.ledger import EpochCommit, StateWrite

_PARTITIONS = 4
_ROWS, _VALUE_BYTES = 250, 100  # of each output partition: what an epoch of 100 ms may come to
_STATE_ROWS = 250
_BASE_MS = 1_760_000_000_000


class _Epochs:
    """A ledger whose epochs write four partitions of an output and four of the changelog, and an input's positions."""

    def __init__(self, bootstrap: str, cluster: Cluster) -> None:
        self.output, source = fresh("commit-out"), fresh("commit-in")
        for topic in (self.output, source):
            topics.create(cluster, topics.NewTopic(topic, _PARTITIONS))
        self._source = {source: {"topics": {source: {"id": "0" * 32, "numbers": list(range(_PARTITIONS))}}}}
        self._name, self._epoch = source, 0
        self.ledger = KafkaLedger(bootstrap)
        self.ledger.open(fresh("commit"), {"fingerprint": "benchmark", "shards": _PARTITIONS})
        random = np.random.default_rng(1)
        columns = [random.integers(0, 2**40, _STATE_ROWS) for _ in range(3)]
        self._state = pa.record_batch(columns, ["key", "count", "sum"])
        text = random.integers(32, 127, _ROWS * _VALUE_BYTES).astype(np.uint8).tobytes()
        self.values = pa.array([text[at : at + _VALUE_BYTES] for at in range(0, len(text), _VALUE_BYTES)], pa.binary())

    def commit(self) -> float:
        """Seconds that the next epoch's commit takes, what it is to write made before."""
        self._epoch += 1
        positions = {self._name: dict.fromkeys(range(_PARTITIONS), self._epoch)}
        state = [StateWrite("window", shard, "delta", {"state": self._state}) for shard in range(_PARTITIONS)]
        outputs = [record_write(self.output, part, self._batches()) for part in range(_PARTITIONS)]
        whole = EpochCommit(self._epoch, positions, {"sources": self._source}, state, outputs)
        begun = time.perf_counter()
        self.ledger.commit(whole)
        return time.perf_counter() - begun

    def _batches(self) -> list[EncodedBatch]:
        return encode(None, self.values, np.full(_ROWS, _BASE_MS + self._epoch, np.int64)).batches


class _Librdkafka:
    """As many bytes in as many partitions and one group's positions, a record a partition, by librdkafka."""

    def __init__(self, bootstrap: str, cluster: Cluster) -> None:
        from confluent_kafka import Consumer, Producer

        self.topic = fresh("commit-librdkafka")
        topics.create(cluster, topics.NewTopic(self.topic, 2 * _PARTITIONS + 1))
        self._producer = Producer({"bootstrap.servers": bootstrap, "transactional.id": self.topic, "linger.ms": 0})
        self._producer.init_transactions(30)
        self._consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": self.topic})
        self._at = 0

    def commit(self) -> float:
        from confluent_kafka import TopicPartition

        self._at += 1
        value = b"x" * (_ROWS * _VALUE_BYTES)
        positions = [TopicPartition(self.topic, part, self._at) for part in range(_PARTITIONS)]
        begun = time.perf_counter()
        self._producer.begin_transaction()
        for part in range(2 * _PARTITIONS + 1):
            self._producer.produce(self.topic, value if part < 2 * _PARTITIONS else b"ledger", partition=part)
        self._producer.send_offsets_to_transaction(positions, self._consumer.consumer_group_metadata(), 30)
        self._producer.commit_transaction(30)
        return time.perf_counter() - begun


@benchmark(
    "kafka_commit",
    "one transaction with 4 output and 4 changelog partitions, a ledger record and positions",
    broker=True,
)
def kafka_commit(scale: float) -> list[Measured]:
    """Variants: windrow (all that `KafkaLedger.commit` does), librdkafka; a commit of each in turn. `seconds` is the
    median; what was committed is read back and held against what was written."""
    count = max(int(1_000 * scale), 20)
    with place() as bootstrap:
        cluster = shared(bootstrap)
        ours, theirs = _Epochs(bootstrap, cluster), _Librdkafka(bootstrap, cluster)
        commits: dict[str, Callable[[], float]] = {"windrow": ours.commit, "librdkafka": theirs.commit}
        taken: dict[str, list[float]] = {name: [] for name in commits}
        cpu_s = 0.0
        for number in range(count + 10):
            for name, commit in commits.items():
                used = time.process_time()
                seconds = commit()
                if number >= 10:
                    taken[name].append(seconds)
                    cpu_s += time.process_time() - used if name == "windrow" else 0.0
        digest = _read_back(cluster, ours, count + 10)
        ours.ledger.close()
        release(cluster)
    lines = []
    nbytes = _PARTITIONS * _ROWS * _VALUE_BYTES
    for name, times in taken.items():
        extra: dict[str, Any] = {**milliseconds(times), **broker_versions(), "commits": count}
        if name == "windrow":
            extra["cpu_ms"] = round(cpu_s / count * 1e3, 2)
        lines.append(Measured(1, nbytes, sorted(times)[count // 2], digest, name, extra=extra))
    return lines


def _read_back(cluster: Cluster, ours: _Epochs, commits: int) -> str:
    """A checksum over what a reader of committed records finds in the output."""
    crc = 0
    ends = topics.offsets(cluster, ours.output, topics.LATEST)
    for part, end in sorted(ends.items()):
        values: list[bytes] = []
        for rows in stored.committed(cluster, ours.output, part, 0, end):
            values += rows.values().to_pylist()
        assert values == ours.values.to_pylist() * commits, f"partition {part} does not hold what was committed"
        crc = zlib.crc32(json.dumps([len(values), zlib.crc32(b"".join(values))]).encode(), crc)
    return f"{crc:08x}"
