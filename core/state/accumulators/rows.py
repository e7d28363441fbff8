"""Accumulators of many groups in parallel arrays: what panes, sessions and tables are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from windrow.batch import ALL_VALID, Bytes, Int32s
from windrow.kernels.groupagg import mark
from windrow.state.accumulators.base import Accumulator, Chosen, Lanes
from windrow.state.columns import Inputs, all_rows, grown

PRESENT = np.uint8(1)  # the group has had a row
DIRTY = np.uint8(2)  # it has changed since its last save
CHANGED = np.uint8(4)  # it has changed since its last emission

_SOME = 32  # one group in so many is looked up as fast as all are looked at (0.3 ns each; 10 ns with the sort)

_NO_LIST: Int32s = np.empty(0, np.int32)


class _Listed:
    """The rows that have a bit set, so that they are found without looking at all rows."""

    def __init__(self, bit: np.uint8, capacity: int) -> None:
        self._bit = bit
        self._rows: Int32s = np.empty(capacity, np.int32)
        self._count = 0

    def grow(self, capacity: int) -> None:
        rows = np.empty(capacity, np.int32)
        rows[: self._count] = self._rows[: self._count]
        self._rows = rows

    def mark(self, ids: Int32s, bits: np.uint8, flags: Bytes) -> None:
        self._count = mark(ids, ALL_VALID, bits, self._bit, flags, self._rows, self._count)

    def add(self, rows: Int32s) -> None:
        self._rows[self._count : self._count + len(rows)] = rows
        self._count += len(rows)

    def rows(self, flags: Bytes) -> Int32s:
        """In order; those that were forgotten are left out."""
        if self._are_many(flags):
            return np.flatnonzero(flags & self._bit).astype(np.int32)
        rows = np.sort(self._rows[: self._count])
        listed: Int32s = rows[(flags[rows] & self._bit) != 0]
        return listed

    def drop(self, rows: Int32s, flags: Bytes) -> None:
        """These have the bit no more."""
        flags[rows] &= ~self._bit
        left = self.rows(flags)
        self._rows[: len(left)] = left
        self._count = len(left)

    def clear(self, flags: Bytes) -> None:
        if self._are_many(flags):
            flags &= ~self._bit
        else:
            flags[self._rows[: self._count]] &= ~self._bit
        self._count = 0

    def _are_many(self, flags: Bytes) -> bool:
        """Whether to look at all flags is quicker than to look up some: a byte in order next to one anywhere."""
        return self._count * _SOME > len(flags)

    @property
    def any(self) -> bool:
        return self._count > 0

    @property
    def nbytes(self) -> int:
        return self._rows.nbytes


class Rows:
    """Row i holds the accumulators of group i, whatever groups are to the owner. Grows as told by `ensure`.

    `track`: keep account of what is unsaved; `current`: and of what has changed since the last emission.
    """

    def __init__(
        self, accumulators: Sequence[Accumulator], capacity: int, track: bool = True, current: bool = False
    ) -> None:
        self.accumulators = accumulators
        self.capacity = capacity
        self.flags: Bytes = np.zeros(capacity, np.uint8)
        self.lanes: list[Lanes] = [accumulator.new(capacity) for accumulator in accumulators]
        self._dirty = _Listed(DIRTY, capacity) if track else None
        self._changed = _Listed(CHANGED, capacity) if current else None

    def ensure(self, rows: int) -> None:
        """Have room for rows ``0 .. rows - 1``."""
        if rows <= self.capacity:
            return
        capacity = max(rows, self.capacity + self.capacity // 2, 64)
        self.flags = grown(self.flags, capacity)  # type: ignore[assignment]
        for listed in (self._dirty, self._changed):
            if listed is not None:
                listed.grow(capacity)
        for accumulator, lanes in zip(self.accumulators, self.lanes, strict=True):
            accumulator.grow(lanes, capacity)
        self.capacity = capacity

    def update(self, ids: Int32s, inputs: Inputs, every: bool = False) -> None:
        """Add rows of a batch; a negative id skips the row. `every`: each group has one, none need be marked."""
        for accumulator, lanes in zip(self.accumulators, self.lanes, strict=True):
            accumulator.update(lanes, self.flags, ids, inputs)
        if every:
            self.flags[:] = PRESENT
        else:
            self.mark(ids)

    def merge(self, ids: Int32s, partial: Sequence[Lanes]) -> None:
        """Add groups of `partial`, row i of it to group ``ids[i]``."""
        for accumulator, lanes, other in zip(self.accumulators, self.lanes, partial, strict=True):
            accumulator.merge(lanes, self.flags, ids, other)
        self.mark(ids)

    def merge_aligned(self, other: Rows, size: int) -> None:
        """Add the first `size` groups of other rows, each to the group of the same number."""
        present = (other.flags[:size] & PRESENT).view(np.bool_)
        for accumulator, lanes, theirs in zip(self.accumulators, self.lanes, other.lanes, strict=True):
            accumulator.merge_aligned(lanes, self.flags, theirs, present)
        self.flags[:size] |= other.flags[:size] & PRESENT

    def negate(self) -> None:
        """Turn every group into what takes it back when merged."""
        for accumulator, lanes in zip(self.accumulators, self.lanes, strict=True):
            accumulator.negate(lanes)

    def copy(self) -> Rows:
        """The same groups, with no account of what is unsaved or has changed."""
        made = Rows(self.accumulators, 0, track=False)
        made.lanes = [a.copy(lanes, self.capacity) for a, lanes in zip(self.accumulators, self.lanes, strict=True)]
        made.flags = self.flags & PRESENT
        made.capacity = self.capacity
        return made

    def put(self, ids: Chosen, saved: Sequence[Lanes]) -> None:
        """Take over saved groups, replacing what is there; they count as saved."""
        for accumulator, lanes, other in zip(self.accumulators, self.lanes, saved, strict=True):
            accumulator.put(lanes, self.flags, ids, other)
        self.flags[ids] = PRESENT

    def adopt(self, ids: Int32s, source: Rows, chosen: Int32s) -> None:
        """Take over groups of other rows with everything that is known of them; the places are new."""
        for accumulator, lanes, other in zip(self.accumulators, self.lanes, source.select(chosen), strict=True):
            accumulator.put(lanes, self.flags, ids, other)
        flags = source.flags[chosen]
        self.flags[ids] = flags
        self._list(ids, flags)

    def _list(self, ids: Int32s, flags: Bytes) -> None:
        for listed, bit in ((self._dirty, DIRTY), (self._changed, CHANGED)):
            if listed is not None:
                listed.add(ids[(flags & bit) != 0])

    def mark(self, ids: Int32s) -> None:
        """These groups are present, and have changed."""
        if self._dirty is not None:
            self._dirty.mark(ids, PRESENT | DIRTY, self.flags)
        else:
            mark(ids, ALL_VALID, PRESENT, 0, self.flags, _NO_LIST, 0)
        if self._changed is not None:
            self._changed.mark(ids, CHANGED, self.flags)

    def present(self, limit: int) -> Int32s:
        """The groups below `limit` that have had a row, in order."""
        present: Int32s = np.flatnonzero((self.flags[:limit] & PRESENT).view(np.bool_)).astype(np.int32)
        return present

    def count_present(self) -> int:
        return int(np.count_nonzero((self.flags & PRESENT).view(np.bool_)))

    def changed(self) -> Int32s:
        """The groups changed since `settle`, in order."""
        assert self._changed is not None
        return self._changed.rows(self.flags)

    def are_changed(self, ids: Int32s) -> npt.NDArray[np.bool_]:
        """For each of these groups whether it is one of `changed`."""
        changed: npt.NDArray[np.bool_] = (self.flags[ids] & CHANGED) != 0
        return changed

    def settled(self, ids: Int32s) -> Int32s:
        """Those of the groups, each once, that are there and have not changed since `settle`."""
        there = ids[ids >= 0]
        kept = np.sort(there[(self.flags[there] & (PRESENT | CHANGED)) == PRESENT])
        once: Int32s = kept[np.append(True, kept[1:] != kept[:-1])] if len(kept) else kept
        return once

    @property
    def any_changed(self) -> bool:
        return self._changed is not None and self._changed.any

    def settle(self) -> None:
        """What changed has been emitted."""
        if self._changed is not None:
            self._changed.clear(self.flags)

    def settle_some(self, ids: Int32s) -> None:
        """What changed in these groups has been emitted."""
        if self._changed is not None:
            self._changed.drop(ids, self.flags)

    def mark_changed(self, ids: Int32s) -> None:
        """These groups, which are present, have changed since their last emission; as for saving, they have not."""
        if self._changed is not None:
            self._changed.mark(ids, CHANGED, self.flags)

    def dirty(self) -> Int32s:
        """The groups changed since `clean`, in order."""
        assert self._dirty is not None
        return self._dirty.rows(self.flags)

    def clean(self) -> None:
        """What changed has been saved."""
        if self._dirty is not None:
            self._dirty.clear(self.flags)

    def forget(self, ids: Int32s) -> None:
        """These groups are gone; their accumulators stay dirty garbage until `keep`."""
        self.flags[ids] = 0

    def keep(self, ids: Int32s) -> None:
        """Have only these rows, in this order, numbered anew."""
        flags = self.flags[ids]
        self.lanes = self.select(ids)
        self.flags = flags
        self.capacity = len(ids)
        self._dirty = None if self._dirty is None else _Listed(DIRTY, len(ids))
        self._changed = None if self._changed is None else _Listed(CHANGED, len(ids))
        self._list(all_rows(len(ids)), flags)

    def select(self, ids: Chosen) -> list[Lanes]:
        """A copy of the accumulators of these groups, which must be present."""
        return [a.select(lanes, ids) for a, lanes in zip(self.accumulators, self.lanes, strict=True)]

    def results(self, ids: Int32s) -> list[pa.Array]:
        """The aggregates' values of these groups, which must be present."""
        return [a.results(lanes, ids) for a, lanes in zip(self.accumulators, self.lanes, strict=True)]

    def save(self, ids: Chosen) -> dict[str, pa.Array]:
        """State columns of these groups by name."""
        saved: dict[str, pa.Array] = {}
        for accumulator, lanes in zip(self.accumulators, self.lanes, strict=True):
            saved |= accumulator.save(lanes, ids)
        return saved

    @property
    def nbytes(self) -> int:
        lanes = sum(a.nbytes(lanes) for a, lanes in zip(self.accumulators, self.lanes, strict=True))
        listed = sum(0 if rows is None else rows.nbytes for rows in (self._dirty, self._changed))
        return lanes + self.flags.nbytes + listed


def load(accumulators: Sequence[Accumulator], columns: Mapping[str, pa.Array]) -> list[Lanes]:
    """Lanes of saved or partial groups, to be given to `Rows.put` or `Rows.merge`; raises `StateError`."""
    return [accumulator.load(columns) for accumulator in accumulators]


def finish(accumulators: Sequence[Accumulator], lanes: Sequence[Lanes], size: int) -> list[pa.Array]:
    """The aggregates' values of `size` groups."""
    return [a.finish(held, size) for a, held in zip(accumulators, lanes, strict=True)]
