"""Windows of many panes, each from two parts that are at hand: a suffix of the panes of one cycle, put together once
for all windows that need it, and a prefix of the next, which grows by a pane a window.

This is the two stacks' way of sliding over what cannot be taken back (Tangwongsan et al., "General incremental
sliding-window aggregation", VLDB 2015), but the stacks are turned at fixed places of the grid, every as many panes as a
window has: what is added to what does not depend on when windows closed or the job was restarted. A window costs about
four times its groups instead of as many times as it has panes.

A pane does not change any more when its first window closes: rows that come after that have a code of their own, which
says how many of the pane's windows are closed for them. Those are few, and added to each of their windows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from windrow.batch import Int32s
from windrow.state.accumulators.base import Lanes
from windrow.state.accumulators.rows import Rows

if TYPE_CHECKING:
    from windrow.state.aggregations.grid import Grid
    from windrow.state.aggregations.panes import PaneState

#: Windows of fewer panes are put together anew each: that is as fast, and needs no memory.
_LEAST_PANES = 8
#: So are those of panes that hold fewer groups in all, several at a time: 100 panes of 1 k groups each took 0.82 s
#: anew and 0.70 s this way, 10 panes 0.11 s and 0.22 s; 100 panes of 10 k groups 13.5 s and 1.1 s.
_LEAST_GROUPS = 1 << 16

Part = tuple[Int32s, list[Lanes]]


def slides(grid: Grid) -> bool:
    """Whether windows have so many panes that this pays."""
    return grid.width_us == grid.slide_us and grid.per_pane >= _LEAST_PANES


class Sliding:
    """Gives the windows of a state, asked for in ascending order; forgets on `reset`, which costs only time."""

    def __init__(self, state: PaneState) -> None:
        self._state = state
        self._panes = state.grid.per_pane
        self.reset()

    def reset(self) -> None:
        self._cycle: int | None = None
        self._front = Rows(self._state.accumulators, 0, track=False)
        self._next = 0  # the pane that the front gets next
        self._suffixes: dict[int, Part] = {}  # first pane -> the panes from it to the end of the cycle before

    def pays(self, groups: int) -> bool:
        """Whether to put windows together this way, now that the panes have so many groups in all."""
        if groups >= _LEAST_GROUPS:
            return True
        if self._cycle is not None:
            self.reset()
        return False

    def window(self, number: int) -> Part:
        """Key ids and accumulators of the groups of a window."""
        state = self._state
        last = number if state.grid.cumulate else number + self._panes - 1
        cycle = last // self._panes
        if cycle != self._cycle:
            self._turn(cycle, number)
        self._front.ensure(state.key_count)
        for pane in range(self._next, last + 1):
            self._add(self._front, pane * self._panes)
        self._next = max(self._next, last + 1)
        merged = self._front
        suffix = self._suffixes.pop(number, None)
        late = state.late_codes(number)
        if (suffix is not None and len(suffix[0])) or late:
            merged = self._front.copy()
            if suffix is not None:
                merged.merge(*suffix)
            for code in late:
                self._add(merged, code)
        ids = merged.present(state.key_count)
        return ids, merged.select(ids)

    def _turn(self, cycle: int, first: int) -> None:
        """Begin a cycle: put the panes from `first` to its begin together, from the last one on."""
        self.reset()
        self._cycle, self._next = cycle, cycle * self._panes
        if self._state.grid.cumulate:
            return
        rows = Rows(self._state.accumulators, self._state.key_count, track=False)
        none = np.empty(0, np.int32)
        part: Part = (none, rows.select(none))
        for pane in range(self._next - 1, first - 1, -1):
            if self._add(rows, pane * self._panes):
                ids = rows.present(rows.capacity)
                part = (ids, rows.select(ids))
            self._suffixes[pane] = part

    def _add(self, rows: Rows, code: int) -> bool:
        """Add the groups of a pane; False when there are none."""
        state = self._state
        dense = state.dense.get(code)
        if dense is not None:
            rows.merge_aligned(dense, min(dense.capacity, state.key_count))
            return True
        pooled = state.pool.of_codes([code])
        if len(pooled):
            rows.merge(state.pool.numbers[pooled], state.pool.rows.select(pooled))
        return len(pooled) > 0

    @property
    def nbytes(self) -> int:
        parts = {id(part): part for part in self._suffixes.values()}.values()
        lanes = [zip(self._state.accumulators, held, strict=True) for _, held in parts]
        return self._front.nbytes + sum(a.nbytes(each) for pairs in lanes for a, each in pairs)
