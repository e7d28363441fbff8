"""Aggregation in windows of a number of events of a key, in order of arrival.

Events of one partition keep their order. Between partitions it is the order in which epochs took them, so results are
the same for every cut only when all events of a key come from one partition.
"""

from __future__ import annotations

import pyarrow as pa

from windrow.operators.base import Prepared, ShardState
from windrow.operators.partial import needed_columns
from windrow.plan.window import Aggregation, Window
from windrow.state.aggregations.counts import CountState


class CountAggregate:
    """`StatefulOperator` for count windows. No row is ever late."""

    def __init__(self, aggregation: Aggregation, window: Window, retract: bool = False) -> None:
        self.name = aggregation.name
        self.keys = (aggregation.keys,)
        self._aggregation = aggregation
        self._window = window
        self._retract = retract

    def close_until(self, watermark_us: int) -> None:
        """Time closes nothing here."""

    def prepare(self, batch: pa.RecordBatch, side: int = 0) -> Prepared:
        if batch.num_rows == 0:
            return Prepared(None)
        names = needed_columns(self._aggregation, batch)
        # without a key, argument or condition any column will do to carry the number of rows
        return Prepared(batch.select(names or batch.schema.names[:1]))

    def shard(self, number: int) -> ShardState:
        return CountState(self._aggregation, self._window, self._retract)
