"""Rows without those that repeat them within an interval of event time."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from windrow.arrow_types import to_arrow_type
from windrow.batch import ORIGIN, TIME
from windrow.errors import InvariantError
from windrow.operators.base import OperatorContext, Prepared, ShardState
from windrow.operators.lateness import Closed, limits, times_of
from windrow.plan.dedup import Dedup
from windrow.state.keys.hashes import row_hashes
from windrow.state.keys.words import check_key_types
from windrow.state.rankings.intervals import TIE, IntervalUnique


class DedupOperator:
    """`StatefulOperator` for `Dedup`. A row is late when the watermark of its partition has passed its time."""

    def __init__(self, dedup: Dedup, context: OperatorContext) -> None:
        kinds = dict(dedup.columns)
        check_key_types([kinds[name] for name in dedup.per], dedup.per)
        self.name = dedup.name
        self.keys = (dedup.per,)
        self._dedup = dedup
        self._output = context.columns
        self._closed = Closed()
        wanted = {*dedup.per, *context.columns}
        self._held = [(name, to_arrow_type(kind)) for name, kind in dedup.columns if name in wanted]

    def close_until(self, watermark_us: int) -> None:
        """Rows before this have been given, or left out."""
        self._closed.until(watermark_us)

    def prepare(self, batch: pa.RecordBatch, side: int = 0) -> Prepared:
        late = None
        limit = limits(batch, self._closed.closed_us)
        if limit is not None:
            kept = times_of(batch) >= limit
            if not kept.all():
                late, batch = batch.filter(pa.array(~kept)), batch.filter(pa.array(kept))
        if batch.num_rows == 0:
            return Prepared(None, late)
        rows = batch.select([*(name for name, _ in self._held), TIME])
        return Prepared(rows.append_column(TIE, self._ties(batch)), late)

    def _ties(self, batch: pa.RecordBatch) -> pa.Array:
        if not self._dedup.arrival:
            hashes = row_hashes([batch.column(name) for name, _ in self._dedup.columns])
            return pa.array(hashes.view(np.int64))
        if ORIGIN not in batch.schema.names:
            raise InvariantError(f"{self.name}: rows are ordered by arrival, but the batch has no column {ORIGIN}")
        return batch.column(ORIGIN)

    def shard(self, number: int) -> ShardState:
        hidden = [(TIME, pa.int64()), (TIE, pa.int64())]
        return IntervalUnique(self._dedup, pa.schema([*self._held, *hidden]), self._output)
