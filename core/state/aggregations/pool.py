"""Sparse panes: groups of many panes together in one set of rows, found by (code of the pane, key id)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from windrow.batch import Int32s, Int64s
from windrow.state.accumulators.base import Accumulator
from windrow.state.accumulators.rows import Rows
from windrow.state.keys.pairs import PairIndex

_FEW = 4096


class Pool:
    """Its memory is proportional to the groups it holds, however many panes they are of."""

    def __init__(self, accumulators: Sequence[Accumulator], current: bool) -> None:
        self._accumulators = accumulators
        self._current = current
        self.clear()

    def clear(self) -> None:
        self.rows = Rows(self._accumulators, 0, current=self._current)
        self._index = PairIndex()
        self.counts: dict[int, int] = {}  # groups of each code

    @property
    def codes(self) -> Int64s:
        """Of each row; rows that are not live among them."""
        return self._index.codes

    @property
    def numbers(self) -> Int32s:
        return self._index.numbers

    def find(self, codes: Int64s, numbers: Int32s) -> Int32s:
        """Rows of these groups, made where they are new; -1 where the number is negative."""
        before = self._index.size
        rows = self._index.rows(codes, numbers)
        self.rows.ensure(self._index.size)
        if self._index.size > before:
            new, counts = np.unique(self._index.codes[before:], return_counts=True)
            for code, count in zip(new.tolist(), counts.tolist(), strict=True):
                self.counts[code] = self.counts.get(code, 0) + count
        return rows

    def live(self) -> Int32s:
        return self.rows.present(self._index.size)

    def of_codes(self, codes: Sequence[int]) -> Int32s:
        """Live rows of these panes, in the order in which they were made."""
        wanted = [code for code in codes if code in self.counts]
        if not wanted:
            return np.empty(0, np.int32)
        live = self.live()
        chosen: Int32s = live[np.isin(self.codes[live], np.array(wanted, np.int64))]
        return chosen

    def drop(self, codes: Sequence[int]) -> None:
        """Forget these panes."""
        rows = self.of_codes(codes)
        for code in codes:
            self.counts.pop(code, None)
        self._forget(rows)

    def drop_rows(self, rows: Int32s) -> None:
        """Forget these groups."""
        codes, counts = np.unique(self.codes[rows], return_counts=True)
        for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
            self.counts[code] -= count
            if self.counts[code] == 0:
                del self.counts[code]
        self._forget(rows)

    def _forget(self, rows: Int32s) -> None:
        """Their memory is free when forgotten groups are the larger part."""
        self.rows.forget(rows)
        live = sum(self.counts.values())
        if self._index.size > _FEW and live * 2 < self._index.size:
            self._keep(self.live())

    def renumber(self, numbers: Int32s) -> None:
        """Key id n is now ``numbers[n]``."""
        live = self.live()
        self._keep(live)
        self._index.replace(self.codes.copy(), numbers[self.numbers])

    def _keep(self, rows: Int32s) -> None:
        self.rows.keep(rows)
        self._index.keep(rows)

    @property
    def nbytes(self) -> int:
        return self.rows.nbytes + self._index.nbytes
