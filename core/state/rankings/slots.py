"""State of the first rows of groups that have no end: a Table of the best rows so far.

Each group has n slots with the numbers of its rows in a `RowStore` and what they are ordered by. Rows that lose their
place stay in the store until half of it is such rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from windrow.batch import ORIGIN, WEIGHT, Bytes, Int32s, Int64s, Tables, view
from windrow.errors import StateError
from windrow.kernels.topk import rank_rows
from windrow.plan.rank import Rank
from windrow.state.keys.order import sortable
from windrow.state.keys.table import KeyTable
from windrow.state.row_store import RowStore, int64s
from windrow.state.saved import Meta, table_of

VERSION = 1
_FEW_ROWS = 1 << 16
_META = Meta(VERSION, whole=pa.bool_(), first_key=pa.int64(), first_row=pa.int64(), seen=pa.int64())


class SlotRanking:
    """One shard. Of the columns in `held` those in `output` (and the rank) are given; `retract` as for an operator."""

    def __init__(self, rank: Rank, held: pa.Schema, output: Sequence[str], retract: bool) -> None:
        self._rank = rank
        self._output = list(output)
        self._retract = retract
        self._schema = pa.schema([field for field in held if field.name in (*rank.per, *output)])
        self._width = len(rank.order) + 1  # what they are ordered by, then arrival
        self._pieces: list[pa.RecordBatch] = []
        self._clear()

    def _clear(self) -> None:
        self._keys = KeyTable(self._rank.per_types) if self._rank.per else None
        self._store = RowStore(self._schema)
        self._counts: Int32s = np.zeros(0, np.int32)
        self._slot_keys: Int64s = np.empty(0, np.int64)
        self._slot_rows: Int64s = np.empty(0, np.int64)
        self._changed: list[Int32s] = []  # groups, since the last save
        self._saved_keys = self._saved_end = 0
        self._seen = 0  # rows that have come

    @property
    def nbytes(self) -> int:
        keys = 0 if self._keys is None else self._keys.nbytes
        return keys + self._store.nbytes + self._slot_keys.nbytes + self._slot_rows.nbytes + self._counts.nbytes

    def process(self, data: pa.RecordBatch, side: int = 0) -> None:
        if data.num_rows:
            self._pieces.append(data)

    def advance(self, watermark_us: int) -> list[pa.RecordBatch]:
        pieces, self._pieces = self._pieces, []
        emitted: list[pa.RecordBatch] = []
        for piece in pieces if len({piece.schema for piece in pieces}) > 1 else _joined(pieces):
            emitted += self._placed(piece)
        return emitted

    # -- ranking -------------------------------------------------------------------------------------------------

    def _placed(self, data: pa.RecordBatch) -> list[pa.RecordBatch]:
        size = self._rank.n
        groups = self._groups([data.column(name) for name in self._rank.per], data.num_rows)
        first = self._store.end
        touched: Bytes = np.zeros(self._group_count, np.uint8)
        most = min(data.num_rows, self._group_count)
        listed: Int32s = np.empty(most, np.int32)
        before: Int64s = np.empty(most * size, np.int64)
        keys = sort_keys(self._rank, data, self._seen)
        self._seen += data.num_rows
        found = rank_rows(
            groups, keys, self._width, first, size,
            self._slot_keys, self._slot_rows, self._counts, touched, listed, before,
        )  # fmt: skip
        if not found:
            return []
        order = np.argsort(listed[:found], kind="stable")  # not in which order the input was cut
        chosen, old = listed[:found][order], before[: found * size].reshape(found, size)[order]
        self._changed.append(chosen)
        new = self._settle(chosen, data, first)
        return self._differences(old, new)

    def _settle(self, chosen: Int32s, data: pa.RecordBatch, first: int) -> Int64s:
        """Store the rows of the batch that have a place, and give the slots of the groups with their final numbers."""
        slots = (chosen.astype(np.int64) * self._rank.n)[:, None] + np.arange(self._rank.n)
        filled = np.arange(self._rank.n) < self._counts[chosen][:, None]
        rows = np.where(filled, self._slot_rows[slots], -1)
        fresh = rows >= first
        kept = np.sort(rows[fresh])
        self._store.append(data.select(self._schema.names).take(pa.array(kept - first)))
        rows[fresh] = first + np.searchsorted(kept, rows[fresh])
        self._slot_rows[slots] = rows
        return rows

    def _differences(self, old: Int64s, new: Int64s) -> list[pa.RecordBatch]:
        """Rows taken back, then rows added, of slots before and after."""
        if self._rank.rank is not None or self._rank.n == 1:
            differs = old != new
            gone, come = differs & (old >= 0), differs & (new >= 0)
            if not self._retract:
                gone &= new < 0
        else:
            gone = (old >= 0) & ~np.isin(old, new[new >= 0])
            come = (new >= 0) & ~np.isin(new, old[old >= 0])
        parts = [self._emitted(old, gone, -1), self._emitted(new, come, 1)]
        filled = [part for part in parts if part is not None]
        return [pa.concat_batches(filled)] if len(filled) > 1 else filled

    def _emitted(self, slots: Int64s, chosen: npt.NDArray[np.bool_], weight: int) -> pa.RecordBatch | None:
        rows = slots[chosen]
        if len(rows) == 0:
            return None
        names = [name for name in self._output if name != self._rank.rank]
        made = dict(zip(names, self._store.take(names, rows), strict=True))
        if self._rank.rank is not None:
            made[self._rank.rank] = pa.array(np.nonzero(chosen)[1].astype(np.int64) + 1)
        made = {name: made[name] for name in self._output}
        made[WEIGHT] = pa.array(np.full(len(rows), weight, np.int8))
        return pa.RecordBatch.from_arrays(list(made.values()), names=list(made))

    def _groups(self, per: list[pa.Array], rows: int) -> Int32s:
        groups: Int32s = np.zeros(rows, np.int32) if self._keys is None else self._keys.ids(per)
        self._ensure(self._group_count)
        return groups

    @property
    def _group_count(self) -> int:
        return 1 if self._keys is None else len(self._keys)

    def _ensure(self, groups: int) -> None:
        if groups <= len(self._counts):
            return
        room = max(groups, len(self._counts) * 3 // 2, 64)
        self._counts = _grown(self._counts, room)
        self._slot_rows = _grown(self._slot_rows, room * self._rank.n)
        self._slot_keys = _grown(self._slot_keys, room * self._rank.n * self._width)

    # -- saving --------------------------------------------------------------------------------------------------

    def delta(self) -> Tables:
        return self._save(whole=False) if self._changed else {}

    def snapshot(self) -> Tables:
        return self._save(whole=True)

    def _save(self, whole: bool) -> Tables:
        if len(self._store) - int(self._counts.sum()) > max(len(self._store) // 2, _FEW_ROWS):
            self._compact()
            whole = True
        first_key, first_row = (0, self._store.base) if whole else (self._saved_keys, self._saved_end)
        name = self._rank.name
        meta = _META.table(name, whole=whole, first_key=first_key, first_row=first_row, seen=self._seen)
        tables = {"meta": meta}
        if self._keys is not None:
            new = np.arange(first_key, len(self._keys), dtype=np.int32)
            tables["keys"] = pa.RecordBatch.from_arrays(self._keys.keys(new), names=list(self._rank.per))
            self._saved_keys = len(self._keys)
        tables["rows"] = self._store.rows(first_row, self._store.end)
        tables["slots"] = self._saved_slots(whole)
        self._saved_end = self._store.end
        self._changed.clear()
        return tables

    def _saved_slots(self, whole: bool) -> pa.RecordBatch:
        if whole:
            groups = np.flatnonzero(self._counts).astype(np.int32)
        else:
            groups = np.unique(np.concatenate([np.empty(0, np.int32), *self._changed])).astype(np.int32)
        counts = self._counts[groups]
        of = np.repeat(groups, counts).astype(np.int64)
        starts = np.repeat(np.cumsum(counts) - counts, counts)
        slots = of * self._rank.n + np.arange(len(of)) - starts
        columns = {"group": of, "row": self._slot_rows[slots]}
        columns |= {f"by{k}": self._slot_keys[slots * self._width + k] for k in range(self._width)}
        return pa.RecordBatch.from_pydict(columns)

    def _compact(self) -> None:
        """Have no rows in the store that no slot names."""
        groups = np.flatnonzero(self._counts)
        slots = (groups * self._rank.n)[:, None] + np.arange(self._rank.n)
        filled = slots[np.arange(self._rank.n) < self._counts[groups][:, None]]
        rows = np.sort(self._slot_rows[filled])
        store = RowStore(self._schema)
        store.append(pa.RecordBatch.from_arrays(self._store.take(self._schema.names, rows), schema=self._schema))
        self._slot_rows[filled] = np.searchsorted(rows, self._slot_rows[filled])
        self._store = store

    def restore(self, snapshot: Tables | None, deltas: Sequence[Tables]) -> None:
        for tables in [*([snapshot] if snapshot is not None else []), *deltas]:
            self._apply(tables)

    def _apply(self, tables: Tables) -> None:
        name = self._rank.name
        meta = _META.read(tables, name)
        if meta["whole"]:
            self._clear()
            self._store.start_at(meta["first_row"])
        self._seen = meta["seen"]
        if self._keys is not None:
            if meta["first_key"] != len(self._keys):
                raise StateError(
                    f"{name}: a delta starts at group {meta['first_key']}, but there are {len(self._keys)}"
                )
            saved = table_of(tables, "keys", name)
            if saved.num_rows:
                self._keys.ids(list(saved.columns))
            self._saved_keys = len(self._keys)
        self._ensure(self._group_count)
        if meta["first_row"] != self._store.end:
            raise StateError(f"{name}: a delta starts at row {meta['first_row']}, but there are {self._store.end}")
        self._store.append(table_of(tables, "rows", name))
        self._saved_end = self._store.end
        self._put_slots(table_of(tables, "slots", name))

    def _put_slots(self, saved: pa.RecordBatch) -> None:
        of = int64s(saved, "group")
        groups, starts, counts = np.unique(of, return_index=True, return_counts=True)
        self._counts[groups] = counts
        slots = of * self._rank.n + np.arange(len(of)) - np.repeat(starts, counts)
        self._slot_rows[slots] = int64s(saved, "row")
        for k in range(self._width):
            self._slot_keys[slots * self._width + k] = int64s(saved, f"by{k}")


def sort_keys(rank: Rank, data: pa.RecordBatch, seen: int = 0) -> Int64s:
    """What rows are ordered by, row after row: the columns of `rank.order`, then arrival, as the source tells it or
    else as they came here, after `seen` others."""
    keys = np.empty((data.num_rows, len(rank.order) + 1), np.int64)
    for k, order in enumerate(rank.order):
        keys[:, k] = sortable(data.column(order.column), order.descending)
    known = ORIGIN in data.schema.names
    keys[:, -1] = view(data.column(ORIGIN), np.int64) if known else np.arange(seen, seen + data.num_rows)
    if rank.latest:
        keys[:, -1] = ~keys[:, -1]
    return keys.reshape(-1)


def _joined(pieces: list[pa.RecordBatch]) -> list[pa.RecordBatch]:
    return pieces if len(pieces) < 2 else [pa.concat_batches(pieces)]


def _grown(array: Any, size: int) -> Any:
    larger = np.zeros(size, array.dtype)
    larger[: len(array)] = array
    return larger
