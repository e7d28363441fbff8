"""Steps without state as they run: each takes a batch, does its part, and hands the result to the steps after it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import Any

import numpy as np
import pyarrow as pa

from windrow import expressions
from windrow.arrow_types import to_arrow_schema
from windrow.batch import TIME, WATERMARK, WEIGHT, is_hidden, rows_where, take_rows, view
from windrow.datatypes import Schema
from windrow.errors import PlanError, RecordError
from windrow.kernels.watermark import watermark_before, watermark_scan
from windrow.operators import base
from windrow.operators.base import StatefulOperator
from windrow.plan.expr import Expression
from windrow.plan.nodes import OPERATION
from windrow.runtime.exchange import split
from windrow.runtime.metrics import Tally
from windrow.runtime.watermarks import Timeline
from windrow.state.changes import consolidated

#: A stateful operator's number, and which of its inputs.
Side = tuple[int, int]


@dataclass(slots=True)
class Task:
    """What a piece of a partition (or a shard) makes in one epoch. Touched by one thread at a time."""

    name: str  # "source/partition" or "operator/shard"
    now_us: int
    piece: int = 0  # its number among the pieces of the partition
    last: bool = False  # whether what comes now is known to be the last batch of the piece
    to_sinks: dict[int, list[pa.RecordBatch]] = field(default_factory=dict)
    to_shards: dict[Side, list[list[pa.RecordBatch]]] = field(default_factory=dict)
    waiting: dict[Side, list[pa.RecordBatch]] = field(default_factory=dict)  # prepared, not dealt to the shards yet
    tally: Tally = field(default_factory=Tally)
    late_rows: int = 0


def joined(pieces: list[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """The pieces in order, neighbours of one schema as one batch: what a piece costs would show."""
    for _, run in groupby(pieces, key=attrgetter("schema")):
        same = list(run)
        yield same[0] if len(same) == 1 else pa.concat_batches(same)


class Step:
    """Base of all steps: times itself, and passes rows on."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.after: list[Step] = []

    def run(self, batch: pa.RecordBatch, task: Task) -> None:
        start = time.perf_counter_ns()
        out = self.apply(batch, task)
        task.tally.add(self.name, batch.num_rows, time.perf_counter_ns() - start)
        if out is not None and out.num_rows:
            for step in self.after:
                step.run(out, task)

    def apply(self, batch: pa.RecordBatch, task: Task) -> pa.RecordBatch | None:
        raise AssertionError("a step must say what it does")


class FilterStep(Step):
    """Keeps the rows for which the predicate is true."""

    def __init__(self, name: str, predicate: Expression) -> None:
        super().__init__(name)
        self._predicate = predicate

    def apply(self, batch: pa.RecordBatch, task: Task) -> pa.RecordBatch | None:
        mask = expressions.predicate_mask(batch, self._predicate)
        kept = mask.true_count
        if kept == batch.num_rows:
            return batch
        return take_rows(batch, rows_where(mask)) if kept else None


class ProjectStep(Step):
    """Gives these columns (hidden ones pass through)."""

    def __init__(
        self, name: str, columns: Sequence[tuple[str, Expression]], *, keep: bool = False, changes: bool = False
    ) -> None:
        super().__init__(name)
        self._columns = list(columns)
        self._keep = keep  # keep the visible columns there are as well
        self._changes = changes  # rows are changes of a Table, and may now be what they were before

    def apply(self, batch: pa.RecordBatch, task: Task) -> pa.RecordBatch | None:
        values = expressions.evaluate(batch, [expression for _, expression in self._columns])
        arrays = dict(zip((name for name, _ in self._columns), values, strict=True))
        for name in batch.schema.names:
            if (self._keep or is_hidden(name)) and name not in arrays:
                arrays[name] = batch.column(name)
        made = pa.RecordBatch.from_arrays(list(arrays.values()), names=list(arrays))
        return consolidated(made) if self._changes and WEIGHT in arrays else made


