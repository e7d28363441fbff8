"""Aggregation inside a batch, before rows are exchanged: whether to try it, and how."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from windrow.batch import Int32s, Int64s
from windrow.plan.window import Aggregation
from windrow.state.build import make_accumulators
from windrow.state.columns import Inputs
from windrow.state.keys import group_rows
from windrow.state.panes import PANE
from windrow.state.rows import Rows

#: Tries that did not pay are followed by this many batches without one; doubled with each, up to the second figure.
_FIRST_PAUSE = 4
_LONGEST_PAUSE = 64


@dataclass(slots=True)
class Trial:
    """Remembers whether aggregating inside batches pays. Threads may race on it; only speed depends on it."""

    pause: int = 0
    left: int = 0

    def worth(self) -> bool:
        if self.left > 0:
            self.left -= 1
            return False
        return True

    def paid(self, yes: bool) -> None:
        self.pause = 0 if yes else min(max(_FIRST_PAUSE, self.pause * 2), _LONGEST_PAUSE)
        self.left = self.pause


def can_be_partial(aggregation: Aggregation) -> bool:
    return all(accumulator.mergeable for accumulator in make_accumulators(aggregation))


def aggregate_batch(
    aggregation: Aggregation, batch: pa.RecordBatch, codes: Int64s | int | None, timed: bool
) -> pa.RecordBatch | None:
    """One row a group (key and pane) with partial results; None when there are too many groups for it to pay."""
    panes = None if codes is None or isinstance(codes, int) else codes
    keys = [batch.column(name) for name in aggregation.keys]
    grouped = _group(keys, panes, batch.num_rows)
    if grouped is None:
        return None
    ids, first = grouped
    rows = Rows(make_accumulators(aggregation), len(first), track=False)
    rows.update(ids, Inputs(batch, timed))
    taken = pa.array(first)
    columns = {name: key.take(taken) for name, key in zip(aggregation.keys, keys, strict=True)}
    if codes is not None:
        columns[PANE] = pa.array(codes[first]) if panes is not None else _constant(codes, len(first))
    columns |= rows.save(slice(0, len(first)))
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def _group(keys: list[pa.Array], panes: Int64s | None, rows: int) -> tuple[Int32s, Int64s] | None:
    """Group of each row and first row of each group."""
    if keys:
        grouped: tuple[Int32s, Int64s] | None = group_rows(keys, panes, rows // 2)
        return grouped
    if panes is None:
        return np.zeros(rows, np.int32), np.zeros(1, np.int64)
    _, first, ids = np.unique(panes, return_index=True, return_inverse=True)
    return ids.astype(np.int32), first


def _constant(value: object, size: int) -> pa.Array:
    return pa.repeat(pa.scalar(value, pa.int64()), size)
