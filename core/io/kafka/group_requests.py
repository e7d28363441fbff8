"""What a member asks the coordinator of its group: Kafka's classic group protocol, with static members (KIP-345)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kafka.protocol.consumer.group import HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest

from windrow.io.kafka.options import Waits

#: What the way of dealing partitions is called in the group; members with another one are refused by the brokers.
PROTOCOL = "windrow-1"
_TYPE = "consumer"


@dataclass(frozen=True, slots=True)
class GroupRequests:
    """Requests of a member of `group`; `instance` is the name of a static member."""

    group: str
    instance: str | None

    def join(self, member_id: str, waits: Waits, subscription: bytes) -> Any:
        kind = JoinGroupRequest.JoinGroupRequestProtocol
        return JoinGroupRequest(
            group_id=self.group,
            session_timeout_ms=waits.session_timeout_ms,
            rebalance_timeout_ms=waits.rebalance_timeout_ms,
            member_id=member_id,
            group_instance_id=self.instance,
            protocol_type=_TYPE,
            protocols=[kind(name=PROTOCOL, metadata=subscription)],
            min_version=5,
            max_version=9,
        )

    def sync(self, member_id: str, generation: int, parts: Mapping[str, bytes]) -> Any:
        """`parts`: what the leader deals to each member; empty from all others."""
        kind = SyncGroupRequest.SyncGroupRequestAssignment
        return SyncGroupRequest(
            group_id=self.group,
            generation_id=generation,
            member_id=member_id,
            group_instance_id=self.instance,
            protocol_type=_TYPE,
            protocol_name=PROTOCOL,
            assignments=[kind(member_id=member, assignment=dealt) for member, dealt in parts.items()],
            min_version=3,
            max_version=5,
        )

    def heartbeat(self, member_id: str, generation: int) -> Any:
        return HeartbeatRequest(
            group_id=self.group,
            generation_id=generation,
            member_id=member_id,
            group_instance_id=self.instance,
            min_version=3,
            max_version=4,
        )

    def leave(self, member_id: str) -> Any:
        kind = LeaveGroupRequest.MemberIdentity
        return LeaveGroupRequest(
            group_id=self.group,
            members=[kind(member_id=member_id, group_instance_id=self.instance)],
            min_version=3,
            max_version=5,
        )