class MapStep(Step):
    """Calls the user's function and checks what it gives."""

    def __init__(self, name: str, function: Callable[[Any], Any], kind: str, schema: Schema) -> None:
        super().__init__(name)
        self._function = function
        self._kind = kind
        self._schema = to_arrow_schema(schema)

    def apply(self, batch: pa.RecordBatch, task: Task) -> pa.RecordBatch | None:
        given = self._convert(batch.select(expressions.visible_names(batch)))
        result = expressions.as_record_batch(self._function(given))
        missing = [name for name in self._schema.names if name not in result.schema.names]
        if missing:
            raise PlanError(
                f"{self.name}: the function gave columns {result.schema.names}, without {missing}; "
                "say what it gives with map_batches(..., schema=...)"
            )
        return expressions.cast_batch(result, self._schema, self.name)

    def _convert(self, batch: pa.RecordBatch) -> Any:
        if self._kind == "polars":
            return expressions.to_polars(batch)
        if self._kind == "numpy":
            return {n: c.to_numpy(zero_copy_only=False) for n, c in zip(batch.schema.names, batch.columns, strict=True)}
        return batch


class ExplodeStep(Step):
    """One row for each element of list columns."""

    def __init__(self, name: str, columns: tuple[str, ...]) -> None:
        super().__init__(name)
        self._columns = columns

    def apply(self, batch: pa.RecordBatch, task: Task) -> pa.RecordBatch | None:
        return expressions.explode(batch, self._columns)


class UnionStep(Step):
    """Where streams meet: gives columns the type that they have in common."""

    def __init__(self, name: str, schema: pa.Schema) -> None:
        super().__init__(name)
        self._types = {field.name: field.type for field in schema}

    def apply(self, batch: pa.RecordBatch, task: Task) -> pa.RecordBatch | None:
        for place, (name, column) in enumerate(zip(batch.schema.names, batch.columns, strict=True)):
            wanted = self._types.get(name, column.type)
            if column.type != wanted:
                batch = batch.set_column(place, name, column.cast(wanted))
        return batch


class PassStep(Step):
    """Where rows come in, or come back from an operator: hands on what it gets."""

    def apply(self, batch: pa.RecordBatch, task: Task) -> pa.RecordBatch | None:
        return batch


class TimeStep(Step):
    """Takes event time from a column and keeps the partition's clock."""

    def __init__(self, name: str, column: str, timeline: Timeline) -> None:
        super().__init__(name)
        self._column = column
        self._timeline = timeline

    def apply(self, batch: pa.RecordBatch, task: Task) -> pa.RecordBatch | None:
        times = event_times(batch, self._column, self.name, task.name)
        values = view(times, np.int64)
        delay_us = self._timeline.delay_us
        clock = self._timeline.clock(task.name, task.now_us)
        clock.seen_us = task.now_us
        bounds = np.empty(2, np.int64)
        behind = watermark_scan(values, delay_us, bounds)
        least_us, newest_us = bounds.tolist()
        before_us = clock.move(newest_us, task.piece, task.last)
        timed = _with_column(_without(batch, WATERMARK), TIME, times)
        if behind or least_us < before_us - delay_us:
            marks = np.empty(len(values), np.int64)
            watermark_before(values, delay_us, before_us, marks)
            timed = _with_column(timed, WATERMARK, pa.array(marks))
        return timed


class ProcessingTimeStep(Step):
    """Gives rows the time of their epoch, which is written ahead: a redo gives them the same.

    When the clock has been set back, rows have the time that was reached before: none is ever late.
    """

    def __init__(self, name: str, timeline: Timeline) -> None:
        super().__init__(name)
        self._timeline = timeline

    def apply(self, batch: pa.RecordBatch, task: Task) -> pa.RecordBatch | None:
        now = max(task.now_us, self._timeline.watermark_us)
        times = pa.array(np.full(batch.num_rows, now, np.int64))
        return _with_column(_without(batch, WATERMARK), TIME, times)


