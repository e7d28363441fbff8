"""Aggregation inside a batch, before rows are exchanged: whether to try it, and how."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from windrow.batch import ORIGIN, TIME, WEIGHT, Int32s, Int64s, take, view
from windrow.plan.window import ORDERED, Aggregation
from windrow.state.accumulators.build import make_accumulators
from windrow.state.accumulators.rows import Rows
from windrow.state.aggregations.panes import PANE
from windrow.state.columns import Inputs
from windrow.state.keys.local import group_rows

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
    aggregation: Aggregation,
    batch: pa.RecordBatch,
    codes: Int64s | int | None,
    timed: bool,
    *,
    limit: float | None = 0.5,
) -> pa.RecordBatch | None:
    """One row a group (key and pane) with partial results; None when more than `limit` of the rows make a group."""
    panes = None if codes is None or isinstance(codes, int) else codes
    keys = [batch.column(name) for name in aggregation.keys]
    grouped = _group(keys, panes, batch.num_rows, limit)
    if grouped is None:
        return None
    ids, first = grouped
    rows = Rows(make_accumulators(aggregation), len(first), track=False)
    rows.update(ids, Inputs(batch, timed), every=True)
    panes_of = (
        {}
        if codes is None
        else {PANE: pa.array(np.full(len(first), codes, np.int64) if panes is None else panes[first])}
    )
    return _partial(aggregation, keys, first, rows, panes_of)


def aggregate_changes(aggregation: Aggregation, batch: pa.RecordBatch) -> pa.RecordBatch:
    """One row a group with what the changes of a Table make of it, by their weights of +1 and -1."""
    keys = [batch.column(name) for name in aggregation.keys]
    grouped = _group(keys, None, batch.num_rows, None)
    assert grouped is not None  # without a limit it always pays
    ids, first = grouped
    inputs = Inputs(batch, False)
    added = np.greater(view(batch.column(WEIGHT), np.int8), 0)
    accumulators = make_accumulators(aggregation)  # of both: some number the values that they meet
    rows, gone = (Rows(accumulators, len(first), track=False) for _ in range(2))
    rows.update(np.where(added, ids, np.int32(-1)), inputs, every=True)
    if not added.all():
        gone.update(np.where(added, np.int32(-1), ids), inputs, every=True)
        gone.negate()
        rows.merge(np.arange(len(first), dtype=np.int32), gone.select(slice(0, len(first))))
    return _partial(aggregation, keys, first, rows, {})


def _partial(
    aggregation: Aggregation, keys: list[pa.Array], first: Int64s, rows: Rows, panes: dict[str, pa.Array]
) -> pa.RecordBatch:
    columns = {name: take(key, first) for name, key in zip(aggregation.keys, keys, strict=True)}
    columns |= panes | rows.save(slice(0, len(first)))
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def _group(keys: list[pa.Array], panes: Int64s | None, rows: int, limit: float | None) -> tuple[Int32s, Int64s] | None:
    """Group of each row and first row of each group."""
    if not keys and panes is None:
        return np.zeros(rows, np.int32), np.zeros(1, np.int64)
    return group_rows(keys, panes, limit=limit)


def needed_columns(aggregation: Aggregation, batch: pa.RecordBatch) -> list[str]:
    """Columns that the shards need, each once: keys, arguments, conditions, and what orders rows if it is there."""
    wanted = list(aggregation.keys)
    for aggregate in aggregation.aggregates:
        wanted += [name for name in (aggregate.column, aggregate.where) if name is not None]
        if aggregate.function in ORDERED:
            wanted += [name for name in (TIME, ORIGIN) if name in batch.schema.names]
    return list(dict.fromkeys(wanted))
