"""Who a job's process is in its consumer group, as a transaction has to know it: brokers fence by it (KIP-447)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from windrow.errors import FencedError
from windrow.io.kafka.producer import GroupOffsets


@dataclass(frozen=True, slots=True)
class Member:
    """A member as of one generation of its group."""

    generation: int
    member: str
    instance: str | None = None


class Standing(Protocol):
    """Tells a ledger who the process is in its group. Both raise `FencedError` once it has lost what it had there."""

    def current(self) -> Member:
        """As of now; asked at every commit."""

    def renewed(self, stale: Member, timeout_s: float) -> Member | None:
        """The one of a later generation than `stale`; None when there is none within the time."""


def standing_of(group: GroupOffsets, standing: Standing, member: Member) -> GroupOffsets:
    """The positions as a member of the group commits them. One that is none by now must not pass for no member."""
    if member.generation < 0 or not member.member:
        raise FencedError(f"this process is no member of group {group.group!r} any more; another has its partitions")

    def renewed(timeout_s: float) -> GroupOffsets | None:
        now = standing.renewed(member, timeout_s)
        return None if now is None else standing_of(group, standing, now)

    return replace(group, generation=member.generation, member=member.member, instance=member.instance, renewed=renewed)
