"""State of a ranking in one shard: the rows that can come out, once, and for each group a sorted run of their numbers.

Of a stream only rows of rank n or less are kept: one that another has pushed out never comes back. Of a Table all rows
are, because every one before it may be taken back.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from windrow.batch import TIME, WEIGHT, Int64s, Tables, take, take_rows, view
from windrow.errors import InvariantError
from windrow.plan.rank import Rank
from windrow.state.changes import consolidated
from windrow.state.keys.local import group_rows
from windrow.state.keys.same import all_same, exact_ids
from windrow.state.keys.table import KeyTable
from windrow.state.rankings import saved
from windrow.state.rankings.arena import Runs, ranks_of
from windrow.state.rankings.sort_words import sort_words, width_of
from windrow.state.row_store import RowStore
from windrow.units import BEFORE_TIME_US

_LAST = 2**63 - 1
_NONE: Int64s = np.empty(0, np.int64)
_FEW = 4096


class RunRanking:
    """One shard of a ranking. `held` are the columns that are kept, hidden ones among them, `columns` those of the
    result that are read; with `retract`, a row that another replaces is taken back."""

    def __init__(self, rank: Rank, held: pa.Schema, columns: Sequence[str], retract: bool) -> None:
        self.rank, self._retract = rank, retract
        self._columns = columns
        self._kept = 2 if rank.alone else rank.n  # of a stream
        self.watermark_us = BEFORE_TIME_US
        self.store = RowStore(held)
        self.log = saved.ChangeLog()
        self.clear()

    def clear(self) -> None:
        """Hold nothing."""
        self.keys = KeyTable(self.rank.per_types) if self.rank.per else None
        self.store.start_at(0)
        self.runs = Runs()
        self.words: Int64s = np.empty((width_of(self.rank), 0), np.int64)
        self.times: Int64s = _NONE  # of each group, when it closes
        self._worst: Int64s = _NONE  # the first word that a row must not exceed to come into the group

    @property
    def nbytes(self) -> int:
        keys = 0 if self.keys is None else self.keys.nbytes
        return keys + self.store.nbytes + self.runs.nbytes + self.words.nbytes + self._worst.nbytes + self.times.nbytes

    # -- rows in -------------------------------------------------------------------------------------------------

    def process(self, data: pa.RecordBatch, side: int = 0) -> None:
        self.log.begin(self)
        self.take(data)

    def take(self, data: pa.RecordBatch) -> None:
        """Put rows where they belong."""
        if data.num_rows == 0:
            return
        groups, words = self._groups(data), sort_words(self.rank, data)
        if self.rank.weighted:
            self._change(data, groups, words)
        else:
            self._insert(data, groups, words)

    def _groups(self, data: pa.RecordBatch) -> Int64s:
        if self.keys is None:
            ids, size = np.zeros(data.num_rows, np.int64), 1
        else:
            ids = self.keys.ids([data.column(name) for name in self.rank.per]).astype(np.int64)
            size = len(self.keys)
        self.runs.ensure(size)
        room = len(self.runs.counts)
        if room > len(self._worst):
            self._worst = np.concatenate([self._worst, np.full(room - len(self._worst), _LAST)])
            if self.rank.closed:
                self.times = np.concatenate([self.times, np.zeros(room - len(self.times), np.int64)])
        if self.rank.closed:
            self.times[ids] = view(data.column(TIME), np.int64)  # all rows of a group have the same
        return ids

    def _insert(self, data: pa.RecordBatch, groups: Int64s, words: Int64s) -> None:
        """Rows of a stream; what comes after enough others in its group is not even looked at."""
        first = self._first_word
        chosen = np.flatnonzero((words[first] <= self._worst[groups]) | (words[0] != 0 if self.rank.order else False))
        if len(chosen) == 0:
            return
        if len(chosen) < len(groups):
            groups, words = groups[chosen], words[:, chosen]
        touched, old, owners, order, ranks = self._sorted(groups, words)
        kept = ranks <= self._kept
        order, ranks = order[kept], ranks[kept]
        new = order >= len(old)
        coming = np.sort(order[new]) - len(old)
        rows = np.empty(len(order), np.int64)
        rows[~new] = old[order[~new]]
        numbers = self._store(_taken(data, chosen[coming]), words[:, coming])
        rows[new] = numbers[np.searchsorted(coming, order[new] - len(old))]
        gone = np.ones(len(old), np.bool_)
        gone[order[~new]] = False
        self.log.gone(old[gone])
        counts = np.bincount(owners[order], minlength=len(touched))
        self.runs.replace(touched, counts, rows, ranks)
        self._bound(touched, counts, rows)

    @property
    def _first_word(self) -> int:
        return 1 if self.rank.order else 0

    def _bound(self, touched: Int64s, counts: Int64s, rows: Int64s) -> None:
        """Note of the groups that are full what their last row is like."""
        full = counts >= self._kept
        if self.rank.ties == "dense_rank" or not full.any():
            return
        last = rows[np.cumsum(counts)[full] - 1]
        worst = self.words[self._first_word, last]
        if self.rank.order:
            worst = np.where(self.words[0, last] != 0, _LAST, worst)
        self._worst[touched[full]] = worst

    def _change(self, data: pa.RecordBatch, groups: Int64s, words: Int64s) -> None:
        """Changes of a Table: rows that are taken back are found among those of their group by what they are."""
        added = view(data.column(WEIGHT), np.int8) == 1
        coming = np.flatnonzero(added)
        touched, old, owners, order, _ = self._sorted(groups[coming], words[:, coming], groups)
        numbers = self._store(_taken(data, coming), words[:, coming])
        rows = np.concatenate([old, numbers])
        there = touched[owners]
        alive = np.ones(len(rows), np.bool_)
        if len(coming) < data.num_rows:
            taken_back = _taken(data, np.flatnonzero(~added))
            alive = self._left(rows, there, words[-1, ~added], groups[~added], taken_back)
            self.log.gone(rows[~alive])
        order = order[alive[order]]
        ranks = ranks_of(there[order], self.words[:-1, rows[order]], self.rank.ties)
        self.runs.replace(touched, np.bincount(owners[order], minlength=len(touched)), rows[order], ranks)

    def _left(
        self, rows: Int64s, groups: Int64s, hashes: Int64s, gone_groups: Int64s, gone: pa.RecordBatch
    ) -> npt.NDArray[np.bool_]:
        """Which of some rows are left when as many equal ones as are gone are taken out, the newest first."""
        size, names = len(rows), [name for name, _ in self.rank.columns]
        both = pa.array(np.concatenate([groups, gone_groups]))
        kinds = exact_ids([both, pa.array(np.concatenate([self.words[-1, rows], hashes]))])
        asked = np.full(int(kinds.max()) + 1, -1)
        asked[kinds[size:]] = np.arange(gone.num_rows)
        alike = np.flatnonzero(asked[kinds[:size]] >= 0)
        stored, columns = self.store.take(names, rows[alike]), [gone.column(name) for name in names]
        wanted = np.concatenate([asked[kinds[alike]], asked[kinds[size:]]])
        found = [pa.concat_arrays([one, other.cast(one.type)]) for one, other in zip(stored, columns, strict=True)]
        if not all_same(found, [take(column, wanted) for column in columns]):  # two rows have the same hash
            looked_at = np.append(alike, np.arange(size, len(both)))
            numbers = exact_ids([both.take(pa.array(looked_at)), *found])
            kinds = np.full(len(both), int(numbers.max()) + 1, np.int32)  # that of all rows of which none is gone
            kinds[looked_at] = numbers
        there, out = (np.bincount(part, minlength=int(kinds.max()) + 1) for part in (kinds[:size], kinds[size:]))
        if (out > there).any():
            raise InvariantError(f"{self.rank.name}: a row is taken back that was never there")
        mine = kinds[:size]
        order = np.argsort(mine, kind="stable")
        place = np.arange(size) - (np.cumsum(there) - there)[mine[order]]
        left = np.empty(size, np.bool_)
        left[order] = place < (there - out)[mine[order]]
        return left

    def _sorted(
        self, groups: Int64s, words: Int64s, all_groups: Int64s | None = None
    ) -> tuple[Int64s, Int64s, Int64s, Int64s, Int64s]:
        """The groups that these rows are of, their rows so far, the group's place of each of those and then of each of
        these, the order in which they all come, and their ranks."""
        touched, mine = np.unique(groups if all_groups is None else all_groups, return_inverse=True)
        if all_groups is not None:
            mine = np.searchsorted(touched, groups)
        old, _, owners = self.runs.of(touched)
        owners = np.concatenate([owners, mine])
        every = np.concatenate([self.words[:, old], words], axis=1)
        used = [word for word in every if len(word) and word.any()]
        order: Int64s = np.lexsort((*reversed(used), owners)) if len(owners) else _NONE
        ranks = ranks_of(owners[order], every[:-1, order], self.rank.ties)
        return touched, old, owners, order, ranks

    def _store(self, data: pa.RecordBatch, words: Int64s) -> Int64s:
        """Keep these rows; their numbers."""
        first = self.store.append(data)
        end = self.store.end
        if end > self.words.shape[1]:
            grown = np.empty((len(self.words), max(2 * end, 1024)), np.int64)
            grown[:, :first] = self.words[:, :first]
            self.words = grown
        self.words[:, first:end] = words
        return np.arange(first, end)

    # -- rows out ------------------------------------------------------------------------------------------------

    def advance(self, watermark_us: int) -> Iterator[pa.RecordBatch]:
        self.log.begin(self)
        self.watermark_us = max(watermark_us, self.watermark_us)
        if self.rank.closed:
            yield from self._close()
        else:
            yield from self._changes()
        self.runs.settle()
        self.log.ended()

    def _close(self) -> Iterator[pa.RecordBatch]:
        """The groups whose time the watermark has passed, as rows that stay."""
        alive = self.runs.alive()
        closed = alive[self.times[alive] < self.watermark_us]
        if len(closed) == 0:
            return
        rows, ranks, _ = self.runs.of(closed)
        wanted = self._wanted(*self.runs.of(closed))
        batch = self._batch(rows[wanted], ranks[wanted])
        times = self.store.take([TIME], rows[wanted])[0]
        self.runs.replace(closed, np.zeros(len(closed), np.int64), _NONE, _NONE)
        self._worst[closed] = _LAST
        self.log.gone(rows)
        yield batch.append_column(TIME, times)

    def _changes(self) -> Iterator[pa.RecordBatch]:
        groups, before = self.runs.changed()
        if len(groups) == 0:
            return
        now = self.runs.of(groups)
        (old, old_ranks), (new, new_ranks) = (
            [part[0][wanted], part[1][wanted]]
            for part, wanted in ((before, self._wanted(*before)), (now, self._wanted(*now)))
        )
        minus, plus = self._differing(old, old_ranks, new, new_ranks), self._differing(new, new_ranks, old, old_ranks)
        weights = np.repeat(np.array([-1, 1], np.int8), [len(minus), len(plus)])
        rows = np.concatenate([old[minus], new[plus]])
        if len(rows) == 0:
            return
        batch = self._batch(rows, np.concatenate([old_ranks[minus], new_ranks[plus]]))
        batch = batch.append_column(WEIGHT, pa.array(weights))
        yield consolidated(batch) if self._retract else self._unanswered(batch, len(minus))

    def _wanted(self, rows: Int64s, ranks: Int64s, owners: Int64s) -> npt.NDArray[np.bool_]:
        """Which of some runs' rows come out."""
        if not self.rank.alone:
            wanted: npt.NDArray[np.bool_] = ranks <= self.rank.n
            return wanted
        alone: npt.NDArray[np.bool_] = np.bincount(owners, minlength=1)[owners] == 1
        return alone

    def _differing(self, rows: Int64s, ranks: Int64s, others: Int64s, other_ranks: Int64s) -> Int64s:
        """The places of the rows that are not among the others, or have another rank there that comes out."""
        if len(others) == 0:
            return np.arange(len(rows))
        order = np.argsort(others)
        places = order[np.minimum(np.searchsorted(others, rows, sorter=order), len(others) - 1)]
        same = others[places] == rows
        if self.rank.rank in self._columns:
            same &= other_ranks[places] == ranks
        return np.flatnonzero(~same)

    def _batch(self, rows: Int64s, ranks: Int64s) -> pa.RecordBatch:
        names = [name for name in self._columns if name != self.rank.rank]
        made = dict(zip(names, self.store.take(names, rows), strict=True))
        if self.rank.rank is not None:
            made[self.rank.rank] = pa.array(ranks)
        arrays = [made[name] for name in self._columns]
        return pa.RecordBatch.from_arrays(arrays, names=list(self._columns))

    def _unanswered(self, batch: pa.RecordBatch, minus: int) -> pa.RecordBatch:
        """Without the rows taken back that a new one with the same key replaces."""
        key = self.rank.key
        if minus == 0 or key is None or not set(key) <= set(self._columns):
            return batch
        grouped = group_rows([batch.column(name) for name in key]) if key else None
        ids = np.zeros(batch.num_rows, np.int64) if grouped is None else grouped[0]
        sent = np.ones(batch.num_rows, np.bool_)
        sent[:minus] = ~np.isin(ids[:minus], ids[minus:])
        return _taken(batch, np.flatnonzero(sent))

    # -- what is dropped, and saved ------------------------------------------------------------------------------

    def compact(self) -> bool:
        """Keep only rows that are in a run, and keys that have one; False when it is not worth it."""
        keys = 0 if self.keys is None else len(self.keys)
        groups = self.runs.alive()
        wasted = len(self.store) > 2 * self.runs.live + _FEW or (self.rank.closed and keys > 2 * len(groups) + _FEW)
        if not wasted:
            return False
        rows, _, _ = self.runs.of(groups)
        order = np.sort(rows)
        batch = pa.RecordBatch.from_arrays(self.store.take(self.store.schema.names, order), schema=self.store.schema)
        words = self.words[:, order]
        self.store.start_at(0)
        self.words = np.empty((len(words), 0), np.int64)
        self._store(batch, words)
        self.runs.renumber(groups, np.searchsorted(order, rows))
        if self.keys is not None:
            mask = np.zeros(keys, np.bool_)
            mask[groups] = True
            self.keys.keep(mask)
        self._worst = _fitted(self._worst[groups], len(self.runs.counts), _LAST)
        if self.rank.closed:
            self.times = _fitted(self.times[groups], len(self.runs.counts), 0)
        return True

    def delta(self) -> Tables:
        return self.log.save(self, whole=False)

    def snapshot(self) -> Tables:
        return self.log.save(self, whole=True)

    def restore(self, snapshot: Tables | None, deltas: Sequence[Tables]) -> None:
        saved.restore(self, [*([snapshot] if snapshot is not None else []), *deltas])


def _taken(data: pa.RecordBatch, rows: Int64s) -> pa.RecordBatch:
    if len(rows) == data.num_rows:
        return data
    return take_rows(data, rows)


def _fitted(values: Int64s, size: int, rest: int) -> Int64s:
    return np.concatenate([values, np.full(size - len(values), rest, np.int64)])
