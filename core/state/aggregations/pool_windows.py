"""The windows of sparse panes, many at a time: every group goes into each of its windows, and what meets is merged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from windrow.batch import Int32s, Int64s
from windrow.state.accumulators.base import Lanes
from windrow.state.accumulators.rows import CHANGED, Rows
from windrow.state.aggregations.output import window_batch
from windrow.state.columns import extent
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
        self._rows, place = pool.by_code(codes[some].tolist())
        self._low: Int64s = low[some][place]
        self._high: Int64s = high[some][place]
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
        starts = np.maximum(self._low[self._high >= self._next], self._next)
        if (starts[1:] < starts[:-1]).any():
            starts.sort()
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
        plain = self._state.grid.is_plain
        rows, windows = self._between(first, end) if plain else self._in_each(first, end)
        if len(self._without):
            kept = ~np.isin(windows, self._without)
            rows, windows = rows[kept], windows[kept]
        if self._affected is not None:
            kept = np.isin(windows, self._affected)
            rows, windows = rows[kept], windows[kept]
        if len(rows) == 0:
            return []
        return self._as_they_are(rows, windows) if plain else self._merge(rows, windows)

    def _between(self, first: int, end: int) -> tuple[Int32s, Int64s]:
        """The rows of windows from `first` up to `end`, where every pane is a window."""
        inside = slice(*np.searchsorted(self._low, (first, end)))
        return self._rows[inside], self._low[inside]

    def _in_each(self, first: int, end: int) -> tuple[Int32s, Int64s]:
        """Each row once for every window that it is part of, from `first` up to `end`."""
        inside = np.flatnonzero((self._low < end) & (self._high >= first))
        low = np.maximum(self._low[inside], first)
        counts = np.minimum(self._high[inside], end - 1) - low + 1
        rows = np.repeat(self._rows[inside], counts)
        steps = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        return rows, np.repeat(low, counts) + steps

    def _as_they_are(self, rows: Int32s, windows: Int64s) -> list[pa.RecordBatch]:
        """Where every pane is a window, nothing meets (q8 from memory: 300 ms, 225)."""
        pool = self._state.pool
        if self._state.current:
            changed = (pool.rows.flags[rows] & CHANGED) != 0
            rows, windows = rows[changed], windows[changed]
        chosen = _by_pair(windows, pool.numbers[rows])
        rows = rows[chosen]
        return self._batches(windows[chosen], pool.numbers[rows], pool.rows.select(rows))

    def _merge(self, rows: Int32s, windows: Int64s) -> list[pa.RecordBatch]:
        state, pool = self._state, self._state.pool
        index = PairIndex()
        groups = index.rows(windows, pool.numbers[rows])
        merged = Rows(state.accumulators, index.size, track=False)
        merged.merge(groups, pool.rows.select(rows))
        chosen = _by_pair(index.codes, index.numbers).astype(np.int32)
        if state.current:
            changed = np.zeros(index.size, np.bool_)
            changed[groups[(pool.rows.flags[rows] & CHANGED) != 0]] = True
            chosen = chosen[changed[chosen]]
        return self._batches(index.codes[chosen], index.numbers[chosen], merged.select(chosen))

    def _batches(self, windows: Int64s, numbers: Int32s, lanes: list[Lanes]) -> list[pa.RecordBatch]:
        state = self._state
        if len(windows) == 0:
            return []
        return [window_batch(state, state.key_columns(numbers), *state.grid.bounds(windows), lanes)]


def _by_pair(windows: Int64s, numbers: Int32s) -> Int64s:
    """The places of these pairs, which are all different, in order of the window, then of the number."""
    if len(windows) == 0:
        return np.empty(0, np.int64)
    first, last = extent(windows)
    if last - first >= 1 << 31:
        return np.lexsort((numbers, windows))
    return np.argsort(windows - first << 32 | numbers, kind="stable")  # runs that are in order stay
