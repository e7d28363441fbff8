"""Who in a group works on which partitions: even, moving as little as can be, and nothing that somebody still holds.

The unit is a partition's number: of several topics those with the same number go together. Written down as any
consumer does (Kafka's ConsumerProtocolSubscription and ConsumerProtocolAssignment, version 3), so that Kafka's tools
show it.
The rules of moving are those of the cooperative protocol (KIP-429): a partition that is to move is taken from its
holder first, and is dealt again when the holder has given it back; of two that claim one, the claim of the later
generation counts (KIP-792).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from kafka.protocol.consumer.metadata import ConsumerProtocolAssignment, ConsumerProtocolSubscription

_VERSION = 3


@dataclass(frozen=True, slots=True)
class Claim:
    """What a member says when it joins: the partitions it holds, and the generation that gave them to it."""

    parts: frozenset[int] = frozenset()
    generation: int = -1


def assign(claims: Mapping[str, Claim], count: int) -> dict[str, list[int]]:
    """Member -> the partitions of ``0 .. count - 1`` that are its own now, ascending.

    Shares differ by one at most once all that moves has been given back; until then those are nobody's.
    """
    holders = _holders(claims, count)
    held: dict[str, list[int]] = {member: [] for member in sorted(claims)}
    for part, member in sorted(holders.items()):
        held[member].append(part)
    share, over = divmod(count, len(held))
    kept: dict[str, list[int]] = {}
    for number, member in enumerate(sorted(held, key=lambda name: (-len(held[name]), name))):
        kept[member] = held[member][: share + (number < over)]
    free = [part for part in range(count) if part not in {p for parts in kept.values() for p in parts}]
    for part in free:
        member = min(kept, key=lambda name: (len(kept[name]), name))
        kept[member].append(part)
    return {member: sorted(p for p in parts if holders.get(p, member) == member) for member, parts in kept.items()}


def _holders(claims: Mapping[str, Claim], count: int) -> dict[int, str]:
    holders: dict[int, str] = {}
    for member in sorted(claims, key=lambda name: (claims[name].generation, name)):  # the last one counts
        holders.update({part: member for part in claims[member].parts if part < count})
    return holders


def subscription(topics: Sequence[str], claim: Claim) -> bytes:
    """What a member sends of itself."""
    kind = ConsumerProtocolSubscription.TopicPartition
    parts = sorted(claim.parts)
    return cast(
        bytes,
        ConsumerProtocolSubscription(
            version=_VERSION,
            topics=sorted(topics),
            user_data=b"",
            owned_partitions=[kind(topic=topic, partitions=parts) for topic in sorted(topics)] if parts else [],
            generation_id=claim.generation,
            rack_id=None,
        ).encode(),
    )


def claim_of(data: bytes) -> Claim:
    """What `subscription` said."""
    said = ConsumerProtocolSubscription.decode(data)
    return Claim(_numbers(said.owned_partitions), said.generation_id)


def assignment(topics: Sequence[str], parts: Iterable[int]) -> bytes:
    """What the leader sends to a member."""
    kind = ConsumerProtocolAssignment.TopicPartition
    numbers = sorted(parts)
    dealt = [kind(topic=topic, partitions=numbers) for topic in sorted(topics)] if numbers else []
    return cast(bytes, ConsumerProtocolAssignment(version=_VERSION, assigned_partitions=dealt, user_data=b"").encode())


def parts_of(data: bytes) -> frozenset[int]:
    """What `assignment` said; nothing when it is empty."""
    return _numbers(ConsumerProtocolAssignment.decode(data).assigned_partitions) if data else frozenset()


def _numbers(dealt: Iterable[ConsumerProtocolAssignment.TopicPartition]) -> frozenset[int]:
    return frozenset(number for topic in dealt or () for number in topic.partitions)
