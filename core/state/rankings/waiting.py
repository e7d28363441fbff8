"""State of the first rows of windows: rows wait until their window closes, are ranked then, and are gone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from windrow.batch import ALL_VALID, TIME, Int32s, Int64s, Tables, take, take_rows, view
from windrow.errors import StateError
from windrow.kernels.groupagg import extreme_int
from windrow.plan.rank import Rank
from windrow.state.keys.local import group_rows
from windrow.state.keys.order import sortable
from windrow.state.rankings.slots import sort_keys
from windrow.state.saved import Meta

VERSION = 1
_META = Meta(VERSION)


class WaitingRanking:
    """One shard. Rows of a window come when it closes, so that in most epochs none has to wait for the next."""

    def __init__(self, rank: Rank, held: pa.Schema, output: Sequence[str]) -> None:
        self._rank = rank
        self._columns = held.names
        self._output = list(output)
        self._waiting: list[pa.RecordBatch] = []
        self._saved = 0  # how many rows waited at the last save

    @property
    def nbytes(self) -> int:
        return sum(batch.nbytes for batch in self._waiting)

    def process(self, data: pa.RecordBatch, side: int = 0) -> None:
        if data.num_rows:
            self._waiting.append(data)

    def advance(self, watermark_us: int) -> list[pa.RecordBatch]:
        if not self._waiting:
            return []
        rows = self._waiting[0] if len(self._waiting) == 1 else pa.concat_batches(self._waiting)
        closed = np.asarray(view(rows.column(TIME), np.int64)) < watermark_us
        self._waiting = [] if closed.all() else [rows.filter(pa.array(~closed))]
        if not closed.any():
            return []
        return [self._ranked(rows if closed.all() else rows.filter(pa.array(closed)))]

    def _ranked(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        grouped = group_rows([rows.column(name) for name in self._rank.per]) if self._rank.per else None
        groups = np.zeros(rows.num_rows, np.int32) if grouped is None else grouped[0]
        if self._rank.n == 1 and grouped is not None:
            best = self._may_be_first(rows, groups, len(grouped[1]))
            rows, groups = take_rows(rows, best), groups[best]
        width = len(self._rank.order) + 1
        keys = sort_keys(self._rank, rows).reshape(-1, width)
        order = np.lexsort([*(keys[:, k] for k in reversed(range(width))), groups])
        ranks = self._ranks(groups[order], keys[order, :-1])
        kept = ranks <= self._rank.n
        chosen = order[kept]
        made = {name: take(rows.column(name), chosen) for name in self._output if name != self._rank.rank}
        if self._rank.rank is not None:
            made[self._rank.rank] = pa.array(ranks[kept])
        made = {name: made[name] for name in self._output}
        made[TIME] = take(rows.column(TIME), chosen)
        return pa.RecordBatch.from_arrays(list(made.values()), names=list(made))

    def _may_be_first(self, rows: pa.RecordBatch, groups: Int32s, count: int) -> Int64s:
        """The rows of each group with the least first column of the order: to sort all of them for one rank took a
        quarter of q5."""
        by = self._rank.order[0]
        words = sortable(rows.column(by.column), by.descending)
        least = np.full(count, np.iinfo(np.int64).max)
        extreme_int(groups, words, ALL_VALID, False, least)
        return np.flatnonzero(words == least[groups])

    def _ranks(self, groups: Int32s, keys: Int64s) -> Int64s:
        """The rank of each row, all rows in order."""
        size = len(groups)
        first = np.ones(size, np.bool_)
        first[1:] = groups[1:] != groups[:-1]
        starts = np.maximum.accumulate(np.where(first, np.arange(size), 0))
        if self._rank.ties == "row_number":
            return np.asarray(np.arange(size) - starts + 1)
        differs = first.copy()
        differs[1:] |= (keys[1:] != keys[:-1]).any(axis=1)
        if self._rank.ties == "rank":
            ranks: Int64s = 1 - starts + np.maximum.accumulate(np.where(differs, np.arange(size), 0))
            return ranks
        distinct: Int64s = np.cumsum(differs, dtype=np.int64)
        return np.asarray(distinct - distinct[starts] + 1)

    def delta(self) -> Tables:
        waiting = sum(batch.num_rows for batch in self._waiting)
        if not waiting and not self._saved:
            return {}
        return self.snapshot()

    def snapshot(self) -> Tables:
        """All that waits: little, and gone with the next epoch or two."""
        self._saved = sum(batch.num_rows for batch in self._waiting)
        meta = _META.table(self._rank.name)
        if not self._waiting:
            return {"meta": meta}
        self._waiting = self._waiting if len(self._waiting) == 1 else [pa.concat_batches(self._waiting)]
        return {"meta": meta, "waiting": self._waiting[0]}

    def restore(self, snapshot: Tables | None, deltas: Sequence[Tables]) -> None:
        for tables in [*([snapshot] if snapshot is not None else []), *deltas]:
            _META.read(tables, self._rank.name)
            waiting = tables.get("waiting")
            if waiting is None:
                self._waiting, self._saved = [], 0
                continue
            if waiting.schema.names[: len(self._columns)] != self._columns:
                raise StateError(f"{self._rank.name}: saved rows have {waiting.schema.names}, expected {self._columns}")
            self._waiting = [waiting]
            self._saved = waiting.num_rows
