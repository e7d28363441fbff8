"""Small sorted runs of row numbers, one a group, one after the other in an arena; what changes is written anew."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from windrow.batch import Int64s

_NONE: Int64s = np.empty(0, np.int64)
#: Places without a run are tolerated up to the number of those with one, and this many.
_SLACK = 1 << 16


class Runs:
    """Row numbers and their ranks by group. What the groups that changed were like before is kept until `settle`."""

    def __init__(self) -> None:
        self.starts, self.counts = _NONE, _NONE
        self.rows, self.ranks = _NONE, _NONE
        self._used = 0
        self.live = 0  # rows in runs
        self._touched: npt.NDArray[np.bool_] = np.empty(0, np.bool_)
        self._before: list[tuple[Int64s, Int64s, Int64s]] = []

    @property
    def nbytes(self) -> int:
        return self.starts.nbytes + self.counts.nbytes + self.rows.nbytes + self.ranks.nbytes + self._touched.nbytes

    def ensure(self, groups: int) -> None:
        """Have room for so many groups."""
        if groups > len(self.counts):
            room = max(groups, 2 * len(self.counts), 1024)
            self.starts, self.counts = _grown(self.starts, room), _grown(self.counts, room)
            self._touched = np.concatenate([self._touched, np.zeros(room - len(self._touched), np.bool_)])

    def of(self, groups: Int64s) -> tuple[Int64s, Int64s, Int64s]:
        """The rows of these groups, run after run, their ranks, and the place in `groups` of each."""
        return self._at(self.starts[groups], self.counts[groups])

    def replace(self, groups: Int64s, counts: Int64s, rows: Int64s, ranks: Int64s) -> None:
        """These groups have from now on so many rows each: `rows`, run after run."""
        fresh = groups[~self._touched[groups]]
        if len(fresh):
            self._touched[fresh] = True
            self._before.append((fresh, self.starts[fresh], self.counts[fresh]))
        self.live += len(rows) - int(self.counts[groups].sum())
        end = self._used + len(rows)
        if end > len(self.rows):
            self.rows, self.ranks = _grown(self.rows, 2 * end), _grown(self.ranks, 2 * end)
        self.rows[self._used : end], self.ranks[self._used : end] = rows, ranks
        self.starts[groups] = self._used + np.cumsum(counts) - counts
        self.counts[groups] = counts
        self._used = end

    def changed(self) -> tuple[Int64s, tuple[Int64s, Int64s, Int64s]]:
        """The groups that changed since `settle`, and what `of` gave for them then."""
        if not self._before:
            return _NONE, (_NONE, _NONE, _NONE)
        groups, starts, counts = (np.concatenate(parts) for parts in zip(*self._before, strict=True))
        return groups, self._at(starts, counts)

    def settle(self) -> None:
        """Forget what was before."""
        for groups, _, _ in self._before:
            self._touched[groups] = False
        self._before.clear()
        if self._used > 2 * self.live + _SLACK:
            self._rewrite(self.alive())

    def alive(self) -> Int64s:
        """The groups that have rows."""
        return np.flatnonzero(self.counts)

    def renumber(self, groups: Int64s, rows: Int64s) -> None:
        """Group `groups[i]` is from now on i, and the n-th of `of(groups)` is row ``rows[n]``."""
        _, ranks, _ = self.of(groups)
        counts = self.counts[groups]
        self.__init__()  # type: ignore[misc]
        self.ensure(len(groups))
        self.replace(np.arange(len(groups)), counts, rows, ranks)
        self.settle()

    def _rewrite(self, groups: Int64s) -> None:
        rows, ranks, _ = self.of(groups)
        counts = self.counts[groups]
        self.rows, self.ranks, self._used = rows, ranks, len(rows)
        self.starts[groups] = np.cumsum(counts) - counts

    def _at(self, starts: Int64s, counts: Int64s) -> tuple[Int64s, Int64s, Int64s]:
        owners = np.repeat(np.arange(len(counts)), counts)
        places = np.arange(len(owners)) + np.repeat(starts - (np.cumsum(counts) - counts), counts)
        return self.rows[places], self.ranks[places], owners


def _grown(values: Int64s, room: int) -> Int64s:
    made = np.zeros(room, np.int64)
    made[: len(values)] = values
    return made


def ranks_of(groups: Int64s, values: Int64s, ties: str) -> Int64s:
    """The rank from 1 of each row within its group; rows lie sorted by group and then by `values` (a row of words
    each: those that count for a tie)."""
    size = len(groups)
    places = np.arange(size)
    fresh = np.ones(size, np.bool_)
    fresh[1:] = groups[1:] != groups[:-1]
    starts = np.maximum.accumulate(np.where(fresh, places, 0))
    if ties == "row_number":
        return places - starts + 1
    differs = fresh.copy()
    for word in values:
        differs[1:] |= word[1:] != word[:-1]
    if ties == "rank":
        return np.maximum.accumulate(np.where(differs, places, 0)) - starts + 1
    steps: Int64s = np.cumsum(differs)
    return steps - steps[starts] + 1
