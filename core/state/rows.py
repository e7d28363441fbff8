"""Accumulators of many groups in parallel arrays: what panes, sessions and tables are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa

from windrow.batch import ALL_VALID, Bytes, Int32s
from windrow.kernels.groupagg import mark
from windrow.state.accumulators import Accumulator, Chosen, Lanes
from windrow.state.columns import Inputs, grown

PRESENT = np.uint8(1)  # the group has had a row
DIRTY = np.uint8(2)  # it has changed since its last save
CHANGED = np.uint8(4)  # it has changed since its last emission


class Rows:
    """Row i holds the accumulators of group i, whatever groups are to the owner. Grows as told by `ensure`."""

    def __init__(self, accumulators: Sequence[Accumulator], capacity: int, track: bool = True) -> None:
        self.accumulators = accumulators
        self.capacity = capacity
        self.flags: Bytes = np.zeros(capacity, np.uint8)
        self.lanes: list[Lanes] = [accumulator.new(capacity) for accumulator in accumulators]
        self._track = track
        self._touched: Int32s = np.empty(capacity if track else 0, np.int32)
        self._touched_count = 0

    def ensure(self, rows: int) -> None:
        """Have room for rows ``0 .. rows - 1``."""
        if rows <= self.capacity:
            return
        capacity = max(rows, self.capacity + self.capacity // 2, 64)
        self.flags = grown(self.flags, capacity)  # type: ignore[assignment]
        if self._track:
            touched = np.empty(capacity, np.int32)
            touched[: self._touched_count] = self._touched[: self._touched_count]
            self._touched = touched
        for accumulator, lanes in zip(self.accumulators, self.lanes, strict=True):
            accumulator.grow(lanes, capacity)
        self.capacity = capacity

    def update(self, ids: Int32s, inputs: Inputs) -> None:
        """Add rows of a batch; a negative id skips the row."""
        for accumulator, lanes in zip(self.accumulators, self.lanes, strict=True):
            accumulator.update(lanes, self.flags, ids, inputs)
        self.mark(ids)

    def merge(self, ids: Int32s, partial: Sequence[Lanes]) -> None:
        """Add groups of `partial`, row i of it to group ``ids[i]``."""
        for accumulator, lanes, other in zip(self.accumulators, self.lanes, partial, strict=True):
            accumulator.merge(lanes, self.flags, ids, other)
        self.mark(ids)

    def put(self, ids: Int32s, saved: Sequence[Lanes]) -> None:
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
        dirty = ids[(flags & DIRTY) != 0]
        self._touched[self._touched_count : self._touched_count + len(dirty)] = dirty
        self._touched_count += len(dirty)

    def mark(self, ids: Int32s) -> None:
        if self._track:
            bits = PRESENT | DIRTY | CHANGED
            self._touched_count = mark(ids, ALL_VALID, bits, self.flags, self._touched, self._touched_count)
        else:
            mark(ids, ALL_VALID, PRESENT, self.flags, self._touched, 0)

    def present(self, limit: int) -> Int32s:
        """The groups below `limit` that have had a row, in order."""
        return np.flatnonzero(self.flags[:limit] & PRESENT).astype(np.int32)

    def changed(self, limit: int) -> Int32s:
        return np.flatnonzero(self.flags[:limit] & CHANGED).astype(np.int32)

    def settle(self) -> None:
        """What changed has been emitted."""
        self.flags &= ~CHANGED

    def dirty(self) -> Int32s:
        """The groups changed since `clean`, in order."""
        touched = np.sort(self._touched[: self._touched_count])
        return touched[(self.flags[touched] & DIRTY) != 0]

    def clean(self) -> None:
        """What changed has been saved."""
        self.flags[self._touched[: self._touched_count]] &= ~DIRTY
        self._touched_count = 0

    def forget(self, ids: Int32s) -> None:
        """These groups are gone; their accumulators stay dirty garbage until `keep`."""
        self.flags[ids] = 0

    def keep(self, ids: Int32s) -> None:
        """Have only these rows, in this order, numbered anew."""
        flags = self.flags[ids]
        self.lanes = self.select(ids)
        self.flags = flags
        self.capacity = len(ids)
        if self._track:
            self._touched = np.empty(len(ids), np.int32)
            dirty = np.flatnonzero(flags & DIRTY).astype(np.int32)
            self._touched[: len(dirty)] = dirty
            self._touched_count = len(dirty)

    def select(self, ids: Chosen) -> list[Lanes]:
        """A copy of the accumulators of these groups, which must be present."""
        return [a.select(lanes, ids) for a, lanes in zip(self.accumulators, self.lanes, strict=True)]

    def save(self, ids: Chosen) -> dict[str, pa.Array]:
        """State columns of these groups by name."""
        saved: dict[str, pa.Array] = {}
        for accumulator, lanes in zip(self.accumulators, self.lanes, strict=True):
            saved |= accumulator.save(lanes, ids)
        return saved

    @property
    def nbytes(self) -> int:
        lanes = sum(a.nbytes(lanes) for a, lanes in zip(self.accumulators, self.lanes, strict=True))
        return lanes + self.flags.nbytes + self._touched.nbytes


def load(accumulators: Sequence[Accumulator], columns: Mapping[str, pa.Array]) -> list[Lanes]:
    """Lanes of saved or partial groups, to be given to `Rows.put` or `Rows.merge`; raises `StateError`."""
    return [accumulator.load(columns) for accumulator in accumulators]


def finish(accumulators: Sequence[Accumulator], lanes: Sequence[Lanes], size: int) -> list[pa.Array]:
    """The aggregates' values of `size` groups."""
    return [a.finish(held, size) for a, held in zip(accumulators, lanes, strict=True)]
