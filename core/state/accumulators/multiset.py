"""For each group a set of numbers with an amount each: values as often as they came, buckets, registers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from windrow.batch import Int32s, Int64s
from windrow.kernels import chains
from windrow.state.columns import grown
from windrow.state.keys.pairs import PairIndex

_NO_TIMES: Int64s = np.empty(0, np.int64)
_AT_ONCE = 1 << 16
#: Items without an amount are tolerated up to the number of the others, and this many.
_SLACK = 4096


class Multiset:
    """Items (group, code) with an amount; 0 is as good as none. The items of a group are chained, so that looking at
    some groups costs what they hold and not what all do."""

    def __init__(self, groups: int) -> None:
        self._index = PairIndex()
        self._amounts: Int64s = np.empty(0, np.int64)
        self._nexts: Int64s = np.empty(0, np.int64)
        self._heads: Int64s = np.full(groups, -1, np.int64)
        self._kept = 0  # items after the last compaction

    @property
    def codes(self) -> Int64s:
        return self._index.codes

    @property
    def groups(self) -> Int32s:
        return self._index.numbers

    @property
    def amounts(self) -> Int64s:
        return self._amounts[: self._index.size]

    def grow(self, groups: int) -> None:
        self._heads = grown(self._heads, groups, -1)  # type: ignore[assignment]

    def add(self, groups: Int32s, codes: Int64s, amounts: Int64s | int, combine: np.ufunc = np.add) -> None:
        """``amount = combine(amount, new)`` of each item, one after the other; a negative group skips the item."""
        before = self._index.size
        rows = self._index.rows(codes, groups)
        self._link(before)
        if (groups < 0).any():
            there = rows >= 0
            rows = rows[there]
            amounts = amounts if isinstance(amounts, int) else amounts[there]
        combine.at(self._amounts, rows, amounts)

    def _link(self, first: int) -> None:
        size = self._index.size
        if size > len(self._amounts):
            room = max(size, 2 * len(self._amounts), 64)
            self._amounts = grown(self._amounts, room)  # type: ignore[assignment]
            self._nexts = grown(self._nexts, room)  # type: ignore[assignment]
        if size > first:
            chains.link_rows(self.groups[first:], _NO_TIMES, first, 0, self._heads, self._nexts, _NO_TIMES.copy())

    def of(self, groups: Int32s) -> tuple[Int64s, Int64s]:
        """Where the items of these groups lie, those with an amount, and for each the place of its group in `groups`,
        ascending."""
        cursor = np.array([0, -2], np.int64)
        found: list[tuple[Int64s, Int64s]] = []
        while cursor[0] < len(groups):
            owners, rows = np.empty(_AT_ONCE, np.int64), np.empty(_AT_ONCE, np.int64)
            count = chains.probe_chains(
                groups, _NO_TIMES, 0, 0, 0, self._heads, self._nexts, _NO_TIMES, _NO_TIMES, cursor, owners, rows
            )
            found.append((owners[:count], rows[:count]))
        if not found:
            return _NO_TIMES, _NO_TIMES
        owners, rows = (np.concatenate(parts) for parts in zip(*found, strict=True))
        some = self._amounts[rows] != 0
        return rows[some], owners[some]

    def clear(self, groups: Int32s) -> None:
        """These groups hold nothing."""
        self._amounts[self.of(groups)[0]] = 0

    def negate(self) -> None:
        self._amounts = -self._amounts

    def compact(self) -> None:
        """Forget items without an amount when they may be the larger part."""
        if self._index.size > 2 * self._kept + _SLACK:
            self.keep(self.amounts != 0)

    def keep(self, mask: npt.NDArray[np.bool_], codes: Int64s | None = None) -> None:
        """Have only the items where `mask` is set; with `codes`, the codes of all are those from now on."""
        kept = np.flatnonzero(mask)
        amounts = self._amounts[kept]
        self._index.replace((self.codes if codes is None else codes)[kept], self.groups[kept])
        self._amounts = amounts
        self._nexts = np.empty(len(kept), np.int64)
        self._heads[:] = -1
        self._link(0)
        self._kept = len(kept)

    @property
    def nbytes(self) -> int:
        return self._index.nbytes + self._amounts.nbytes + self._nexts.nbytes + self._heads.nbytes
