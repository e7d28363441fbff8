"""Aggregation in windows of event time on a grid: tumbling, hopping, cumulate."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from windrow.batch import TIME, Int64s
from windrow.kernels.windows import LATE, OUTSIDE
from windrow.operators.base import Prepared, ShardState
from windrow.operators.lateness import Closed, times_of, watermarks_of
from windrow.operators.partial import Trial, aggregate_batch, can_be_partial, needed_columns
from windrow.plan.window import Aggregation, Window
from windrow.state.aggregations.grid import grid_of
from windrow.state.aggregations.panes import PANE, PaneState
from windrow.state.aggregations.updates import WindowUpdates


class WindowAggregate:
    """`StatefulOperator` for windows that are made of panes."""

    def __init__(self, aggregation: Aggregation, window: Window, retract: bool = False) -> None:
        self.name = aggregation.name
        self.keys = (aggregation.keys,)
        self._aggregation = aggregation
        self._window = window
        self._grid = grid_of(window, aggregation.lateness_us)
        self._followed = aggregation.emit == "current" and (retract or aggregation.firing is not None)
        self._retract = retract
        self._closed = Closed()
        self._partial = can_be_partial(aggregation)
        self._trial = Trial()

    def close_until(self, watermark_us: int) -> None:
        """All shards have closed what ends at or before the watermark: later rows of it are late."""
        self._closed.until(watermark_us)

    def prepare(self, batch: pa.RecordBatch, side: int = 0) -> Prepared:
        if batch.num_rows == 0:
            return Prepared(None)
        batch, codes, late = self._codes(batch)
        if batch.num_rows == 0:
            return Prepared(None, late)
        if self._partial and self._trial.worth():
            partial = aggregate_batch(self._aggregation, batch, codes, timed=True)
            self._trial.paid(partial is not None)
            if partial is not None:
                return Prepared(partial, late)
        return Prepared(self._rows(batch, codes), late)

    def shard(self, number: int) -> ShardState:
        if self._followed:
            return WindowUpdates(self._aggregation, self._window, self._retract)
        return PaneState(self._aggregation, self._window)

    def _codes(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Int64s | int, pa.RecordBatch | None]:
        """The rows that are in time with their codes, and the late ones."""
        codes, late = self._grid.codes(times_of(batch), watermarks_of(batch), self._closed.closed_us)
        if isinstance(codes, int):
            return batch, codes, None
        kept = codes > OUTSIDE
        if kept.all():
            return batch, codes, None
        late_rows = batch.filter(pa.array(codes == LATE)) if late else None
        return batch.filter(pa.array(kept)), codes[kept], late_rows

    def _rows(self, batch: pa.RecordBatch, codes: Int64s | int) -> pa.RecordBatch:
        """What the shard needs of the rows: keys, arguments, and the pane, by time where that is enough."""
        names = needed_columns(self._aggregation, batch)
        skipped = not isinstance(codes, int) and bool((codes % self._grid.per_pane).any())
        if not skipped:
            return batch.select([*names, TIME] if TIME not in names else names)
        return batch.select(names).append_column(PANE, pa.array(np.asarray(codes, np.int64)))
