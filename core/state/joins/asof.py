"""State of a join by nearness in time: left rows that wait for the watermark, right rows as versions of their key.

A left row leaves when no right row can come any more that would be nearer. Of a key's versions that the watermark has
passed only the last is kept. Of versions with the same event time the one that came last counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from windrow.arrow_types import to_arrow_type
from windrow.batch import TIME, Int32s, Int64s, Tables, UInt64s, view
from windrow.plan.join import LEFT, RIGHT, Join
from windrow.state.joins import saved
from windrow.state.joins.side import ALONE, PAIRS_AT_ONCE, SideState, SortedSide, forget_keys
from windrow.state.keys.table import KeyTable
from windrow.units import BEFORE_TIME_US, END_OF_TIME_US

_NO_HASHES: UInt64s = np.empty(0, np.uint64)


class AsofState:
    """One shard. `held` are the columns that each side keeps, `columns` those of the result that are read."""

    def __init__(self, join: Join, columns: Sequence[str], held: Sequence[Sequence[str]]) -> None:
        self.join = join
        self._columns = [column for column in join.columns if column.name in columns]
        self.keys = KeyTable(join.key_types)
        options: dict[str, Any] = {"timed": True, "bounded": False, "hashed": False, "counted": False, "deletes": True}
        schemas = [_schema(join, number, names) for number, names in enumerate(held)]
        self._left, self._right = SideState(schemas[LEFT], **options), SortedSide(schemas[RIGHT], **options)
        self.sides: Sequence[SideState] = (self._left, self._right)
        self.watermark_us = BEFORE_TIME_US
        self._changed: list[Int32s] = []  # keys that may have versions which are no longer needed
        self._log = saved.ChangeLog()

    @property
    def nbytes(self) -> int:
        return self.keys.nbytes + self._left.nbytes + self._right.nbytes

    def process(self, data: pa.RecordBatch, side: int = 0) -> None:
        self._log.begin(self)
        if data.num_rows == 0:
            return
        ids = self.key_ids(data, side)
        times: Int64s = view(data.column(TIME), np.int64)  # type: ignore[assignment]
        first = self.sides[side].add(data, ids, times, None, _NO_HASHES)
        if side == RIGHT:
            self._right.link(first, self._right.end, len(self.keys))
            self._changed.append(ids)

    def key_ids(self, data: pa.RecordBatch, number: int) -> Int32s:
        """The key id of each row; `ALONE` where a part of the key is null."""
        names = self.join.sides[number].keys
        ids = self.keys.ids([data.column(name) for name in names])
        there = saved.keyed(data, names)
        if not there.all():
            ids[~there] = ALONE
        return ids

    def advance(self, watermark_us: int) -> Iterator[pa.RecordBatch]:
        """The rows that need not wait any longer; the epoch is over when all have been asked for."""
        self._log.begin(self)
        watermark_us = max(watermark_us, self.watermark_us)
        kept = self.join.kept_us(LEFT)
        ready = self._left.waited(self.watermark_us, watermark_us, kept)
        for start in range(0, len(ready), PAIRS_AT_ONCE):
            yield from self._met(ready[start : start + PAIRS_AT_ONCE])
        self._left.kill(ready)
        self._log.gone(LEFT, ready)
        self.watermark_us = watermark_us
        self._forget(watermark_us - kept)
        self._log.ended()

    def _met(self, left: Int64s) -> Iterator[pa.RecordBatch]:
        strategy, tolerance = self.join.strategy, self.join.tolerance_us
        right = self._right.nearest(
            self._left.ids[left - self._left.origin],
            self._left.time_of(left),
            strategy != "forward",
            strategy != "backward",
            2 * END_OF_TIME_US - 1 if tolerance is None else tolerance,
        )
        met = right >= 0
        if met.any():
            yield self._batch(left[met], right[met])
        if self.join.how == "left" and not met.all():
            yield self._batch(left[~met], None)

    def _batch(self, left: Int64s, right: Int64s | None) -> pa.RecordBatch:
        batch = saved.gather(self.sides, self._columns, (left, right))
        return batch.append_column(TIME, pa.array(self._left.time_of(left)))

    def _forget(self, until_us: int) -> None:
        """Drop the versions that no left row to come can meet, and the left rows that have left."""
        changed, self._changed = self._changed, []
        if changed:
            ids = np.unique(np.concatenate(changed))
            ids = ids[ids >= 0]
            self._log.gone(RIGHT, self._right.cut(ids, until_us))
            self._changed.append(self._right.later(ids, until_us))
        self._left.expire(self.watermark_us, self.join.kept_us(LEFT))
        if self.join.tolerance_us is not None:
            self._right.expire(until_us, self.join.tolerance_us)
        numbers = forget_keys(self.keys, self.sides)
        if numbers is not None:
            self._changed = [numbers[ids] for ids in self._changed]

    def delta(self) -> Tables:
        return self._log.save(self, whole=False)

    def snapshot(self) -> Tables:
        return self._log.save(self, whole=True)

    def restore(self, snapshot: Tables | None, deltas: Sequence[Tables]) -> None:
        saved.restore(self, [*([snapshot] if snapshot is not None else []), *deltas])
        self._changed = [np.arange(len(self.keys), dtype=np.int32)]
        self._log.restored(self)


def _schema(join: Join, number: int, names: Sequence[str]) -> pa.Schema:
    kinds = dict(join.sides[number].columns)
    return pa.schema([(name, to_arrow_type(kinds[name])) for name in names])
