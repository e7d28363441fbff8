"""Aggregation without windows: a Table that has a row for each key and changes with every epoch."""

from __future__ import annotations

import pyarrow as pa

from windrow.operators.base import Prepared, ShardState
from windrow.operators.partial import Trial, aggregate_batch, can_be_partial, needed_columns
from windrow.plan.window import Aggregation
from windrow.state.tables import TableState


class TableAggregate:
    """`StatefulOperator` for a grouping without a window. No row is ever late."""

    def __init__(self, aggregation: Aggregation) -> None:
        self.name = aggregation.name
        self.keys = (aggregation.keys,)
        self._aggregation = aggregation
        self._partial = can_be_partial(aggregation)
        self._trial = Trial()

    def close_until(self, watermark_us: int) -> None:
        """Time closes nothing here."""

    def prepare(self, batch: pa.RecordBatch, side: int = 0) -> Prepared:
        if batch.num_rows == 0:
            return Prepared(None)
        if self._partial and self._trial.worth():
            partial = aggregate_batch(self._aggregation, batch, None, timed=False)
            self._trial.paid(partial is not None)
            if partial is not None:
                return Prepared(partial)
        names = needed_columns(self._aggregation, batch)
        return Prepared(batch.select(names or batch.schema.names[:1]))

    def shard(self, number: int) -> ShardState:
        return TableState(self._aggregation)
