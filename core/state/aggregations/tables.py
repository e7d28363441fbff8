"""State of an aggregation without windows: a Table with one row a key."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from windrow.batch import Int32s, Tables, view
from windrow.plan.window import Aggregation
from windrow.state.accumulators.rows import Rows, load
from windrow.state.aggregations.keyed import KeyedState, Piece, columns_of, int_column
from windrow.state.aggregations.output import rows_of
from windrow.state.aggregations.panes import ID
from windrow.state.changes import Before, differing
from windrow.state.saved import table_of

#: Aggregates that may well stay as they are when rows come.
_STAYING = ("min", "max", "first", "last", "count_distinct", "arg_min", "arg_max", "approx_count_distinct")


def may_stay(aggregation: Aggregation) -> bool:
    """Whether a row may well be what it was although events have come: then it pays to compare."""
    return all(a.function in _STAYING for a in aggregation.aggregates)


class TableState(KeyedState):
    """One shard of a Table. Every key stays: this state is as large as there are keys.

    With `retract`, the row that a new one replaces is sent before it, with weight -1. Rows that stayed as they were are
    not sent.
    """

    def __init__(self, aggregation: Aggregation, retract: bool = False) -> None:
        super().__init__(aggregation)
        self._retract = retract
        self._compare = retract or may_stay(aggregation)
        self.clear()

    def clear(self) -> None:
        self._rows = Rows(self.accumulators, 0, current=True)
        self._before = Before()

    def take(self, ids: Int32s, data: pa.RecordBatch, piece: Piece) -> None:
        self._rows.ensure(self.key_count)
        if self._compare or self.aggregation.weighted:
            settled = self._rows.settled(ids)
            if len(settled):
                self._before.keep(*self._results(settled, -1))
        piece.apply(self._rows, ids)

    def emit(self, watermark_us: int) -> list[pa.RecordBatch]:
        ids = self._rows.changed()
        if len(ids) == 0:
            return []
        new = self._results(ids, 1)
        old_ids, old = self._before.take()
        self._rows.settle()
        if old is None:
            return [new[1]] if len(new[0]) else []
        return differing(old_ids, old, *new, retract=self._retract)

    def _results(self, ids: Int32s, weight: int) -> tuple[Int32s, pa.RecordBatch]:
        """The rows of those of the groups that are there: of one whose rows have all been taken back there is none."""
        values = self._rows.results(ids)
        if self.aggregation.weighted:
            alive = np.flatnonzero(np.greater(view(values[-1], np.int64), 0))
            if len(alive) < len(ids):
                ids = ids[alive]
                values = [value.take(pa.array(alive)) for value in values]
        return ids, rows_of(self, self.key_columns(ids), {}, values, len(ids), weight)

    def expire(self, watermark_us: int) -> None:
        """A Table forgets nothing."""

    def save_groups(self, whole: bool) -> dict[str, pa.RecordBatch]:
        ids = self._rows.present(self._rows.capacity) if whole else self._rows.dirty()
        columns = {ID: pa.array(ids)} | self._rows.save(ids)
        self._rows.clean()
        return {"groups": pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))}

    def load_groups(self, tables: Tables) -> None:
        operator = self.aggregation.name
        groups = table_of(tables, "groups", operator)
        ids: Int32s = view(int_column(groups, ID, pa.int32(), operator), np.int32)  # type: ignore[assignment]
        self._rows.ensure(self.key_count)
        self._rows.put(ids, load(self.accumulators, columns_of(groups)))

    def live_keys(self) -> npt.NDArray[np.bool_]:
        return np.ones(self.key_count, np.bool_)

    def renumber(self, kept: Int32s) -> None:
        """Never happens: every key stays."""

    def all_rows(self) -> list[Rows]:
        return [self._rows]

    @property
    def groups_nbytes(self) -> int:
        return self._rows.nbytes
