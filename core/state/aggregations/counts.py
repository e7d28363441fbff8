"""State of count windows: every so many events of a key, in the order in which they come."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from windrow.batch import Int32s, Int64s, Tables, view
from windrow.kernels.windows import number_windows
from windrow.plan.window import Aggregation, Window
from windrow.state.accumulators.rows import Rows, load
from windrow.state.aggregations.keyed import KeyedState, Piece, columns_of, int_column
from windrow.state.aggregations.output import result_batch
from windrow.state.aggregations.panes import ID
from windrow.state.aggregations.pool import Pool
from windrow.state.aggregations.tables import may_stay
from windrow.state.changes import Before, differing
from windrow.state.columns import grown
from windrow.state.saved import table_of

NUMBER = "__number"
SEEN = "__seen"


class CountState(KeyedState):
    """One shard of an aggregation over windows of a number of events.

    What it knows of a key, the number of its events, has no end: this state is as large as there are keys. With
    `retract`, the row that a new one replaces is sent before it, with weight -1.
    """

    def __init__(self, aggregation: Aggregation, window: Window, retract: bool = False) -> None:
        super().__init__(aggregation)
        self._per_window = window.count
        self._current = aggregation.emit == "current" and aggregation.firing is None
        self._compare = self._current and (retract or may_stay(aggregation))
        self._retract = retract
        self.clear()

    def clear(self) -> None:
        self._seen: Int64s = np.empty(0, np.int64)
        self._unsaved_keys: npt.NDArray[np.bool_] = np.empty(0, np.bool_)
        self._pool = Pool(self.accumulators, self._current)
        self._before = Before()

    def take(self, ids: Int32s, data: pa.RecordBatch, piece: Piece) -> None:
        self._ensure()
        numbers = np.empty(len(ids), np.int64)
        number_windows(ids, self._per_window, self._seen, numbers)
        self._unsaved_keys[ids] = True
        rows = self._pool.find(numbers, ids)
        if self._compare:
            settled = self._pool.rows.settled(rows)
            if len(settled):
                self._before.keep(settled, self._results(settled, -1))
        piece.apply(self._pool.rows, rows)

    def _ensure(self) -> None:
        if self.key_count > len(self._seen):
            room = max(self.key_count, len(self._seen) * 3 // 2)
            self._seen = grown(self._seen, room)  # type: ignore[assignment]
            self._unsaved_keys = grown(self._unsaved_keys, room)  # type: ignore[assignment]

    def _full(self) -> Int32s:
        """Groups of windows that have all their events."""
        live = self._pool.live()
        full: Int32s = live[self._pool.codes[live] < self._seen[self._pool.numbers[live]] // self._per_window]
        return full

    def emit(self, watermark_us: int) -> list[pa.RecordBatch]:
        pool = self._pool
        full = self._full()
        rows = pool.rows.changed() if self._current else full
        old_rows, old = self._before.take()
        outputs = []
        if len(rows) and old is not None:
            outputs = differing(old_rows, old, rows, self._results(rows, 1), retract=self._retract)
        elif len(rows):
            outputs = [self._results(rows[np.lexsort((pool.codes[rows], pool.numbers[rows]))], 1)]
        pool.rows.settle()
        pool.drop_rows(full)
        return outputs

    def _results(self, rows: Int32s, weight: int) -> pa.RecordBatch:
        pool = self._pool
        numbers = {"window_number": pa.array(pool.codes[rows])}
        keys = self.key_columns(pool.numbers[rows])
        return result_batch(self, keys, numbers, pool.rows.select(rows), len(rows), weight)

    def expire(self, watermark_us: int) -> None:
        self._ensure()
        self._pool.drop_rows(self._full())

    def save_groups(self, whole: bool) -> dict[str, pa.RecordBatch]:
        pool = self._pool
        self._ensure()
        keys = np.flatnonzero(self._seen if whole else self._unsaved_keys).astype(np.int32)
        seen = pa.RecordBatch.from_arrays([pa.array(keys), pa.array(self._seen[keys])], names=[ID, SEEN])
        rows = pool.live() if whole else pool.rows.dirty()
        columns = {NUMBER: pa.array(pool.codes[rows]), ID: pa.array(pool.numbers[rows])} | pool.rows.save(rows)
        self._unsaved_keys[:] = False
        pool.rows.clean()
        return {"seen": seen, "groups": pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))}

    def load_groups(self, tables: Tables) -> None:
        operator = self.aggregation.name
        self._ensure()
        seen = table_of(tables, "seen", operator)
        keys = view(int_column(seen, ID, pa.int32(), operator), np.int32)
        self._seen[keys] = view(int_column(seen, SEEN, pa.int64(), operator), np.int64)
        groups = table_of(tables, "groups", operator)
        numbers: Int64s = view(int_column(groups, NUMBER, pa.int64(), operator), np.int64)  # type: ignore[assignment]
        ids: Int32s = view(int_column(groups, ID, pa.int32(), operator), np.int32)  # type: ignore[assignment]
        if len(ids):
            self._pool.rows.put(self._pool.find(numbers, ids), load(self.accumulators, columns_of(groups)))

    def live_keys(self) -> npt.NDArray[np.bool_]:
        return np.ones(self.key_count, np.bool_)

    def renumber(self, kept: Int32s) -> None:
        """Never happens: every key stays."""

    def all_rows(self) -> list[Rows]:
        return [self._pool.rows]

    @property
    def groups_nbytes(self) -> int:
        return self._pool.nbytes + self._seen.nbytes + self._unsaved_keys.nbytes
