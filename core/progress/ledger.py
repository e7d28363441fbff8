"""The ledger: the one place where a job's truth lives, and what is written to it in one atomic commit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import pyarrow as pa

#: source name -> partition -> next offset to read
Positions = Mapping[str, Mapping[int, int]]
#: source name -> partition -> (start offset, end offset)
Ranges = Mapping[str, Mapping[int, tuple[int, int]]]


@dataclass(frozen=True, slots=True)
class TopicWrite:
    """Rows for one partition of a topic of the embedded log, to be appended in the ledger's commit."""

    topic: str
    partition: int
    data: pa.RecordBatch


@dataclass(frozen=True, slots=True)
class StateWrite:
    """State of one operator in one shard: all of it (snapshot), or what changed in this epoch (delta).

    A snapshot replaces everything written before it for the same operator and shard.
    """

    operator: str
    shard: int
    kind: Literal["delta", "snapshot"]
    tables: Mapping[str, pa.RecordBatch]


@dataclass(frozen=True, slots=True)
class EpochCommit:
    """Everything that becomes true at once when an epoch is committed."""

    epoch: int
    positions: Positions
    progress: Mapping[str, Any]  # small, JSON: watermarks, counts
    state: Sequence[StateWrite] = ()
    outputs: Sequence[TopicWrite] = ()


@dataclass(frozen=True, slots=True)
class EpochInput:
    """All that the results of an epoch depend on, besides the state before it.

    `last`: it ends the bounded sources, so that everything is emitted; `now_us`: its processing time, by which
    partitions are idle; `remembered`: what sources need besides to read the ranges (`io.base.Remembering`), by source.
    A redo of the epoch with the same input gives the same rows.
    """

    ranges: Ranges
    last: bool = False
    now_us: int = 0
    remembered: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """A JSON document; `from_json` is its inverse."""
        ranges = {name: {str(n): list(range_) for n, range_ in parts.items()} for name, parts in self.ranges.items()}
        return {"ranges": ranges, "last": self.last, "now_us": self.now_us, "remembered": dict(self.remembered)}

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> EpochInput:
        ranges = {
            name: {int(number): (start, end) for number, (start, end) in parts.items()}
            for name, parts in saved["ranges"].items()
        }
        return cls(ranges, saved["last"], saved["now_us"], saved.get("remembered", {}))


@dataclass(frozen=True, slots=True)
class Recovery:
    """What the ledger knows of a job when it is opened."""

    epoch: int = 0  # last committed; 0: the job never committed
    positions: Positions = field(default_factory=dict)
    progress: Mapping[str, Any] = field(default_factory=dict)
    planned: EpochInput | None = None  # written ahead for epoch + 1, if anything was
    owner: int = 0  # grows with every opening of the job
    state: Iterable[StateWrite] = ()  # per operator and shard: its snapshot if any, then the deltas after it, in order


@runtime_checkable
class Caching(Protocol):
    """A ledger far away that can keep a copy of the state at hand."""

    def cache_in(self, folder: Path) -> None:
        """Keep it there; said before `open`. The copy is never believed without a check, and may be gone any time."""


@runtime_checkable
class Restoring(Protocol):
    """A ledger that says how far it is with reading state back."""

    @property
    def restored(self) -> tuple[int, int]:
        """(how much of it, of how much), in a unit of its own; (0, 0) before it begins. From any thread."""


class Ledger(Protocol):
    """Called from one thread at a time."""

    durable: bool  # whether a new process finds what was committed

    def open(self, job: str, plan: Mapping[str, Any]) -> Recovery:
        """Take the job over: any other owner is fenced from here on.

        `plan` is a small JSON document with the key ``fingerprint`` and a readable description of each stateful
        operator; it is stored with the first commit, and a job that was stored with another fingerprint is refused with
        a `StateError` that says what differs.
        """

    def holds(self, log_path: str | None) -> bool:
        """Whether rows for topics of the log at this path are part of this ledger's commit."""

    def write_ahead(self, epoch: int, planned: EpochInput) -> None:
        """Fix the input of `epoch` before any work, for sinks that live outside the ledger."""

    def commit(self, commit: EpochCommit) -> None:
        """All of it or nothing, durable on return. Raises `FencedError` when another process has taken the job over."""

    def close(self) -> None: ...
