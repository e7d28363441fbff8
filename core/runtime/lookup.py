"""The step that looks rows up in a table beside the stream."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from windrow import expressions
from windrow.arrow_types import to_arrow_type
from windrow.batch import Int64s, is_hidden, rows_where, take
from windrow.plan.join import LEFT, RIGHT, JoinColumn
from windrow.plan.nodes_join import Lookup
from windrow.runtime.steps import Step, Task
from windrow.state.joins.lookup import LookupTable


class LookupStep(Step):
    """Pairs the rows of a batch with those of the table, and hands on one batch for each bounded piece of pairs."""

    def __init__(self, name: str, node: Lookup, needed: tuple[str, ...]) -> None:
        super().__init__(name)
        self._node = node
        self._columns = [column for column in node.join.columns if column.name in needed]
        self._lock = threading.Lock()
        self._table: LookupTable | None = None
        self._loaded_us = 0

    def run(self, batch: pa.RecordBatch, task: Task) -> None:
        table = self._current(task.now_us)
        start = time.perf_counter_ns()
        spent = 0
        for piece in self._pieces(batch, table):
            spent += time.perf_counter_ns() - start
            if piece.num_rows:
                for step in self.after:
                    step.run(piece, task)
            start = time.perf_counter_ns()
        task.tally.add(self.name, batch.num_rows, spent + time.perf_counter_ns() - start)

    def _current(self, now_us: int) -> LookupTable:
        """The table of the epoch that began at `now_us`: all its tasks get the same."""
        with self._lock:
            refresh = self._node.refresh_us
            if self._table is None or (refresh is not None and now_us - self._loaded_us >= refresh):
                self._table, self._loaded_us = LookupTable(self._node.join, self._node.load()), now_us
            return self._table

    def _pieces(self, batch: pa.RecordBatch, table: LookupTable) -> Iterator[pa.RecordBatch]:
        join = self._node.join
        found = np.zeros(batch.num_rows, np.bool_)
        for left, right in table.pairs([batch.column(name) for name in join.sides[LEFT].keys]):
            if join.where is not None:
                tried = self._gather(join.where_columns, batch, left, table, right)
                mask = expressions.predicate_mask(pa.RecordBatch.from_pydict(tried), join.where)
                kept = rows_where(mask)
                left, right = left[kept], right[kept]
            found[left] = True
            if join.pairs and len(left):
                yield self._made(batch, left, table, right)
        alone = np.flatnonzero(found if join.how == "semi" else ~found)
        if join.how != "inner" and len(alone):  # semi: the rows that have a match
            yield self._made(batch, alone, table, None)

    def _made(self, batch: pa.RecordBatch, left: Int64s, table: LookupTable, right: Int64s | None) -> pa.RecordBatch:
        columns = self._gather(self._columns, batch, left, table, right)
        every = _is_every(left, batch.num_rows)
        for name in batch.schema.names:
            if is_hidden(name):
                columns[name] = batch.column(name) if every else take(batch.column(name), left)
        return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))

    def _gather(
        self,
        columns: list[JoinColumn] | tuple[JoinColumn, ...],
        batch: pa.RecordBatch,
        left: Int64s,
        table: LookupTable,
        right: Int64s | None,
    ) -> dict[str, pa.Array]:
        every = _is_every(left, batch.num_rows)
        made: dict[str, pa.Array] = {}
        names = [column.source for column in columns if column.side == RIGHT]
        taken = dict(zip(names, table.take(names, right), strict=True)) if right is not None and names else {}
        for column in columns:
            if column.side == LEFT:
                held = batch.column(column.source)
                made[column.name] = held if every else take(held, left)
            elif right is None:
                made[column.name] = pa.nulls(len(left), to_arrow_type(column.type))
            else:
                made[column.name] = taken[column.source]
        return made


def _is_every(rows: Int64s, size: int) -> bool:
    """Whether these ascending row numbers are all there are, each once."""
    return len(rows) == size and bool((rows == np.arange(size)).all())
