"""What a stateful operator is: a part that runs where the rows are, and a part that owns a shard's state.

An epoch goes through an operator like this::

    per input task        prepare(batch, side) -> Prepared  no state of the job; threads side by side
    exchange              rows of `Prepared.data` go to shard hash(keys of the side) % shards
    per shard             process(batch, side) for each piece, side by side in their order, each in partition order;
                          then advance(watermark) once

An operator with one input has side 0 only; a join has left (0) and right (1).
    commit                delta() or snapshot() of every shard
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import pyarrow as pa

from windrow.batch import Tables

__all__ = ["OperatorContext", "Prepared", "ShardState", "StatefulOperator", "Tables"]

#: Prepared batches of so many rows are dealt to the shards as they are; smaller ones are put together until then.
DEAL_ROWS = 65_536
#: When a task ends, fewer rows than these are left to be put together with those of other tasks.
LEFT_ROWS = 4_096


@dataclass(frozen=True, slots=True)
class OperatorContext:
    """What the plan tells an operator besides its spec: how many shards there are, which columns of its result are
    read, and whether (if its rows are changes of a Table) a row that is replaced must be taken back with weight -1."""

    shards: int
    columns: tuple[str, ...]
    retract: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """What `prepare` makes of a batch: rows (or partial aggregates) for the shards, and the rows that came too late."""

    data: pa.RecordBatch | None
    late: pa.RecordBatch | None = None


class ShardState(Protocol):
    """One shard of a stateful operator. Used by one thread at a time."""

    @property
    def nbytes(self) -> int:
        """Bytes of state held, roughly."""

    def process(self, data: pa.RecordBatch, side: int = 0) -> None:
        """Take rows that `prepare` made of that side, all of this shard."""

    def advance(self, watermark_us: int) -> Iterable[pa.RecordBatch]:
        """The epoch's rows are all in: emit what is to be emitted, and drop what is no longer needed.

        The rows may be made while they are asked for; whoever calls takes them all before anything else."""

    def delta(self) -> Tables:
        """What changed since the last call of `delta` or `snapshot`; after `restore` of everything before it, and this,
        the state is what it is now. Called after `advance`."""

    def snapshot(self) -> Tables:
        """The whole state. Starts a new series of deltas."""

    def restore(self, snapshot: Tables | None, deltas: Sequence[Tables]) -> None:
        """Become what was saved; called once, on a new object. Raises `StateError` when the tables do not fit."""


@runtime_checkable
class TakesPieces(Protocol):
    """A shard that keeps rows as they come: it wants pieces as they are, not put together for it."""

    def process_pieces(self, pieces: Sequence[pa.RecordBatch], side: int) -> None:
        """As `process` for each of them in turn."""


@runtime_checkable
class Clocked(Protocol):
    """A shard that sends rows by processing time."""

    def at(self, now_us: int) -> None:
        """The time of the epoch, before `advance`; a redo of the epoch has the same."""

    def due(self, now_us: int) -> bool:
        """Whether an epoch is wanted although no event has come."""


class StatefulOperator(Protocol):
    """A stateful operator of a job: holds no state itself."""

    name: str

    @property
    def keys(self) -> tuple[tuple[str, ...], ...]:
        """For each side the columns of `Prepared.data` by which it is exchanged; none: everything goes to shard 0."""

    def prepare(self, batch: pa.RecordBatch, side: int = 0) -> Prepared:
        """Stateless and thread-safe. Finds late rows, and aggregates inside the batch where that makes it smaller."""

    def close_until(self, watermark_us: int) -> None:
        """All windows that end at or before this are closed. Called between epochs, and after a restore."""

    def shard(self, number: int) -> ShardState: ...
