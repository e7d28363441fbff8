"""What is saved of a join's state, and how it comes back.

Saved tables, all of version 1: ``meta`` (one row); for each side its rows since the last save (``left``, ``right``),
the numbers of rows that are gone (``left_gone``) and of pairs (``left_matches``). Chains and key ids are made anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from windrow.arrow_types import to_arrow_type
from windrow.batch import TIME, WATERMARK, Int32s, Int64s, Tables, validity
from windrow.errors import StateError
from windrow.plan.join import Join, JoinColumn
from windrow.state.joins.side import SideState
from windrow.state.keys.hashes import row_hashes
from windrow.state.row_store import int64s
from windrow.state.saved import Meta, table_of

if TYPE_CHECKING:
    from windrow.state.keys.table import KeyTable


class Saved(Protocol):
    """What is saved of a join, and restored."""

    join: Join
    keys: KeyTable
    sides: Sequence[SideState]
    watermark_us: int

    def key_ids(self, data: pa.RecordBatch, number: int) -> Int32s: ...


VERSION = 1
NAMES = ("left", "right")
_META = Meta(VERSION, watermark_us=pa.int64(), whole=pa.bool_(), left_first=pa.int64(), right_first=pa.int64())
_NONE: Int64s = np.empty(0, np.int64)


class ChangeLog:
    """What has changed since the last save."""

    def __init__(self) -> None:
        self._saved_end = [0, 0]
        self._gone: list[list[Int64s]] = [[], []]
        self._counted: list[list[Int64s]] = [[], []]
        self._between = False
        self._whole = False
        self._unsaved = False

    def begin(self, state: Saved) -> None:
        """Something is about to change; when an epoch begins, dead rows are dropped first if there are many."""
        if not self._between:
            return
        self._between = False
        if self._unsaved:  # nobody saves: nothing is to be remembered for it
            self._whole = True
            self._gone, self._counted = [[], []], [[], []]
        for number, side in enumerate(state.sides):
            if side.deletes and side.compact():
                self._whole = True
                self._gone[number] = []
                self._counted[number] = []

    def gone(self, number: int, rows: Int64s) -> None:
        self._gone[number].append(rows)

    def counted(self, number: int, rows: Int64s) -> None:
        self._counted[number].append(rows)

    def ended(self) -> None:
        self._between = self._unsaved = True

    def restored(self, state: Saved) -> None:
        self._saved_end = [side.end for side in state.sides]
        self._between = True

    def save(self, state: Saved, whole: bool) -> Tables:
        whole = whole or self._whole
        # rows that were dropped before they could be saved leave their numbers free
        ends = [0, 0] if whole else self._saved_end
        firsts = [max(end, side.store.base) for end, side in zip(ends, state.sides, strict=True)]
        left, right = firsts
        meta = _META.table(
            state.join.name, watermark_us=state.watermark_us, whole=whole, left_first=left, right_first=right
        )
        tables = {"meta": meta}
        for number, (name, side) in enumerate(zip(NAMES, state.sides, strict=True)):
            tables[name] = _rows(side, firsts[number])
            if side.deletes:
                tables[f"{name}_gone"] = _gone(side, whole, self._gone[number])
            if side.counted:
                tables[f"{name}_matches"] = _matches(side, whole, self._counted[number])
            self._saved_end[number] = side.end
        self._gone, self._counted = [[], []], [[], []]
        self._whole = self._unsaved = False
        return tables


def _rows(side: SideState, first: int) -> pa.RecordBatch:
    batch = side.store.rows(first, side.end)
    here = slice(first - side.origin, side.end - side.origin)
    if side.timed:
        batch = batch.append_column(TIME, pa.array(side.times[here]))
    if side.late:
        batch = batch.append_column(WATERMARK, pa.array(side.marks[here]))
    return batch


def _gone(side: SideState, whole: bool, rows: Sequence[Int64s]) -> pa.RecordBatch:
    if whole:
        places = np.arange(side.store.base, side.end, dtype=np.int64)
        wanted = places[~side.alive(places)]
    else:
        wanted = np.concatenate(rows) if rows else _NONE
        wanted = wanted[wanted >= side.store.base]
    return pa.RecordBatch.from_arrays([pa.array(wanted)], names=["row"])


def _matches(side: SideState, whole: bool, rows: Sequence[Int64s]) -> pa.RecordBatch:
    if whole:
        places = np.arange(side.store.base, side.end, dtype=np.int64)
        wanted = places[side.matches[places - side.origin] != 0]
    else:
        wanted = np.unique(np.concatenate(rows)) if rows else _NONE
        wanted = wanted[wanted >= side.store.base]
    counts = side.matches[wanted - side.origin]
    return pa.RecordBatch.from_arrays([pa.array(wanted), pa.array(counts)], names=["row", "matches"])


def restore(state: Saved, saves: Sequence[Tables]) -> None:
    """Become what was saved."""
    for tables in saves:
        meta = _META.read(tables, state.join.name)
        for number in range(2):
            _load(state, number, tables, meta)
        state.watermark_us = meta["watermark_us"]
    for side in state.sides:
        side.relink(len(state.keys))
        if side.counted:
            size = side.end - side.origin
            paired = side.matches[:size] > 0
            alone = paired if state.join.how == "semi" else ~paired
            side.shown[:size] = alone & (side.ids[:size] != -1)


def _load(state: Saved, number: int, tables: Tables, meta: dict[str, int]) -> None:
    side, name, first = state.sides[number], NAMES[number], meta[f"{NAMES[number]}_first"]
    batch = table_of(tables, name, state.join.name)
    missing = [column for column in side.store.schema.names if column not in batch.schema.names]
    if missing:
        raise StateError(f"{state.join.name}: saved rows of the {name} side have no column {', '.join(missing)}")
    if meta["whole"] or (state.join.bounded and first > side.end):
        side.clear(first)  # all that was saved before has been dropped since
    if first != side.end:
        raise StateError(
            f"{state.join.name}: a delta of the {name} side starts at row {first} but there are {side.end}: one is "
            "missing"
        )
    if batch.num_rows:
        marks = int64s(batch, WATERMARK) if WATERMARK in batch.schema.names else None
        times = int64s(batch, TIME) if side.timed else _NONE
        columns = [
            batch.column(field.name).cast(field.type) if batch.column(field.name).type != field.type
            else batch.column(field.name)
            for field in side.store.schema
        ]  # fmt: skip
        hashes = row_hashes(columns) if side.hashed else np.empty(0, np.uint64)
        side.add(batch, state.key_ids(batch, number), times, marks, hashes)
    if side.deletes:
        gone = int64s(table_of(tables, f"{name}_gone", state.join.name), "row")
        side.kill(gone[gone >= side.origin])
    if side.counted:
        counts = table_of(tables, f"{name}_matches", state.join.name)
        side.matches[int64s(counts, "row") - side.origin] = int64s(counts, "matches")


def gather(
    sides: Sequence[SideState], columns: Sequence[JoinColumn], rows: tuple[Int64s | None, Int64s | None]
) -> pa.RecordBatch:
    """These columns of pairs of rows; null where a side has none (or, of a key that sides share, the other's)."""
    sources = [_source(column, rows) for column in columns]
    taken: dict[tuple[int, str], pa.Array] = {}
    for number, (side, part) in enumerate(zip(sides, rows, strict=True)):
        names = list(dict.fromkeys(name for at, name in (each for each in sources if each) if at == number))
        if part is not None and names:
            taken |= {(number, name): array for name, array in zip(names, side.store.take(names, part), strict=True)}
    size = len(next(part for part in rows if part is not None))
    arrays = []
    for column, source in zip(columns, sources, strict=True):
        wanted = to_arrow_type(column.type)
        array = pa.nulls(size, wanted) if source is None else taken[source]
        arrays.append(array if array.type == wanted else array.cast(wanted))
    return pa.RecordBatch.from_arrays(arrays, names=[column.name for column in columns])


def alone(columns: Sequence[JoinColumn], data: pa.RecordBatch, number: int) -> pa.RecordBatch:
    """These columns of rows of one side that were never stored."""
    arrays = []
    for column in columns:
        name = column.source if column.side == number else column.other
        wanted = to_arrow_type(column.type)
        array = pa.nulls(data.num_rows, wanted) if name is None else data.column(name)
        arrays.append(array if array.type == wanted else array.cast(wanted))
    return pa.RecordBatch.from_arrays(arrays, names=[column.name for column in columns])


def _source(column: JoinColumn, rows: tuple[Int64s | None, Int64s | None]) -> tuple[int, str] | None:
    if rows[column.side] is not None:
        return column.side, column.source
    return None if column.other is None else (1 - column.side, column.other)


def keyed(data: pa.RecordBatch, keys: Sequence[str]) -> npt.NDArray[np.bool_]:
    """For each row whether no part of its key is null."""
    keyed = np.ones(data.num_rows, np.bool_)
    for name in keys:
        column = data.column(name)
        if column.null_count:
            keyed &= validity(column) != 0
    return keyed
