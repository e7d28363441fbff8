"""Aggregation without windows: a Table that has a row for each key and changes with every epoch."""

from __future__ import annotations

import pyarrow as pa

from windrow.batch import WEIGHT
from windrow.operators.base import OperatorContext, Prepared, ShardState
from windrow.operators.partial import Trial, aggregate_batch, aggregate_changes, can_be_partial, needed_columns
from windrow.plan.window import Aggregation
from windrow.state.aggregations.tables import TableState


class TableAggregate:
    """`StatefulOperator` for a grouping without a window. No row is ever late.

    Changes of a Table are aggregated in the batch, what was taken back with its sign turned: shards only ever add.
    """

    def __init__(self, aggregation: Aggregation, context: OperatorContext) -> None:
        self.name = aggregation.name
        self.keys = (aggregation.keys,)
        self._aggregation = aggregation
        self._retract = context.retract
        self._partial = can_be_partial(aggregation)
        self._trial = Trial()

    def close_until(self, watermark_us: int) -> None:
        """Time closes nothing here."""

    def prepare(self, batch: pa.RecordBatch, side: int = 0) -> Prepared:
        if batch.num_rows == 0:
            return Prepared(None)
        if self._aggregation.weighted and WEIGHT in batch.schema.names:
            return Prepared(aggregate_changes(self._aggregation, batch))
        if self._aggregation.weighted or (self._partial and self._trial.worth()):
            partial = aggregate_batch(self._aggregation, batch, None, timed=False, limit=self._limit)
            self._trial.paid(partial is not None)
            if partial is not None:
                return Prepared(partial)
        names = needed_columns(self._aggregation, batch)
        return Prepared(batch.select(names or batch.schema.names[:1]))

    @property
    def _limit(self) -> float | None:
        """Beyond how many groups a row aggregating in the batch does not pay; changes are always aggregated there."""
        return None if self._aggregation.weighted else 0.5

    def shard(self, number: int) -> ShardState:
        return TableState(self._aggregation, self._retract)
