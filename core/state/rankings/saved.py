"""What is saved of a ranking's state, and how it comes back.

Saved tables, all of version 1: ``meta`` (one row), ``rows`` (those stored since the last save, as they are kept) and
``gone`` (the numbers of rows that are no longer in a run). Keys, words and runs are made anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from windrow.batch import WEIGHT, Int64s, Tables
from windrow.errors import StateError
from windrow.state.row_store import int64s
from windrow.state.saved import Meta, table_of

if TYPE_CHECKING:
    from windrow.state.rankings.runs import RunRanking

VERSION = 1
_META = Meta(VERSION, watermark_us=pa.int64(), whole=pa.bool_(), first=pa.int64())
_NONE: Int64s = np.empty(0, np.int64)


class ChangeLog:
    """What has changed since the last save."""

    def __init__(self) -> None:
        self.saved_end = 0
        self._gone: list[Int64s] = []
        self._between = False
        self._whole = False

    def begin(self, state: RunRanking) -> None:
        """Something is about to change; when an epoch begins, rows that are gone are dropped first if there are
        many."""
        if not self._between:
            return
        self._between = False
        if state.compact():
            self._whole = True
            self._gone.clear()

    def gone(self, rows: Int64s) -> None:
        if len(rows):
            self._gone.append(rows)

    def ended(self) -> None:
        self._between = True

    def restored(self, saved: int, left: int) -> None:
        """Of so many saved rows so many are left; if that is not all, they have other numbers than the saved ones."""
        self.saved_end = left
        self._whole = left < saved
        self._between = True

    def save(self, state: RunRanking, whole: bool) -> Tables:
        whole = whole or self._whole
        first = 0 if whole else self.saved_end
        if whole:
            alive = np.zeros(state.store.end, np.bool_)
            alive[state.runs.of(state.runs.alive())[0]] = True
            gone = np.flatnonzero(~alive)
        else:
            gone = np.concatenate(self._gone) if self._gone else _NONE
        meta = _META.table(state.rank.name, watermark_us=state.watermark_us, whole=whole, first=first)
        self.saved_end = state.store.end
        self._gone.clear()
        self._whole = False
        return {
            "meta": meta,
            "rows": state.store.rows(first, state.store.end),
            "gone": pa.RecordBatch.from_arrays([pa.array(gone)], names=["row"]),
        }


def restore(state: RunRanking, saves: Sequence[Tables]) -> None:
    """Become what was saved."""
    parts: list[pa.RecordBatch] = []
    gone: list[Int64s] = []
    end = 0
    for tables in saves:
        meta = _META.read(tables, state.rank.name)
        if meta["whole"]:
            parts, gone, end = [], [], 0
        if meta["first"] != end:
            raise StateError(
                f"{state.rank.name}: a delta starts at row {meta['first']} but there are {end}: one is missing"
            )
        parts.append(_as_kept(state, table_of(tables, "rows", state.rank.name)))
        gone.append(int64s(table_of(tables, "gone", state.rank.name), "row"))
        end += parts[-1].num_rows
        state.watermark_us = meta["watermark_us"]
    state.clear()
    alive = np.ones(end, np.bool_)
    for rows in gone:
        alive[rows] = False
    if end:
        rows_left = pa.concat_batches(parts).filter(pa.array(alive))
        if state.rank.weighted:
            rows_left = rows_left.append_column(WEIGHT, pa.array(np.ones(rows_left.num_rows, np.int8)))
        state.take(rows_left)
        state.runs.settle()
    state.log.restored(end, int(alive.sum()))


def _as_kept(state: RunRanking, batch: pa.RecordBatch) -> pa.RecordBatch:
    schema = state.store.schema
    if batch.schema.names != schema.names:
        raise StateError(
            f"{state.rank.name}: saved rows have the columns {', '.join(batch.schema.names)}, expected "
            f"{', '.join(schema.names)}"
        )
    columns = [
        column if column.type == field.type else column.cast(field.type)
        for column, field in zip(batch.columns, schema, strict=True)
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)
