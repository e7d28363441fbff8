"""State of an aggregation without windows: a Table with one row a key."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from windrow.batch import Int32s, Tables, view
from windrow.plan.window import Aggregation
from windrow.state.keyed import KeyedState, Piece, columns_of, int_column, table_of
from windrow.state.output import result_batch
from windrow.state.panes import ID
from windrow.state.rows import Rows, load


class TableState(KeyedState):
    """One shard of a Table. Every key stays: this state is as large as there are keys."""

    def __init__(self, aggregation: Aggregation) -> None:
        super().__init__(aggregation)
        self.clear()

    def clear(self) -> None:
        self._rows = Rows(self.accumulators, 0, current=True)

    def take(self, ids: Int32s, data: pa.RecordBatch, piece: Piece) -> None:
        self._rows.ensure(self.key_count)
        piece.apply(self._rows, ids)

    def emit(self, watermark_us: int) -> list[pa.RecordBatch]:
        ids = self._rows.changed()
        if len(ids) == 0:
            return []
        outputs = [result_batch(self, self.key_columns(ids), {}, self._rows.select(ids), len(ids))]
        self._rows.settle()
        return outputs

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
