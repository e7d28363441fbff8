"""The windows of sparse panes, many at a time: every group goes into each of its windows, and what meets is merged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from windrow.batch import Int32s, Int64s
from windrow.state.accumulators.rows import CHANGED, Rows
from windrow.state.aggregations.output import window_batch
from windrow.state.keys.pairs import PairIndex

if TYPE_CHECKING:
    from windrow.state.aggregations.panes import PaneState

#: Groups are put into windows in portions of about this many rows.
_PORTION = 1 << 20


class PoolWindows:
    """Hands out the windows of the pool from `first` to `last` (None: all), in order.

    Windows in `without` are left out, and those that are not in `affected` (None: all are).
    """

    def __init__(
        self, state: PaneState, first: int, last: int | None, without: set[int], affected: set[int] | None
    ) -> None:
        self._state = state
        self._without = np.array(sorted(without), np.int64)
        self._affected = None if affected is None else np.array(sorted(affected), np.int64)
        pool = state.pool
        codes = np.array(sorted(pool.counts), np.int64)
        low, high = state.grid.windows_of(codes)
        low = np.maximum(low, first)
        high = high if last is None else np.minimum(high, last)
        some = low <= high
        if affected is not None:
            some &= (low <= max(affected, default=first - 1)) & (high >= min(affected, default=first))
        live = pool.of_codes(codes[some].tolist())
        self._rows: Int32s = live[np.argsort(pool.codes[live], kind="stable")]
        place = np.searchsorted(codes, pool.codes[self._rows])
        self._low: Int64s = low[place]
        self._high: Int64s = high[place]
        self._next = int(self._low.min()) if len(self._rows) else 0
        self._end = int(self._high.max()) + 1 if len(self._rows) else 0

    def before(self, window: int | None) -> list[pa.RecordBatch]:
        """The windows that were not handed out yet, up to but without `window` (None: to the end)."""
        end = self._end if window is None else min(window, self._end)
        outputs = []
        while self._next < end:
            until = self._portion(end)
            outputs += self._emit(self._next, until)
            self._next = until
        return outputs

    def _portion(self, end: int) -> int:
        """The end of a range of windows that gives a bounded number of rows, at least one window."""
        starts = np.sort(np.maximum(self._low[self._high >= self._next], self._next))
        if len(starts) == 0:
            return end
        if int(starts[0]) > self._next:
            return min(end, int(starts[0]))
        per_window = int(np.searchsorted(starts, self._next, side="right"))
        wide = self._next + max(1, _PORTION // max(per_window, 1))
        if len(starts) > _PORTION:
            wide = min(wide, max(self._next + 1, int(starts[_PORTION])))
        return min(end, wide)

    def _emit(self, first: int, end: int) -> list[pa.RecordBatch]:
        inside = np.flatnonzero((self._low < end) & (self._high >= first))
        low = np.maximum(self._low[inside], first)
        counts = np.minimum(self._high[inside], end - 1) - low + 1
        rows = np.repeat(self._rows[inside], counts)
        steps = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        windows: Int64s = np.repeat(low, counts) + steps
        if len(self._without):
            kept = ~np.isin(windows, self._without)
            rows, windows = rows[kept], windows[kept]
        if self._affected is not None:
            kept = np.isin(windows, self._affected)
            rows, windows = rows[kept], windows[kept]
        return self._merge(rows, windows) if len(rows) else []

    def _merge(self, rows: Int32s, windows: Int64s) -> list[pa.RecordBatch]:
        state, pool = self._state, self._state.pool
        index = PairIndex()
        groups = index.rows(windows, pool.numbers[rows])
        merged = Rows(state.accumulators, index.size, track=False)
        merged.merge(groups, pool.rows.select(rows))
        chosen = np.lexsort((index.numbers, index.codes)).astype(np.int32)
        if state.current:
            changed = np.zeros(index.size, np.bool_)
            changed[groups[(pool.rows.flags[rows] & CHANGED) != 0]] = True
            chosen = chosen[changed[chosen]]
        if len(chosen) == 0:
            return []
        bounds = state.grid.bounds(index.codes[chosen])
        return [window_batch(state, state.key_columns(index.numbers[chosen]), *bounds, merged.select(chosen))]
