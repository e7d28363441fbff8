"""Sparse panes: groups of many panes together in one set of rows, found by (code of the pane, key id)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from windrow.batch import Int32s, Int64s
from windrow.state.accumulators.base import Accumulator
from windrow.state.accumulators.rows import PRESENT, Rows
from windrow.state.keys.pairs import PairIndex

_FEW = 4096
_NO_ROWS: Int32s = np.empty(0, np.int32)


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
        self._places: dict[int, list[Int32s]] = {}  # rows of each code, forgotten ones among them

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
            for code, count in self._file(before):
                self.counts[code] = self.counts.get(code, 0) + count
        return rows

    def _file(self, first: int) -> list[tuple[int, int]]:
        """Note which rows from `first` on each code has; gives the codes and how many rows each has got."""
        codes = self._index.codes[first:]
        order = np.argsort(codes, kind="stable")
        ordered, rows = codes[order], (order + first).astype(np.int32)
        starts = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
        bounds = [0, *starts.tolist(), len(ordered)]
        filed = []
        for code, (start, end) in zip(ordered[bounds[:-1]].tolist(), pairwise(bounds), strict=True):
            self._places.setdefault(code, []).append(rows[start:end])
            filed.append((code, end - start))
        return filed

    def live(self) -> Int32s:
        return self.rows.present(self._index.size)

    def of_codes(self, codes: Sequence[int]) -> Int32s:
        """Live rows of these panes, in the order in which they were made."""
        rows, _ = self.by_code(codes)
        return rows if len(codes) == 1 else np.sort(rows)

    def by_code(self, codes: Sequence[int]) -> tuple[Int32s, Int64s]:
        """Live rows of these panes, pane after pane, and for each row the place of its code in `codes`."""
        parts = [(number, rows) for number, code in enumerate(codes) for rows in self._places.get(code, ())]
        rows = np.concatenate([_NO_ROWS, *(rows for _, rows in parts)])
        places = np.repeat([number for number, _ in parts], [len(rows) for _, rows in parts]).astype(np.int64)
        live = (self.rows.flags[rows] & PRESENT) != 0
        return (rows, places) if live.all() else (rows[live], places[live])

    def drop(self, codes: Sequence[int]) -> None:
        """Forget these panes."""
        rows, _ = self.by_code(codes)
        for code in codes:
            self.counts.pop(code, None)
            self._places.pop(code, None)
        self._forget(rows)

    def drop_rows(self, rows: Int32s) -> None:
        """Forget these groups."""
        codes, counts = np.unique(self.codes[rows], return_counts=True)
        for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
            self.counts[code] -= count
            if self.counts[code] == 0:
                del self.counts[code], self._places[code]
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
        self._places = {}
        if len(rows):
            self._file(0)

    @property
    def nbytes(self) -> int:
        return self.rows.nbytes + self._index.nbytes + 4 * self._index.size
