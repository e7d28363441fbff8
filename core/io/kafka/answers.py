"""What brokers' error codes mean for a job: worth another try, not allowed, or somebody else's turn; and the sentence.

Codes are those of the protocol (kafka.apache.org, "Protocol Error Codes").
"""

from __future__ import annotations

import kafka.errors as kafka_errors

from windrow.errors import BrokerError, FencedError, WindrowError

UNKNOWN_TOPIC = 3
MESSAGE_TOO_LARGE = 10
NOT_COORDINATOR = 16
RECORD_LIST_TOO_LARGE = 18
TOPIC_DENIED = 29
GROUP_DENIED = 30
CLUSTER_DENIED = 31
TOPIC_EXISTS = 36
INVALID_PARTITIONS = 37
TRANSACTIONAL_ID_DENIED = 53
CONCURRENT_TRANSACTIONS = 51

#: What goes away by itself: a leader or a coordinator moves, starts or loads; too few replicas; an end being written.
RETRIABLE = frozenset({3, 5, 6, 7, 8, 9, 13, 14, 15, 16, 19, 20, 51, 56, 74, 75, 78, 88, 89, 100, 103})
#: Whoever holds the coordinator or the leader in mind has to look again.
MOVED = frozenset({3, 5, 6, 9, 13, 14, 15, 16, 74, 75, 100, 103})
#: Another producer has the transactional id, another member the group.
FENCED = frozenset({22, 25, 47, 49, 82, 90, 113})
#: The group has another generation by now: a member that still is one asks again with that.
REGROUPED = frozenset({22, 27})
DENIED = frozenset({TOPIC_DENIED, GROUP_DENIED, CLUSTER_DENIED, TRANSACTIONAL_ID_DENIED})
TOO_LARGE = frozenset({MESSAGE_TOO_LARGE, RECORD_LIST_TOO_LARGE})

_REPLICAS = "fewer replicas are in sync than min.insync.replicas asks for, or a broker is still starting"
#: What somebody has to look after, where the name alone does not say it.
_MEANING = {
    15: "a broker is away, or too few replicas of __transaction_state or __consumer_offsets are in sync",
    19: _REPLICAS,
    20: _REPLICAS,
    51: "the one before is not ended everywhere: a broker is away, or too few replicas of a topic are in sync",
}

_ACLS = {
    TOPIC_DENIED: "Read and Describe on topics that are read, Write and Describe on topics that are written",
    GROUP_DENIED: "Read on the group",
    CLUSTER_DENIED: "the right on the cluster (Create, to make topics)",
    TRANSACTIONAL_ID_DENIED: "Write and Describe on the transactional id",
}


class DeniedError(BrokerError):
    """An ACL is missing: asking again does not help."""


def name(code: int) -> str:
    """The protocol's name of a code, with its number, and with what it means where that is somebody's work."""
    kind = kafka_errors.for_code(code)
    text = getattr(kind, "message", None) or kind.__name__
    meaning = f", {_MEANING[code]}" if code in _MEANING else ""
    return f"{text} ({code}{meaning})"


def error(code: int, what: str, resource: str = "") -> WindrowError:
    """`what` went wrong with this code: the error to raise."""
    if code in DENIED:
        of = f" {resource!r}" if resource else ""
        return DeniedError(f"{what}: not allowed; the ACL for{of} is missing: {_ACLS[code]}")
    if code in FENCED:
        return FencedError(f"{what}: another process has taken over, the brokers say {name(code)}")
    return BrokerError(f"{what}: the brokers say {name(code)}")
