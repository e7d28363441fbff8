"""Topics, plain records and what brokers say of offsets: what tests of troubles need beside the product."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from kafka.protocol.admin import ListTransactionsRequest
from kafka.protocol.consumer import ListOffsetsRequest
from kafka.protocol.producer import ProduceRequest

from windrow.codec.kafka_compression import Compression
from windrow.codec.kafka_encode import encode
from windrow.io.kafka import answers, topics
from windrow.io.kafka.client import Cluster


def fresh(name: str) -> str:
    return f"{name}-{uuid.uuid4().hex[:8]}"


def made(cluster: Cluster, name: str, partitions: int = 1, replication: int = -1, **config: str) -> str:
    """A topic of its own; in names of `config` ``_`` stands for ``.``."""
    topic = fresh(name)
    named = {key.replace("_", "."): value for key, value in config.items()}
    topics.create(cluster, topics.NewTopic(topic, partitions, replication, named))
    return topic


def produce(
    cluster: Cluster, topic: str, partition: int, values: Sequence[bytes], compression: Compression = "none"
) -> int:
    """One record batch, without a transaction; its base offset."""
    times = np.full(len(values), time.time_ns() // 1_000_000, np.int64)
    (batch,) = encode(None, pa.array(values, pa.binary()), times, compression=compression).batches
    return send(cluster, topic, partition, bytes(batch.stamped(-1, -1, -1, False)))


def send(cluster: Cluster, topic: str, partition: int, batch: bytes) -> int:
    """One record batch as it is, without a transaction; its base offset."""
    kind = ProduceRequest.TopicProduceData
    part = kind.PartitionProduceData(index=partition, records=batch)
    request: Any = ProduceRequest(
        acks=-1, timeout_ms=10_000, topic_data=[kind(name=topic, partition_data=[part])], max_version=9
    )
    code = 5
    while code in answers.RETRIABLE:  # a leader that has just been made does not know it yet
        node = cluster.leaders([topic], 10, refresh=True)[topic][partition]
        answer = cluster.request(node, request, 10).responses[0].partition_responses[0]
        code = answer.error_code
    assert not code, code
    return int(answer.base_offset)


def ends(cluster: Cluster, topic: str, isolation: int) -> dict[int, int]:
    """Where each partition ends, for readers of everything (0) and of committed records (1)."""
    kind = ListOffsetsRequest.ListOffsetsTopic
    found: dict[int, int] = {}
    for part, node in cluster.leaders([topic], 10, refresh=True)[topic].items():
        wanted = [kind.ListOffsetsPartition(partition_index=part, timestamp=-1)]
        request: Any = ListOffsetsRequest(
            replica_id=-1, isolation_level=isolation, topics=[kind(name=topic, partitions=wanted)],
            min_version=2, max_version=7,
        )  # fmt: skip
        code, deadline_s = 5, time.monotonic() + 20
        while code in answers.RETRIABLE and time.monotonic() < deadline_s:  # a broker that has just come back
            answer = cluster.request(node, request, 10).topics[0].partitions[0]
            code = answer.error_code
            time.sleep(0.05 if code else 0)
            node = cluster.leaders([topic], 10, refresh=True)[topic].get(part, node) if code else node
        assert not code, answers.name(code)
        found[part] = answer.offset
    return found


def left_open(cluster: Cluster, names: Iterable[str], transactional_ids: str, within_s: float = 15.0) -> list[str]:
    """What is not brought to an end: partitions whose stable offset is not their end, and transactions that go on."""
    behind, going = open_at_last(cluster, names, transactional_ids, within_s)
    return behind + going


def open_at_last(
    cluster: Cluster, names: Iterable[str], transactional_ids: str, within_s: float = 15.0
) -> tuple[list[str], list[str]]:
    """Partitions whose stable offset is not their end, and transactions that go on.

    The end of a transaction takes a moment to reach every partition, so it is asked until nothing is left."""
    deadline_s = time.monotonic() + within_s
    while True:
        behind = [
            f"{topic}[{part}] is stable up to {stable}, and ends at {end}"
            for topic in names
            for (part, end), stable in zip(
                ends(cluster, topic, 0).items(), ends(cluster, topic, 1).values(), strict=True
            )
            if stable != end
        ]
        going = _going_on(cluster, transactional_ids)
        if not (behind or going) or time.monotonic() > deadline_s:
            return behind, going
        time.sleep(0.1)


def _going_on(cluster: Cluster, prefix: str) -> list[str]:
    nodes = [broker.node_id for broker in cluster._manager.cluster.brokers()]
    found: list[str] = []
    for node in nodes:
        request: Any = ListTransactionsRequest(state_filters=[], producer_id_filters=[], max_version=0)
        answer = cluster.request(node, request, 10)
        assert not answer.error_code
        found += [
            f"transaction {state.transactional_id} is in state {state.transaction_state}"
            for state in answer.transaction_states
            if state.transactional_id.startswith(prefix)
            and state.transaction_state in ("Ongoing", "PrepareCommit", "PrepareAbort")
        ]
    return found
