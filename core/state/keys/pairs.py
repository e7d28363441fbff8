"""Rows found by a pair of numbers (int64 code, int32 number): the index of sparse panes and of sets of values."""

from __future__ import annotations

import numpy as np

from windrow.batch import Int32s, Int64s
from windrow.kernels.windows import pair_index, pair_rows
from windrow.state.columns import grown


class PairIndex:
    """Numbers pairs densely in the order in which they first come."""

    def __init__(self) -> None:
        self.size = 0
        self._codes: Int64s = np.empty(0, np.int64)
        self._numbers: Int32s = np.empty(0, np.int32)
        self._slots: Int32s = np.full(16, -1, np.int32)

    @property
    def codes(self) -> Int64s:
        return self._codes[: self.size]

    @property
    def numbers(self) -> Int32s:
        return self._numbers[: self.size]

    def rows(self, codes: Int64s, numbers: Int32s) -> Int32s:
        """The row of each pair, added where it is new; -1 where the number is negative."""
        self._ensure(self.size + len(codes))
        rows = np.empty(len(codes), np.int32)
        self.size = pair_rows(codes, numbers, self.size, self._slots, self._codes, self._numbers, rows)
        return rows

    def keep(self, rows: Int32s) -> None:
        """Have only these rows, numbered anew in this order."""
        self.replace(self._codes[rows], self._numbers[rows])

    def replace(self, codes: Int64s, numbers: Int32s) -> None:
        """Have exactly these pairs, which are all different."""
        self._codes, self._numbers, self.size = codes, numbers, len(codes)
        self._index(len(codes))

    def _ensure(self, size: int) -> None:
        if size > len(self._codes):
            capacity = max(size, len(self._codes) * 3 // 2, 64)
            self._codes = grown(self._codes, capacity)  # type: ignore[assignment]
            self._numbers = grown(self._numbers, capacity)  # type: ignore[assignment]
        if size * 2 > len(self._slots):
            self._index(size)

    def _index(self, size: int) -> None:
        self._slots = np.full(max(16, 1 << (2 * size).bit_length()), -1, np.int32)
        pair_index(self.codes, self.numbers, self._slots)

    @property
    def nbytes(self) -> int:
        return self._codes.nbytes + self._numbers.nbytes + self._slots.nbytes
