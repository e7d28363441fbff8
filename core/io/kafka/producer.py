"""The requests of a transaction, in the newest version that both protocols of transactions know."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kafka.protocol.producer import (
    AddOffsetsToTxnRequest,
    AddPartitionsToTxnRequest,
    EndTxnRequest,
    InitProducerIdRequest,
    ProduceRequest,
    TxnOffsetCommitRequest,
)

from windrow.codec.kafka_encode import EncodedBatch

#: (topic, partition)
Place = tuple[str, int]

_ALL_REPLICAS = -1
_PRODUCE_S = 30.0  # how long a leader waits for its followers


@dataclass(frozen=True, slots=True)
class GroupOffsets:
    """Input positions for a consumer group; member and generation fence one that has lost its partitions (KIP-447).

    `renewed` gives the same for the generation after, when the group has moved on: within the seconds given, or None;
    it raises `FencedError` when the member is none any more.
    """

    group: str
    offsets: Mapping[Place, int]
    metadata: str = ""
    generation: int = -1
    member: str = ""
    instance: str | None = None
    renewed: Callable[[float], GroupOffsets | None] | None = None


@dataclass(frozen=True, slots=True)
class Producer:
    """Who writes: the producer id and producer epoch that the coordinator gave; `newer` is the protocol of KIP-890."""

    transactional_id: str
    id: int = -1
    epoch: int = -1
    newer: bool = False

    def initialise(self, timeout_ms: int, *, first: bool) -> Any:
        """A new producer epoch; with the one in hand unless `first`, so that a zombie is refused (KIP-360)."""
        return InitProducerIdRequest(
            transactional_id=self.transactional_id,
            transaction_timeout_ms=timeout_ms,
            producer_id=-1 if first else self.id,
            producer_epoch=-1 if first else self.epoch,
            min_version=3,
            max_version=5,
        )

    def add_partitions(self, places: Mapping[Place, Any]) -> Any:
        """On the older protocol a partition joins the transaction before it is written to."""
        kind = AddPartitionsToTxnRequest.AddPartitionsToTxnTopic
        return AddPartitionsToTxnRequest(
            v3_and_below_transactional_id=self.transactional_id,
            v3_and_below_producer_id=self.id,
            v3_and_below_producer_epoch=self.epoch,
            v3_and_below_topics=[kind(name=name, partitions=parts) for name, parts in by_topic(places).items()],
            max_version=3,
        )

    def add_group(self, group: str) -> Any:
        """On the older protocol a group joins the transaction before its positions are committed."""
        return AddOffsetsToTxnRequest(
            transactional_id=self.transactional_id,
            producer_id=self.id,
            producer_epoch=self.epoch,
            group_id=group,
            max_version=3,
        )

    def produce(
        self, places: Sequence[Place], batches: Mapping[Place, EncodedBatch], sequences: Mapping[Place, int]
    ) -> Any:
        """One record batch for each of `places`."""
        kind = ProduceRequest.TopicProduceData
        topics: dict[str, list[Any]] = {}
        for place in places:
            stamped = batches[place].stamped(self.id, self.epoch, sequences[place], True)
            topics.setdefault(place[0], []).append(kind.PartitionProduceData(index=place[1], records=stamped))
        return ProduceRequest(
            transactional_id=self.transactional_id,
            acks=_ALL_REPLICAS,
            timeout_ms=int(_PRODUCE_S * 1_000),
            topic_data=[kind(name=name, partition_data=parts) for name, parts in topics.items()],
            min_version=12 if self.newer else 3,
            max_version=12 if self.newer else 11,
        )

    def commit_offsets(self, group: GroupOffsets) -> Any:
        """The positions of a group, as part of the transaction."""
        kind = TxnOffsetCommitRequest.TxnOffsetCommitRequestTopic
        partition = kind.TxnOffsetCommitRequestPartition
        topics = [
            kind(
                name=name,
                partitions=[
                    partition(
                        partition_index=part,
                        committed_offset=group.offsets[name, part],
                        committed_leader_epoch=-1,
                        committed_metadata=group.metadata,
                    )
                    for part in parts
                ],
            )
            for name, parts in by_topic(group.offsets).items()
        ]
        return TxnOffsetCommitRequest(
            transactional_id=self.transactional_id,
            group_id=group.group,
            producer_id=self.id,
            producer_epoch=self.epoch,
            generation_id=group.generation,
            member_id=group.member,
            group_instance_id=group.instance,
            topics=topics,
            min_version=5 if self.newer else 3,
            max_version=5 if self.newer else 4,
        )

    def end(self, *, committed: bool) -> Any:
        """Commit or abort; the newer protocol answers with the producer epoch of the next transaction."""
        newer = self.newer and committed  # only the older protocol is aborted by a request: see `Transactions`
        return EndTxnRequest(
            transactional_id=self.transactional_id,
            producer_id=self.id,
            producer_epoch=self.epoch,
            committed=committed,
            min_version=5 if newer else 1,
            max_version=5 if newer else 4,
        )


def by_topic(places: Mapping[Place, Any]) -> dict[str, list[int]]:
    """topic -> its partitions, in the order in which they come."""
    grouped: dict[str, list[int]] = {}
    for topic, part in places:
        grouped.setdefault(topic, []).append(part)
    return grouped
