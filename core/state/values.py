"""Values that do not fit into an int64 lane: kept in Arrow memory, referred to by number."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from windrow.batch import Int32s, Int64s

#: Values without a reference are tolerated up to the number of those with one, and this many.
_SLACK = 1 << 16
_FEW_CHUNKS = 16


def storage_type(type_: pa.DataType) -> pa.DataType:
    """The type in which values are kept: views become plain strings, which Arrow can take and compare."""
    if pa.types.is_string_view(type_):
        return pa.large_string()
    if pa.types.is_binary_view(type_):
        return pa.large_binary()
    return type_


class ValueStore:
    """An append-only column; what nothing refers to is dropped by `sweep`."""

    def __init__(self, type_: pa.DataType) -> None:
        self.type = type_
        self._stored = storage_type(type_)
        self._chunks: list[pa.Array] = []
        self.size = 0
        self._kept = 0

    def add(self, values: pa.Array) -> Int64s:
        """References of the values, in order."""
        if values.type != self._stored:
            values = values.cast(self._stored)
        self._chunks.append(values)
        refs = np.arange(self.size, self.size + len(values), dtype=np.int64)
        self.size += len(values)
        return refs

    def take(self, refs: Int64s) -> pa.Array:
        """The values, in the storage type."""
        if len(self._chunks) != 1:
            self._chunks = [pa.concat_arrays(self._chunks) if self._chunks else pa.array([], self._stored)]
        return self._chunks[0].take(pa.array(refs))

    def column(self, refs: Int64s, seen: npt.NDArray[np.generic] | None) -> pa.Array:
        """The values as a column of the type asked for; null where not seen."""
        if seen is None or seen.all():
            made = self.take(refs)
        else:
            made = self._taken(pa.array(refs, mask=seen == 0))
        return made if made.type == self.type else made.cast(self.type)

    def _taken(self, refs: pa.Array) -> pa.Array:
        self.take(np.empty(0, np.int64))
        return self._chunks[0].take(refs)

    @property
    def full_of_garbage(self) -> bool:
        return self.size > 2 * self._kept + _SLACK

    def sweep(self, live: Sequence[Int64s]) -> None:
        """Keep only these references; the arrays are rewritten in place."""
        refs = np.concatenate(live) if live else np.empty(0, np.int64)
        self._chunks = [self.take(refs)]
        self.size = self._kept = len(refs)
        start = 0
        for part in live:
            part[:] = np.arange(start, start + len(part))
            start += len(part)

    @property
    def nbytes(self) -> int:
        return sum(chunk.nbytes for chunk in self._chunks)


def gather(numbers: Int32s, chosen: Int32s | slice) -> tuple[npt.NDArray[np.intp], Int64s]:
    """Where the entries of each chosen group lie, group after group, and how many each has.

    `numbers` is the group of each entry; entries of a group keep their order.
    """
    if isinstance(chosen, slice):
        chosen = np.arange(chosen.start or 0, chosen.stop, dtype=np.int32)
    order = np.argsort(numbers, kind="stable")
    ordered = numbers[order]
    starts = np.searchsorted(ordered, chosen, "left")
    counts = np.searchsorted(ordered, chosen, "right") - starts
    steps = np.arange(int(counts.sum())) - np.repeat(np.cumsum(counts) - counts, counts)
    return order[np.repeat(starts, counts) + steps], counts


def list_column(values: pa.Array, counts: Int64s, valid: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    """Consecutive values as lists of these lengths; null where not valid."""
    offsets = np.zeros(len(counts) + 1, np.int32)
    np.cumsum(counts, out=offsets[1:])
    mask = None if valid is None or valid.all() else pa.array(~valid)
    return pa.ListArray.from_arrays(pa.array(offsets), values, mask=mask)


def lists(column: pa.Array) -> tuple[pa.Array, Int32s]:
    """All values of a list column, and the row of each."""
    counts = np.diff(column.offsets.to_numpy())
    return column.flatten(), np.repeat(np.arange(len(column), dtype=np.int32), counts)
