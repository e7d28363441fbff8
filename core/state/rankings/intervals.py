"""State of rows without those that repeat them: what waits for the watermark, and one interval a key.

A row waits until the watermark has passed its time: no earlier one can come then, so that rows go through their keys'
intervals in order of time, whatever the order in which they came. An interval that the watermark has passed is
forgotten; so is its key, unless a row of it waits.

Saved tables: ``meta``; ``waiting``, the rows that wait (of a delta those that came since the last save); ``open``, for
each interval (of a delta those that changed) its key, end, whether it has one row only, and the row that is held.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from windrow.batch import TIME, Bytes, Int32s, Int64s, Tables, bools, view
from windrow.errors import StateError
from windrow.kernels.intervals import ALONE, FIRST, LAST, pass_intervals
from windrow.plan.dedup import Dedup
from windrow.state.columns import grown
from windrow.state.keys.table import KeyTable
from windrow.state.row_store import RowStore
from windrow.state.saved import Meta, table_of
from windrow.units import BEFORE_TIME_US

TIE = "__tie"
END = "__end"
ONLY = "__only"

VERSION = 1
_META = Meta(VERSION, watermark_us=pa.int64(), whole=pa.bool_())
_KEEPS = {"first": FIRST, "last": LAST, "none": ALONE}
#: So many keys or rows that are not needed any more are tolerated, and as many as those that are.
_SLACK = 4096


class IntervalUnique:
    """One shard."""

    def __init__(self, dedup: Dedup, held: pa.Schema, output: Sequence[str]) -> None:
        kinds = dict(dedup.columns)
        self._dedup = dedup
        self._held = held
        self._output = [*output, TIME]
        self._keep = _KEEPS[dedup.keep]
        self._key_types = [kinds[name] for name in dedup.per]
        self.watermark_us = BEFORE_TIME_US
        self._clear()

    def _clear(self) -> None:
        self._keys = KeyTable(self._key_types)
        self._ends: Int64s = np.empty(0, np.int64)
        self._last: Int64s = np.empty(0, np.int64)
        self._alone: Bytes = np.empty(0, np.uint8)
        self._dirty: npt.NDArray[np.bool_] = np.empty(0, np.bool_)  # changed since the last save
        self._store = RowStore(self._held)
        self._rows: Int64s = np.empty(0, np.int64)  # those that wait, their keys and times
        self._ids: Int32s = np.empty(0, np.int32)
        self._times: Int64s = np.empty(0, np.int64)
        self._new: Int64s = np.empty(0, np.int64)  # those that wait and came since the last save
        self._live_keys = self._live_rows = 0  # how many there were when the others were last forgotten

    @property
    def nbytes(self) -> int:
        arrays = (self._ends, self._last, self._alone, self._dirty, self._rows, self._ids, self._times)
        return self._keys.nbytes + self._store.nbytes + sum(int(array.nbytes) for array in arrays)

    def process(self, data: pa.RecordBatch, side: int = 0) -> None:
        if data.num_rows:
            self._new = np.concatenate([self._new, self._wait(data)])

    def _wait(self, data: pa.RecordBatch) -> Int64s:
        """Keep rows that wait; their numbers."""
        first = self._store.append(data)
        rows = np.arange(first, first + data.num_rows, dtype=np.int64)
        self._rows = np.concatenate([self._rows, rows])
        self._ids = np.concatenate([self._ids, self._key_ids(data)])
        self._times = np.concatenate([self._times, np.asarray(view(data.column(TIME), np.int64))])
        return rows

    def _key_ids(self, data: pa.RecordBatch) -> Int32s:
        ids = self._keys.ids([data.column(name) for name in self._dedup.per])
        if len(self._keys) > len(self._ends):
            room = max(len(self._keys), len(self._ends) * 3 // 2)
            self._ends = grown(self._ends, room, BEFORE_TIME_US)  # type: ignore[assignment]
            self._last = grown(self._last, room, -1)  # type: ignore[assignment]
            self._alone, self._dirty = grown(self._alone, room), grown(self._dirty, room)  # type: ignore[assignment]
        return ids

    def advance(self, watermark_us: int) -> list[pa.RecordBatch]:
        watermark_us = max(watermark_us, self.watermark_us)
        given = np.concatenate([self._passed(watermark_us), self._ended(watermark_us)])
        self.watermark_us = watermark_us
        outputs = [self._batch(given)] if len(given) else []
        self._forget()
        return outputs

    def _passed(self, watermark_us: int) -> Int64s:
        """Put the rows that the watermark has passed into intervals; the rows that are given for it."""
        ready = self._times < watermark_us
        if not ready.any():
            return np.empty(0, np.int64)
        rows, ids, times = self._rows[ready], self._ids[ready], self._times[ready]
        self._rows, self._ids, self._times = self._rows[~ready], self._ids[~ready], self._times[~ready]
        self._new = self._new[np.isin(self._new, self._rows)]
        order = self._order(rows, times)
        given = np.empty(len(rows), np.int64)
        count = pass_intervals(
            ids[order], times[order], rows[order], self._dedup.within_us, self._keep,
            self._ends, self._last, self._alone, given,
        )  # fmt: skip
        self._dirty[ids] = True
        return given[:count]

    def _order(self, rows: Int64s, times: Int64s) -> npt.NDArray[np.intp]:
        (ties,) = self._store.take([TIE], rows)
        return np.lexsort((np.asarray(view(ties, np.int64)), times))

    def _ended(self, watermark_us: int) -> Int64s:
        """The rows that are given for intervals that the watermark has passed, which hold none any more."""
        count = len(self._keys)
        over = np.flatnonzero((self._last[:count] >= 0) & (self._ends[:count] <= watermark_us))
        given = over if self._keep != ALONE else over[self._alone[over] == 1]
        rows = self._last[given]
        self._last[over] = -1
        return rows

    def _batch(self, rows: Int64s) -> pa.RecordBatch:
        """These rows, in the order of their times."""
        times = np.asarray(view(self._store.take([TIME], rows)[0], np.int64))
        rows = rows[self._order(rows, times)]
        return pa.RecordBatch.from_arrays(self._store.take(self._output, rows), names=self._output)

    # keeping memory in bounds

    def _forget(self) -> None:
        if len(self._store) > 2 * self._live_rows + _SLACK:
            self._forget_rows()
        if len(self._keys) > 2 * self._live_keys + _SLACK:
            self._forget_keys()

    def _forget_rows(self) -> None:
        held = np.flatnonzero(self._last[: len(self._keys)] >= 0)
        live = np.unique(np.concatenate([self._rows, self._last[held]]))
        store = RowStore(self._held)
        if len(live):
            columns = self._store.take(self._held.names, live)
            store.append(pa.RecordBatch.from_arrays(columns, schema=self._held))
        self._rows, self._new = np.searchsorted(live, self._rows), np.searchsorted(live, self._new)
        self._last[held] = np.searchsorted(live, self._last[held])
        self._store, self._live_rows = store, len(live)

    def _forget_keys(self) -> None:
        count = len(self._keys)
        live = self._ends[:count] > self.watermark_us
        live[self._ids] = True
        live |= self._dirty[:count]
        kept = np.flatnonzero(live)
        self._ids = (np.cumsum(live) - 1)[self._ids].astype(np.int32)
        self._keys.keep(live)
        self._ends, self._last = self._ends[kept], self._last[kept]
        self._alone, self._dirty = self._alone[kept], self._dirty[kept]
        self._live_keys = len(kept)

    # saving and restoring

    def delta(self) -> Tables:
        return self._save(False)

    def snapshot(self) -> Tables:
        return self._save(True)

    def _save(self, whole: bool) -> Tables:
        waiting = self._rows if whole else self._new
        count = len(self._keys)
        open_ = self._ends[:count] > self.watermark_us
        ids = np.flatnonzero(open_ if whole else open_ & self._dirty[:count]).astype(np.int32)
        self._dirty[:] = False
        self._new = self._new[:0]
        tables = {"meta": _META.table(self._dedup.name, watermark_us=self.watermark_us, whole=whole)}
        if len(waiting):
            tables["waiting"] = self._stored(waiting)
        if len(ids):
            tables["open"] = self._opened(ids)
        return tables

    def _stored(self, rows: Int64s) -> pa.RecordBatch:
        return pa.RecordBatch.from_arrays(self._store.take(self._held.names, rows), schema=self._held)

    def _opened(self, ids: Int32s) -> pa.RecordBatch:
        """Intervals with their keys, and with all columns of the row that they hold, if they do."""
        held = self._last[ids]
        columns = dict(zip(self._dedup.per, self._keys.keys(ids), strict=True))
        if self._keep != FIRST:  # an open interval always holds a row
            columns |= dict(zip(self._held.names, self._store.take(self._held.names, held), strict=True))
        columns |= {END: pa.array(self._ends[ids]), ONLY: pa.array(self._alone[ids] != 0)}
        return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))

    def restore(self, snapshot: Tables | None, deltas: Sequence[Tables]) -> None:
        for tables in [*([snapshot] if snapshot is not None else []), *deltas]:
            self._apply(tables)
        self._dirty[:] = False
        self._new = self._new[:0]

    def _apply(self, tables: Tables) -> None:
        meta = _META.read(tables, self._dedup.name)
        if meta["whole"]:
            self._clear()
        watermark_us = meta["watermark_us"]
        left = self._times >= watermark_us
        self._rows, self._ids, self._times = self._rows[left], self._ids[left], self._times[left]
        if "waiting" in tables:
            self._wait(self._checked(tables, "waiting", self._held.names))
        if "open" in tables:
            named = self._dedup.per if self._keep == FIRST else self._held.names
            self._open(self._checked(tables, "open", [*named, END, ONLY]))
        self._ended(watermark_us)
        self.watermark_us = watermark_us
        self._forget()

    def _open(self, saved: pa.RecordBatch) -> None:
        ids = self._key_ids(saved)
        self._ends[ids] = view(saved.column(END), np.int64)
        self._alone[ids] = bools(saved.column(ONLY))
        if self._keep != FIRST:
            first = self._store.append(saved)
            self._last[ids] = np.arange(first, first + saved.num_rows)

    def _checked(self, tables: Tables, name: str, columns: Sequence[str]) -> pa.RecordBatch:
        saved = table_of(tables, name, self._dedup.name)
        if not set(columns) <= set(saved.schema.names):
            raise StateError(f"{self._dedup.name}: saved rows have {saved.schema.names}, expected {list(columns)}")
        return saved