class WindowTimeStep(Step):
    """Gives the results of windows an event time: the last microsecond of the window."""

    def apply(self, batch: pa.RecordBatch, task: Task) -> pa.RecordBatch | None:
        ends = view(batch.column("window_end"), np.int64)
        return _with_column(batch, TIME, pa.array(ends - 1))


class ExchangeStep(Step):
    """A door to a stateful operator: prepares rows, deals them out to its shards, and passes late ones on."""

    def __init__(self, name: str, side: Side, operator: StatefulOperator, shards: int) -> None:
        super().__init__(name)
        self.side = side
        self.shards = shards
        self._operator = operator

    def apply(self, batch: pa.RecordBatch, task: Task) -> pa.RecordBatch | None:
        prepared = self._operator.prepare(batch, self.side[1])
        if prepared.data is not None and prepared.data.num_rows:
            waiting = task.waiting.setdefault(self.side, [])
            waiting.append(prepared.data)
            self.deal(task, base.DEAL_ROWS)
        if prepared.late is None:
            return None
        task.late_rows += prepared.late.num_rows
        return prepared.late

    def deal(self, task: Task, least_rows: int = 1) -> None:
        """Deal what has been prepared to the shards, if there are so many rows; called when enough has come together,
        and at the end of a task.

        Partial aggregates of a batch are few: dealing those of many batches at once saves most of the cost.
        """
        waiting = task.waiting.get(self.side, [])
        if sum(data.num_rows for data in waiting) < least_rows:
            return
        del task.waiting[self.side]
        doors = task.to_shards.setdefault(self.side, [[] for _ in range(self.shards)])
        keys = self._operator.keys[self.side[1]]
        for data in joined(waiting):
            for door, part in zip(doors, split(data, keys, self.shards), strict=True):
                if part is not None:
                    door.append(part)


class SinkStep(Step):
    """The end: collects the rows for a sink."""

    def __init__(self, name: str, index: int, schema: pa.Schema, operations: bool = False) -> None:
        super().__init__(name)
        self._index = index
        self._schema = schema
        self._operations = operations

    def apply(self, batch: pa.RecordBatch, task: Task) -> pa.RecordBatch | None:
        if self._operations:
            batch = batch.append_column(OPERATION, _operations(batch))
        elif WEIGHT in self._schema.names and WEIGHT not in batch.schema.names:
            batch = batch.append_column(WEIGHT, pa.array(np.ones(batch.num_rows, np.int8)))
        task.to_sinks.setdefault(self._index, []).append(expressions.cast_batch(batch, self._schema, self.name))
        return None


def _operations(batch: pa.RecordBatch) -> pa.Array:
    """``c`` for rows that are added, ``d`` for rows that are taken back."""
    if WEIGHT not in batch.schema.names:
        return pa.repeat(pa.scalar("c"), batch.num_rows)
    added = np.greater(view(batch.column(WEIGHT), np.int8), 0)
    return pa.array(["d", "c"]).take(pa.array(added.astype(np.int8)))


def event_times(batch: pa.RecordBatch, column: str, step: str, place: str) -> pa.Array:
    """A timestamp column as int64 microseconds; zero-copy when it is ``timestamp[us]``."""
    values = batch.column(column)
    if values.null_count:
        raise RecordError(
            f"{step}: {values.null_count} events of {place} have no event time (column {column!r} is null); filter "
            "them out before .watermark(), or declare the field required so that the source's on_error applies"
        )
    if values.type.id != pa.types.lib.Type_TIMESTAMP or values.type.unit != "us":
        values = values.cast(pa.timestamp("us", getattr(values.type, "tz", None)), safe=False)
    return values.view(pa.int64())


def _with_column(batch: pa.RecordBatch, name: str, values: pa.Array) -> pa.RecordBatch:
    position = batch.schema.get_field_index(name)
    if position >= 0:
        return batch.set_column(position, name, values)
    return batch.append_column(name, values)


def _without(batch: pa.RecordBatch, name: str) -> pa.RecordBatch:
    return batch.drop_columns([name]) if name in batch.schema.names else batch
