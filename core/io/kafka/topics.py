"""Topics: making them, reading their committed records again, cutting off what is no longer needed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kafka.protocol.admin import (
    CreatePartitionsRequest,
    CreateTopicsRequest,
    DeleteRecordsRequest,
    DescribeConfigsRequest,
)
from kafka.protocol.consumer import ListOffsetsRequest
from kafka.protocol.metadata import MetadataRequest

from windrow.codec.kafka_encode import MAX_BATCH_BYTES, EncodedBatch
from windrow.errors import BrokerError, WindrowError
from windrow.io.kafka import answers
from windrow.io.kafka.client import Cluster, NotReachedError

#: (topic, partition)
Place = tuple[str, int]

EARLIEST, LATEST = -2, -1
_PAUSE_S = 0.05
_READ_COMMITTED, UNCOMMITTED = 1, 0
_FETCH_BYTES = 16 << 20
_OUT_OF_RANGE = 1
_TOPIC = 2  # what kind of resource
_NEWEST_BY_NAME = 12  # later versions of Fetch know topics by id alone


@dataclass(frozen=True, slots=True)
class NewTopic:
    """How a topic is made. `replication` -1 leaves it to the brokers, as `partitions` -1 does."""

    name: str
    partitions: int = -1
    replication: int = -1
    config: Mapping[str, str] | None = None


def create(cluster: Cluster, topic: NewTopic, timeout_s: float = 30.0) -> bool:
    """Make a topic and wait until its partitions have leaders; False when it was there already, as it is."""
    deadline_s = time.monotonic() + timeout_s
    kind = CreateTopicsRequest.CreatableTopic
    configs = [kind.CreatableTopicConfig(name=name, value=value) for name, value in (topic.config or {}).items()]
    request = CreateTopicsRequest(
        topics=[
            kind(
                name=topic.name,
                num_partitions=topic.partitions,
                replication_factor=topic.replication,
                assignments=[],
                configs=configs,
            )
        ],
        timeout_ms=int(timeout_s * 1_000),
        validate_only=False,
        min_version=4,
        max_version=5,
    )
    (answer,) = _of_controller(cluster, request, deadline_s).topics
    if answer.error_code and answer.error_code != answers.TOPIC_EXISTS:
        said = f" ({answer.error_message})" if answer.error_message else ""
        raise answers.error(answer.error_code, f"topic {topic.name!r} cannot be created{said}", topic.name)
    while not _led(cluster.leaders([topic.name], timeout_s, refresh=True).get(topic.name), topic.partitions):
        if time.monotonic() >= deadline_s:
            raise BrokerError(f"topic {topic.name!r} is created, but its partitions have no leaders")
        time.sleep(_PAUSE_S)
    return not answer.error_code


def _led(leaders: Mapping[int, int] | None, partitions: int) -> bool:
    return bool(leaders) and (partitions < 0 or len(leaders or ()) >= min(partitions, 1))


def grow(cluster: Cluster, topic: str, partitions: int, timeout_s: float = 30.0) -> None:
    """Give a topic that many partitions, unless it has them, and wait until it has."""
    kind = CreatePartitionsRequest.CreatePartitionsTopic
    request = CreatePartitionsRequest(
        topics=[kind(name=topic, count=partitions, assignments=None)],
        timeout_ms=int(timeout_s * 1_000),
        validate_only=False,
        max_version=3,
    )
    deadline_s = time.monotonic() + timeout_s
    while partition_count(cluster, topic, timeout_s) < partitions:
        (answer,) = _of_controller(cluster, request, deadline_s).results
        # another process may have been quicker
        if answer.error_code not in (0, answers.INVALID_PARTITIONS) and answer.error_code not in answers.RETRIABLE:
            raise answers.error(answer.error_code, f"topic {topic!r} cannot be given {partitions} partitions", topic)
        if time.monotonic() >= deadline_s:
            raise BrokerError(f"topic {topic!r} did not get {partitions} partitions within {timeout_s:g} s")
        time.sleep(_PAUSE_S)
    cluster.leaders([topic], timeout_s, refresh=True)


def _of_controller(cluster: Cluster, request: Any, deadline_s: float) -> Any:
    """The answer of the broker that makes topics; of any, where any may be asked."""
    while True:
        left_s = max(deadline_s - time.monotonic(), 0.1)
        found = cluster.request(None, MetadataRequest(topics=[], min_version=4, max_version=9), left_s).controller_id
        try:
            return cluster.request(int(found) if found >= 0 else None, request, left_s)
        except NotReachedError:  # by now another may be it
            if time.monotonic() >= deadline_s:
                raise


def partition_count(cluster: Cluster, topic: str, timeout_s: float = 30.0) -> int:
    """How many partitions a topic has; 0 when it is not there."""
    kind = MetadataRequest.MetadataRequestTopic
    request = MetadataRequest(topics=[kind(name=topic)], allow_auto_topic_creation=False, min_version=4, max_version=9)
    (found,) = cluster.request(None, request, timeout_s).topics
    if found.error_code in answers.DENIED:
        raise answers.error(found.error_code, f"topic {topic!r} is not shown", topic)
    return len(found.partitions) if not found.error_code else 0


def offsets(
    cluster: Cluster, topic: str, at: int, timeout_s: float = 30.0, *, isolation: int = _READ_COMMITTED
) -> dict[int, int]:
    """`EARLIEST` or `LATEST` offset of every partition; the latest is the last stable one (committed records end), or
    with `isolation` `UNCOMMITTED` where all records end."""
    deadline_s = time.monotonic() + timeout_s
    count = partition_count(cluster, topic, timeout_s)
    found: dict[int, int] = {}
    trouble = "its partitions have no leader"
    kind = ListOffsetsRequest.ListOffsetsTopic
    while len(found) < count:
        leaders = cluster.leaders([topic], timeout_s, refresh=bool(trouble)).get(topic, {})
        by_node: dict[int, list[int]] = {}
        for part in range(count):
            if part not in found and part in leaders:
                by_node.setdefault(leaders[part], []).append(part)
        for node, parts in by_node.items():
            wanted = [kind.ListOffsetsPartition(partition_index=part, timestamp=at) for part in parts]
            request = ListOffsetsRequest(
                replica_id=-1,
                isolation_level=isolation,
                topics=[kind(name=topic, partitions=wanted)],
                min_version=2,
                max_version=7,
            )
            try:
                said = cluster.request(node, request, max(deadline_s - time.monotonic(), 0.1)).topics[0].partitions
            except NotReachedError as error:  # by now another may lead
                trouble = str(error)
                continue
            for answer in said:
                if not answer.error_code:
                    found[answer.partition_index] = answer.offset
                elif answer.error_code not in answers.RETRIABLE:
                    raise answers.error(answer.error_code, f"no offsets of topic {topic!r}", topic)
                else:
                    trouble = answers.name(answer.error_code)
        if len(found) < count:
            if time.monotonic() >= deadline_s:
                raise BrokerError(f"no offsets of topic {topic!r} within {timeout_s:g} s: {trouble}")
            time.sleep(_PAUSE_S)
    return found


def ends_of(base: Mapping[Place, int], records: Mapping[Place, Sequence[EncodedBatch]]) -> dict[Place, int]:
    """Where the records of a transaction end in each partition; `base`: where its first batch lies there."""
    return {place: at + sum(batch.count for batch in records[place]) for place, at in base.items()}


def await_visible(cluster: Cluster, ends: Mapping[Place, int], timeout_s: float = 5.0) -> bool:
    """Wait until readers of committed records come to these offsets; whether they do.

    A transaction has ended when its coordinator says so; the markers that let readers pass are written after that.
    """
    left = dict(ends)
    deadline_s = time.monotonic() + timeout_s
    try:
        while left:
            for topic in {name for name, _ in left}:
                stable = offsets(cluster, topic, LATEST, max(deadline_s - time.monotonic(), 0.1))
                left = {place: at for place, at in left.items() if place[0] != topic or stable.get(place[1], 0) < at}
            if left and time.monotonic() >= deadline_s:
                return False
            time.sleep(_PAUSE_S / 10 if left else 0)
    except WindrowError:  # nothing is lost by it
        return False
    return True


def delete_before(cluster: Cluster, topic: str, before: Mapping[int, int], timeout_s: float = 10.0) -> None:
    """Let brokers drop every record before these offsets, by partition."""
    leaders = cluster.leaders([topic], timeout_s).get(topic, {})
    kind = DeleteRecordsRequest.DeleteRecordsTopic
    by_node: dict[int, list[int]] = {}
    for part in before:
        if part in leaders:
            by_node.setdefault(leaders[part], []).append(part)
    for node, parts in by_node.items():
        wanted = [kind.DeleteRecordsPartition(partition_index=part, offset=before[part]) for part in parts]
        request = DeleteRecordsRequest(
            topics=[kind(name=topic, partitions=wanted)], timeout_ms=int(timeout_s * 1e3), min_version=1, max_version=2
        )
        for answer in cluster.request(node, request, timeout_s).topics[0].partitions:
            if answer.error_code:
                raise answers.error(answer.error_code, f"old records of topic {topic!r} cannot be dropped", topic)


def max_batch_bytes(cluster: Cluster, topic: str, timeout_s: float = 10.0) -> int:
    """What the topic takes in one record batch (``max.message.bytes``); Kafka's default where that may not be asked."""
    kind = DescribeConfigsRequest.DescribeConfigsResource
    wanted = kind(resource_type=_TOPIC, resource_name=topic, configuration_keys=["max.message.bytes"])
    request = DescribeConfigsRequest(resources=[wanted], min_version=1, max_version=4)
    (found,) = cluster.request(None, request, timeout_s).results
    values = [entry.value for entry in found.configs or () if entry.name == "max.message.bytes"]
    return int(values[0]) if not found.error_code and values and values[0] else MAX_BATCH_BYTES
