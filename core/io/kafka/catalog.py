"""What brokers say of topics: partitions, leaders, and where offsets stand. Every question has a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from kafka.protocol.consumer import ListOffsetsRequest, OffsetFetchRequest
from kafka.protocol.metadata import MetadataRequest

from windrow.errors import BrokerError
from windrow.io.kafka.client import NotReachedError
from windrow.io.kafka.layout import TopicPartition

EARLIEST = -2
LATEST = -1
#: What goes away by itself: the leader moved, a broker starts, the coordinator loads.
RETRIABLE = frozenset({-1, 2, 3, 5, 6, 7, 9, 13, 14, 15, 16, 56, 74, 75, 78, 88, 100, 103})
NO_TOPIC = frozenset({3, 100, 103})
NOT_ALLOWED = 29
GROUP_NOT_ALLOWED = 30
_READ_COMMITTED = 1
_PAUSE_S = 0.1


class Requests(Protocol):
    """What is needed of a cluster's client."""

    settings: Mapping[str, Any]  # of connections: TLS context, SASL mechanism, credentials

    def request(self, node: int | None, request: Any, timeout_s: float) -> Any:
        """The answer of a broker (None: any); raises `BrokerError` when there is none in time."""

    def coordinator(self, kind: str, key: str, timeout_s: float, *, refresh: bool = False) -> int:
        """The broker that keeps a group's offsets (kind ``group``)."""


