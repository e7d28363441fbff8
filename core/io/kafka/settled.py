"""Whether transactions that have ended have reached every partition: a look at what leaders know of a producer.

Brokers of 4.3 and 4.4 skip a partition that has no leader at the moment when the markers are written, as if its topic
had been deleted (KAFKA-20734; seen with partitions of one replica whose broker was down): records that nobody sees,
until the end of a later transaction of the same producer id commits them along with it, and they are there twice.
Leaders say so when asked (DescribeProducers, KIP-664, Kafka 2.8).
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

from kafka.protocol.admin import DescribeProducersRequest

from windrow.errors import BrokerError
from windrow.io.kafka import answers
from windrow.io.kafka.client import Cluster
from windrow.io.kafka.producer import Place, by_topic

SETTLE_S = 20.0  # how long the end of a transaction may take to reach a partition
_PAUSE_S = 0.05
_ASK_S = 30.0


def await_settled(cluster: Cluster, producer_id: int, places: Iterable[Place], whose: str) -> None:
    """Wait until no transaction of this producer id is open in any of `places`; called when none should be.

    `whose` begins the sentence of the `BrokerError` that is raised when one stays open. Partitions of topics that may
    not be read are not looked at, nor those of topics that are not there.
    """
    left = set(places)
    deadline_s = time.monotonic() + SETTLE_S
    patience_s = time.monotonic() + _ASK_S
    refresh = False
    while left:
        found = _open(cluster, producer_id, left, refresh)
        left = set(found)
        opened = {place: at for place, at in found.items() if at >= 0}
        if opened and time.monotonic() >= deadline_s:
            (topic, part), at = min(opened.items())
            raise BrokerError(
                f"{whose}: a transaction is open in topic {topic!r}, partition {part}, from offset {at} on, although "
                "the brokers say that there is none: a broker lost its end. Abort it in every topic that it wrote to "
                "(kafka-transactions.sh find-hanging, then abort) and start again"
            )
        if left and not opened and time.monotonic() >= patience_s:
            topic, part = min(left)
            raise BrokerError(f"{whose}: nobody says what is open in topic {topic!r}, partition {part}")
        refresh = bool(left)
        time.sleep(_PAUSE_S if left else 0)


def _open(cluster: Cluster, producer_id: int, places: Iterable[Place], refresh: bool) -> dict[Place, int]:
    """Places that are not known to be settled: where the producer's transaction begins, -1 where nobody answers."""
    found: dict[Place, int] = {}
    by_node: dict[int, list[Place]] = {}
    wanted = by_topic(dict.fromkeys(places))
    leaders = cluster.leaders(set(wanted), _ASK_S, refresh=refresh)
    for topic, parts in wanted.items():
        for part in parts if topic in leaders else ():
            node = leaders[topic].get(part)
            if node is None:
                found[topic, part] = -1
            else:
                by_node.setdefault(node, []).append((topic, part))
    for node, some in by_node.items():
        kind = DescribeProducersRequest.TopicRequest
        asked = [kind(name=name, partition_indexes=parts) for name, parts in by_topic(dict.fromkeys(some)).items()]
        try:
            answer = cluster.request(node, DescribeProducersRequest(topics=asked, max_version=0), _ASK_S)
        except BrokerError:  # the broker may be away
            found |= dict.fromkeys(some, -1)
            continue
        found |= _said(answer, producer_id)
    return found


def _said(answer: Any, producer_id: int) -> dict[Place, int]:
    found: dict[Place, int] = {}
    for topic in answer.topics:
        for part in topic.partitions:
            place = (topic.name, part.partition_index)
            if part.error_code in answers.RETRIABLE:
                found[place] = -1
            elif part.error_code and part.error_code != answers.TOPIC_DENIED:
                raise answers.error(part.error_code, f"producers of topic {topic.name!r} are not shown", topic.name)
            for one in part.active_producers or ():
                if one.producer_id == producer_id and one.current_txn_start_offset >= 0:
                    found[place] = one.current_txn_start_offset
    return found
