"""What a group is: several instances of one job that share the partitions of its input, each partition by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from windrow.progress.ledger import Ledger


@dataclass(frozen=True, slots=True)
class View:
    """What this instance has in the group.

    `assigned` partitions are its own; `held` are those it has not given back. Both belong to a `life`, which ends when
    the instance is lost to the group: what was begun in it is to be thrown away. `settled`: nothing is about to change
    that is known here.
    """

    life: int
    assigned: frozenset[int]
    held: frozenset[int]
    settled: bool


class Group(Protocol):
    """This instance's place in the group; used by one thread, `ledger`, `count` and `fresh` by any."""

    def view(self) -> View:
        """As of now. Raises what has ended the membership for good, `FencedError` or `BrokerError`."""

    def alive(self) -> None:
        """Say that the work goes on: an instance that does not for too long is lost."""

    def give_back(self, partition: int, life: int) -> None:
        """Say that the partition is committed and closed, or given up, so that another one can have it."""

    def wait(self, timeout_s: float) -> None:
        """Return when the view may have changed, or after the time."""

    def ledger(self, partition: int, life: int) -> Ledger:
        """The ledger of that partition; it commits nothing once the life has ended."""

    def count(self) -> int:
        """How many partitions there are."""

    def fresh(self, partition: int) -> bool:
        """Whether the partition came after the job began, so that it is read from its first record."""

    @property
    def patience_s(self) -> float:
        """How long the work may stand still before the instance is lost."""

    def close(self) -> None:
        """Leave the group."""