@dataclass(frozen=True, slots=True)
class Leader:
    """Who serves a partition."""

    node: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic as the brokers describe it; a partition without a leader at the moment has none here."""

    name: str
    id: UUID
    partitions: int
    leaders: Mapping[int, Leader]


@dataclass(slots=True)
class Catalog:
    """What was last heard of a cluster."""

    brokers: dict[int, tuple[str, int]] = field(default_factory=dict)
    topics: dict[str, Topic] = field(default_factory=dict)


def catalog(cluster: Requests, wanted: Sequence[str] | Callable[[str], bool], timeout_s: float) -> Catalog:
    """The wanted topics: by name, or all whose name the function takes.

    A named topic that is missing is left out. Raises `BrokerError` when one may not be read.
    """
    names = None if callable(wanted) else list(wanted)
    request = MetadataRequest(
        topics=None if names is None else [MetadataRequest.MetadataRequestTopic(name=name) for name in names],
        allow_auto_topic_creation=False,
        min_version=10,
    )
    answer = cluster.request(None, request, timeout_s)
    found = Catalog({broker.node_id: (broker.host, broker.port) for broker in answer.brokers})
    for topic in answer.topics:
        if callable(wanted) and (topic.is_internal or not wanted(topic.name)):
            continue
        if topic.error_code == NOT_ALLOWED:
            raise BrokerError(f"topic {topic.name!r} may not be read: the ACL Describe and Read on it is missing")
        if topic.error_code == 17:
            raise BrokerError(f"{topic.name!r} is no name that a topic can have")
        if not topic.error_code:
            leaders = {
                part.partition_index: Leader(part.leader_id, part.leader_epoch)
                for part in topic.partitions
                if part.leader_id >= 0
            }
            found.topics[topic.name] = Topic(topic.name, topic.topic_id, len(topic.partitions), leaders)
    return found


def list_offsets(
    cluster: Requests,
    topics: Sequence[str],
    wanted: Mapping[TopicPartition, int],
    timeout_s: float,
    seen: Catalog | None = None,
) -> dict[TopicPartition, int]:
    """The offset at a time (ms), or at `EARLIEST` or `LATEST`, of each partition.

    The latest is the last stable offset: what a reader of committed records can come to. A time after the last record
    gives -1. `seen`: what is known already of who leads. Partitions whose leader moves are asked again; raises
    `BrokerError` when one has no answer in time.
    """
    deadline_s = time.monotonic() + timeout_s
    left, found = dict(wanted), dict[TopicPartition, int]()
    trouble = "they have no leader"
    while left:
        seen = seen or catalog(cluster, topics, max(deadline_s - time.monotonic(), 0.1))
        for node, places in _by_leader(seen, left).items():
            try:
                answers = _listed(cluster, node, {place: left[place] for place in places}, deadline_s)
            except BrokerError as error:
                trouble = str(error)
                continue
            for place, (error_code, offset) in answers.items():
                if not error_code:
                    found[place] = offset
                    del left[place]
                elif error_code not in RETRIABLE:
                    raise BrokerError(f"{_shown([place])}: no offset can be had, error {error_code}")
        seen = None
        if left:
            if time.monotonic() >= deadline_s:
                raise BrokerError(f"no offset of {_shown(left)} could be had in {timeout_s:g} s: {trouble}")
            time.sleep(_PAUSE_S)
    return found


def _listed(
    cluster: Requests, node: int, wanted: Mapping[TopicPartition, int], deadline_s: float
) -> dict[TopicPartition, tuple[int, int]]:
    grouped = _by_topic(wanted)
    request = ListOffsetsRequest(
        replica_id=-1,
        isolation_level=_READ_COMMITTED,
        topics=[
            ListOffsetsRequest.ListOffsetsTopic(
                name=name,
                partitions=[
                    ListOffsetsRequest.ListOffsetsTopic.ListOffsetsPartition(
                        partition_index=part, timestamp=wanted[name, part]
                    )
                    for part in parts
                ],
            )
            for name, parts in grouped.items()
        ],
        min_version=2,
    )
    answer = cluster.request(node, request, max(deadline_s - time.monotonic(), 0.1))
    return {
        (topic.name, part.partition_index): (part.error_code, part.offset)
        for topic in answer.topics
        for part in topic.partitions
    }


def committed(
    cluster: Requests, group: str, places: Iterable[TopicPartition], timeout_s: float
) -> dict[TopicPartition, int]:
    """What a consumer group has committed; partitions of which it has not are left out.

    Waits until no transaction is about to change it (``require_stable``).
    """
    return {place: at for place, (at, _) in committed_with_words(cluster, group, places, timeout_s).items()}


def committed_with_words(
    cluster: Requests, group: str, places: Iterable[TopicPartition], timeout_s: float
) -> dict[TopicPartition, tuple[int, str]]:
    """`committed`, each with what was said along with it."""
    deadline_s = time.monotonic() + timeout_s
    topics = [
        OffsetFetchRequest.OffsetFetchRequestTopic(name=name, partition_indexes=list(parts))
        for name, parts in _by_topic(places).items()
    ]
    trouble = ""
    while time.monotonic() < deadline_s:
        node = cluster.coordinator("group", group, max(deadline_s - time.monotonic(), 0.1), refresh=bool(trouble))
        request = OffsetFetchRequest(group_id=group, topics=topics, require_stable=True, min_version=7, max_version=7)
        try:
            answer = cluster.request(node, request, max(deadline_s - time.monotonic(), 0.1))
        except NotReachedError as error:  # by now another may coordinate
            trouble = str(error)
            continue
        if answer.error_code == GROUP_NOT_ALLOWED:
            raise BrokerError(f"group {group!r} may not be read: the ACL Read (or Describe) on the group is missing")
        parts = [(topic.name, part) for topic in answer.topics for part in topic.partitions]
        code = next((p.error_code for _, p in parts if p.error_code), answer.error_code)
        if not code:
            return {
                (name, part.partition_index): (part.committed_offset, part.metadata or "")
                for name, part in parts
                if part.committed_offset >= 0
            }
        trouble = f"error {code}"
        if code not in RETRIABLE:
            break
        time.sleep(_PAUSE_S)
    raise BrokerError(f"what group {group!r} has committed could not be had in {timeout_s:g} s: {trouble}")


def _by_leader(seen: Catalog, places: Iterable[TopicPartition]) -> dict[int, list[TopicPartition]]:
    grouped: dict[int, list[TopicPartition]] = {}
    for name, part in places:
        leader = seen.topics[name].leaders.get(part) if name in seen.topics else None
        if leader is not None:
            grouped.setdefault(leader.node, []).append((name, part))
    return grouped


def _by_topic(places: Iterable[TopicPartition]) -> dict[str, list[int]]:
    grouped: dict[str, list[int]] = {}
    for name, part in places:
        grouped.setdefault(name, []).append(part)
    return grouped


def _shown(places: Iterable[TopicPartition]) -> str:
    return ", ".join(f"{name}[{part}]" for name, part in places)
