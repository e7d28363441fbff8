"""State of aggregates over frames: every row that is there, by group.

Rows of a Table have a place by their key, rows of a stream each one of their own. An epoch's changes are applied to the
rows, and the groups that they touch are computed anew, before and after: what differs is sent.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from windrow.arrow_types import to_arrow_type
from windrow.batch import WEIGHT, Bytes, Int32s, Int64s, Tables, view
from windrow.errors import InvariantError, StateError
from windrow.plan.over import Over
from windrow.state.changes import differing
from windrow.state.frames.frames import framed, frames
from windrow.state.keys.order import sortable
from windrow.state.keys.table import KeyTable
from windrow.state.row_store import RowStore, int64s
from windrow.state.saved import Meta, table_of

VERSION = 1
_FEW_ROWS = 1 << 16
_META = Meta(VERSION, whole=pa.bool_(), first_row=pa.int64())


class OverState:
    """One shard. `columns` and `arguments` are kept of each row, `output` is given; `retract` as for an operator."""

    def __init__(
        self, over: Over, columns: Sequence[str], arguments: Sequence[str], output: Sequence[str], retract: bool
    ) -> None:
        self._over = over
        self._kept = [*columns, *arguments]
        self._output = list(output)
        self._retract = retract
        self._schema: pa.Schema | None = None
        self._pieces: list[pa.RecordBatch] = []
        self._clear()

    def _clear(self) -> None:
        kinds = dict(self._over.columns)
        self._groups = KeyTable([kinds[name] for name in self._over.per]) if self._over.per else None
        self._places = KeyTable([kinds[name] for name in self._over.key]) if self._over.key else None
        self._store: RowStore | None = None if self._schema is None else RowStore(self._schema)
        self._row_of: Int64s = np.empty(0, np.int64)  # by place; -1: there is no row
        self._group_of: Int32s = np.empty(0, np.int32)
        self._count = 0  # places
        self._alive = 0
        self._changed: list[Int64s] = []  # places, since the last save
        self._saved_end = 0
        self._saved_counts: dict[str, int] = {}  # keys, by table

    @property
    def nbytes(self) -> int:
        held = sum(0 if table is None else table.nbytes for table in (self._groups, self._places, self._store))
        return held + self._row_of.nbytes + self._group_of.nbytes

    def process(self, data: pa.RecordBatch, side: int = 0) -> None:
        if data.num_rows:
            self._pieces.append(data)

    def advance(self, watermark_us: int) -> list[pa.RecordBatch]:
        pieces, self._pieces = self._pieces, []
        if not pieces:
            return []
        groups = np.unique(np.concatenate([self._group_ids(piece) for piece in pieces]))
        old_places, old = self._results(groups, -1)
        for piece in pieces:
            self._take(piece)
        new_places, new = self._results(groups, 1)
        return differing(old_places, old, new_places, new, retract=self._retract)

    # -- rows ----------------------------------------------------------------------------------------------------

    def _take(self, data: pa.RecordBatch) -> None:
        weights = np.asarray(view(data.column(WEIGHT), np.int8)) if WEIGHT in data.schema.names else None
        if self._places is None and weights is not None and (weights < 0).any():
            raise InvariantError(f"{self._over.name}: a row of a stream was taken back")
        places = self._place_ids(data)
        self._ensure(int(places.max(initial=-1)) + 1)
        added = np.ones(len(places), np.bool_) if weights is None else weights > 0
        # of several changes to one place the last one counts
        last = len(places) - 1 - np.unique(places[::-1], return_index=True)[1]
        gone, come = last[~added[last]], np.sort(last[added[last]])
        touched = places[last]
        before = int(np.count_nonzero(self._row_of[touched] >= 0))
        self._row_of[places[gone]] = -1
        rows = data.select(self._kept)
        store = self._opened(rows.schema)
        first = store.append(rows if len(come) == len(places) else rows.take(pa.array(come)))
        self._row_of[places[come]] = np.arange(first, first + len(come))
        self._group_of[places[come]] = self._group_ids(data)[come]
        self._alive += len(come) - before
        self._changed.append(touched.astype(np.int64))

    def _opened(self, schema: pa.Schema) -> RowStore:
        if self._store is None:
            self._schema = schema
            self._store = RowStore(schema)
        return self._store

    def _group_ids(self, data: pa.RecordBatch) -> Int32s:
        if self._groups is None:
            return np.zeros(data.num_rows, np.int32)
        ids: Int32s = self._groups.ids([data.column(name) for name in self._over.per])
        return ids

    def _place_ids(self, data: pa.RecordBatch) -> Int64s:
        if self._places is None:
            return np.arange(self._count, self._count + data.num_rows)
        return self._places.ids([data.column(name) for name in self._over.key or ()]).astype(np.int64)

    def _ensure(self, places: int) -> None:
        if places > len(self._row_of):
            room = max(places, len(self._row_of) * 3 // 2, 64)
            self._row_of = _grown(self._row_of, room, -1)
            self._group_of = _grown(self._group_of, room, -1)
        self._count = max(self._count, places)

    # -- results -------------------------------------------------------------------------------------------------

    def _results(self, groups: Int32s, weight: int) -> tuple[Int32s, pa.RecordBatch]:
        """The rows of these groups with their aggregates, by ascending place."""
        wanted: Bytes = np.zeros(int(groups.max(initial=0)) + 2, np.uint8)
        wanted[groups] = 1
        of = self._group_of[: self._count]
        chosen = wanted[np.minimum(of, len(wanted) - 1)].view(np.bool_) & (of >= 0) & (self._row_of[: self._count] >= 0)
        places = np.flatnonzero(chosen)
        if len(places) == 0:
            return np.empty(0, np.int32), self._nothing()
        assert self._store is not None
        numbers = self._row_of[places]
        keys = [sortable(column, False) for column in self._store.take(self._over.by, numbers)]
        order = np.lexsort(np.stack([places, *reversed(keys), of[places]]))
        rows = pa.RecordBatch.from_arrays(self._store.take(self._kept, numbers[order]), names=self._kept)
        starts, ends = frames(self._over, of[places][order], keys[0][order])
        made = {name: rows.column(name) for name in self._output if name in self._kept}
        made |= {a.name: framed(a, rows, starts, ends) for a in self._over.aggregates if a.name in self._output}
        made = {name: made[name] for name in self._output}
        made[WEIGHT] = pa.array(np.full(len(order), weight, np.int8))
        back = np.argsort(order, kind="stable")
        ordered = pa.RecordBatch.from_arrays(list(made.values()), names=list(made)).take(pa.array(back))
        return places.astype(np.int32), ordered

    def _nothing(self) -> pa.RecordBatch:
        kinds = dict(self._over.columns) | {a.name: a.type for a in self._over.aggregates}
        fields = [(name, to_arrow_type(kinds[name])) for name in self._output]
        schema = pa.schema([*fields, (WEIGHT, pa.int8())])
        return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in schema], schema=schema)

    # -- saving --------------------------------------------------------------------------------------------------

    def delta(self) -> Tables:
        return self._save(whole=False) if self._changed else {}

    def snapshot(self) -> Tables:
        return self._save(whole=True)

    def _save(self, whole: bool) -> Tables:
        """The rows since the last save, and for each place that has changed its row; places and groups are made anew
        from the rows."""
        if self._store is not None and len(self._store) - self._alive > max(len(self._store) // 2, _FEW_ROWS):
            self._compact()
            whole = True
        first = 0 if self._store is None else (self._store.base if whole else self._saved_end)
        tables = {"meta": _META.table(self._over.name, whole=whole, first_row=first)}
        if self._store is not None:
            changed = np.unique(np.concatenate([np.empty(0, np.int64), *self._changed]))
            places = np.flatnonzero(self._row_of[: self._count] >= 0) if whole else changed
            tables["rows"] = self._store.rows(first, self._store.end)
            tables["places"] = pa.RecordBatch.from_pydict(
                {"place": places, "row": self._row_of[places], "group": self._group_of[places].astype(np.int64)}
            )
            tables |= self._saved_keys(whole)
            self._saved_end = self._store.end
        self._changed.clear()
        return tables

    def _saved_keys(self, whole: bool) -> Tables:
        """All keys of groups and places when `whole`, else the new ones."""
        made = {}
        for name, table, columns in (
            ("group_keys", self._groups, self._over.per), ("place_keys", self._places, self._over.key or ()),
        ):  # fmt: skip
            if table is not None:
                first = 0 if whole else self._saved_counts.get(name, 0)
                new = np.arange(first, len(table), dtype=np.int32)
                made[name] = pa.RecordBatch.from_arrays(table.keys(new), names=list(columns))
                self._saved_counts[name] = len(table)
        return made

    def _compact(self) -> None:
        assert self._store is not None
        places = np.flatnonzero(self._row_of[: self._count] >= 0)
        rows = np.sort(self._row_of[places])
        store = RowStore(self._store.schema)
        store.append(pa.RecordBatch.from_arrays(self._store.take(self._kept, rows), schema=self._store.schema))
        self._row_of[places] = np.searchsorted(rows, self._row_of[places])
        self._store = store

    def restore(self, snapshot: Tables | None, deltas: Sequence[Tables]) -> None:
        for tables in [*([snapshot] if snapshot is not None else []), *deltas]:
            self._apply(tables)

    def _apply(self, tables: Tables) -> None:
        name = self._over.name
        meta = _META.read(tables, name)
        if meta["whole"]:
            self._clear()
        if "rows" not in tables:
            return
        rows = tables["rows"]
        if rows.schema.names != self._kept:
            raise StateError(f"{name}: saved rows have {rows.schema.names}, expected {self._kept}")
        store = self._opened(rows.schema)
        if meta["whole"]:
            store.start_at(meta["first_row"])
        if meta["first_row"] != store.end:
            raise StateError(f"{name}: a delta starts at row {meta['first_row']}, but there are {store.end}")
        store.append(rows)
        for key, table in (("group_keys", self._groups), ("place_keys", self._places)):
            if table is not None:
                saved = table_of(tables, key, name)
                if saved.num_rows:
                    table.ids(list(saved.columns))
                self._saved_counts[key] = len(table)
        self._put_places(table_of(tables, "places", name))
        self._saved_end = store.end

    def _put_places(self, saved: pa.RecordBatch) -> None:
        places = int64s(saved, "place")
        self._ensure(int(places.max(initial=-1)) + 1)
        self._row_of[places] = int64s(saved, "row")
        self._group_of[places] = int64s(saved, "group")
        self._alive = int(np.count_nonzero(self._row_of[: self._count] >= 0))


def _grown(array: Any, size: int, fill: int) -> npt.NDArray[Any]:
    larger = np.full(size, fill, array.dtype)
    larger[: len(array)] = array
    return larger
