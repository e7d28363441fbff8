"""Dead letters that are sent again: what is the same wherever they are kept.

What was sent is remembered in the same commit, by the letter's own place and the topic that it was sent to. So a replay
that is repeated, or was killed, goes on where it was, and no letter comes to a topic twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import pyarrow as pa

from windrow.batch import Int64s
from windrow.io.base import DEAD_LETTER

#: Dead letters as they are read: what they say (null where we have not written them) and where they lie themselves.
LETTERS = pa.schema(
    [
        *(field.with_nullable(True) for field in DEAD_LETTER),
        pa.field("at_partition", pa.int64(), nullable=False),
        pa.field("at_offset", pa.int64(), nullable=False),
    ]
)
Mask = np.ndarray[tuple[int], np.dtype[np.bool_]]
#: (topic, partition) -> records that were sent there.
Counts = dict[tuple[str, int], int]


def remembering(topic: str) -> str:
    """The topic that remembers which dead letters of `topic` were sent."""
    return f"{topic}-replayed"


@dataclass(slots=True)
class Sent:
    """Which letters were sent to which topic: offset ranges by (target, partition of the letters)."""

    _ranges: dict[tuple[str, int], list[tuple[int, int]]] = field(default_factory=dict)

    def add(self, target: str, partition: int, first: int, end: int) -> None:
        """Know ``[first, end)`` as sent."""
        self._ranges.setdefault((target, partition), []).append((first, end))

    def has(self, target: str, partition: int, offsets: Int64s) -> Mask:
        """Which of `offsets` were sent."""
        ranges = self._merged(target, partition)
        if not len(ranges):
            return np.zeros(len(offsets), bool)
        at = np.searchsorted(ranges[:, 0], offsets, side="right") - 1
        found: Mask = (at >= 0) & (offsets < ranges[at, 1])
        return found

    def _merged(self, target: str, partition: int) -> Int64s:
        """The ranges ascending and apart, as (n, 2)."""
        merged: list[tuple[int, int]] = []
        for first, end in sorted(self._ranges.get((target, partition), ())):
            if merged and first <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
            else:
                merged.append((first, end))
        self._ranges[target, partition] = merged
        return np.array(merged, np.int64).reshape(-1, 2)


def targets(letters: pa.RecordBatch, to: str | None) -> pa.Array:
    """The topic that each letter goes to: `to`, else the one that it came from; null where that is not known."""
    return letters.column("topic") if to is None else pa.repeat(to, letters.num_rows)


def unsent(letters: pa.RecordBatch, to: str | None, sent: Sent) -> Mask:
    """Which letters have somewhere to go and were not sent there yet."""
    left = np.zeros(letters.num_rows, bool)
    for (target, partition), rows in groups(targets(letters, to), letters.column("at_partition")):
        offsets = letters.column("at_offset").to_numpy(zero_copy_only=False)[rows]
        left[rows] = ~sent.has(target, partition, offsets)
    return left


def groups(topics: pa.Array, partitions: pa.Array) -> Iterator[tuple[tuple[str, int], Int64s]]:
    """The rows of each topic and partition, in order; rows without a topic are left out."""
    table = pa.table({"topic": topics, "partition": partitions, "row": np.arange(len(topics))})
    found = table.group_by(["topic", "partition"], use_threads=False).aggregate([("row", "list")]).to_pylist()
    for one in found:
        if one["topic"] is not None and one["partition"] is not None:
            yield (one["topic"], one["partition"]), np.array(one["row_list"], np.int64)


def ranges(offsets: Int64s) -> list[tuple[int, int]]:
    """Ascending offsets as half-open ranges."""
    if not len(offsets):
        return []
    cuts = np.flatnonzero(np.diff(offsets) != 1) + 1
    return [(int(some[0]), int(some[-1]) + 1) for some in np.split(offsets, cuts)]


def marks(letters: pa.RecordBatch, to: str | None) -> Iterator[tuple[str, int, list[tuple[int, int]]]]:
    """(target, partition, ranges) to remember when these letters are sent."""
    offsets = letters.column("at_offset").to_numpy(zero_copy_only=False)
    for (target, partition), rows in groups(targets(letters, to), letters.column("at_partition")):
        yield target, partition, ranges(np.sort(offsets[rows]))


class Replay(Protocol):
    """Sends dead letters of one topic, each once to each topic. Opened for looking it writes nothing."""

    def letters(self) -> Iterator[pa.RecordBatch]:
        """All that are there now, as `LETTERS`, partition after partition or mixed, each partition in order."""

    def letter(self, partition: int, offset: int) -> pa.RecordBatch:
        """One of them, by its own place. Raises `RecordError` when there is none."""

    def unsent(self, letters: pa.RecordBatch, to: str | None) -> Mask:
        """Which of them have somewhere to go, and were not sent there: to `to`, or where they came from."""

    def would_send(self, letters: pa.RecordBatch, to: str | None) -> Counts:
        """What `send` would send of letters that were not sent yet; raises when a topic is not there."""

    def send(self, letters: pa.RecordBatch, to: str | None) -> Counts:
        """Send letters that were not sent yet, all or none, and remember it.

        Each goes to the partition that it came from, in another topic to that of its key. Raises when a topic is not
        there, or a letter is too large for it, and `FencedError` when another replay of the same letters has begun.
        """

    def close(self) -> None: ...


def added(counts: Sequence[Counts]) -> Counts:
    """Their sum."""
    total: Counts = {}
    for one in counts:
        for place, count in one.items():
            total[place] = total.get(place, 0) + count
    return total
