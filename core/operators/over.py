"""Aggregates over a frame around each row: all the work is the shard's."""

from __future__ import annotations

import pyarrow as pa

from windrow.batch import WEIGHT
from windrow.operators.base import OperatorContext, Prepared, ShardState
from windrow.plan.over import Over
from windrow.state.frames.over import OverState
from windrow.state.keys.order import check_order
from windrow.state.keys.words import check_key_types


class OverOperator:
    """`StatefulOperator` for `Over`. No row is ever late: it finds its place among the others."""

    def __init__(self, over: Over, context: OperatorContext) -> None:
        self.name = over.name
        self.keys = (over.per,)
        self._over = over
        self._context = context
        kinds = dict(over.columns)
        check_key_types([kinds[name] for name in (*over.per, *(over.key or ()))])
        check_order(over.name, [(name, kinds[name]) for name in over.by])
        wanted = {*context.columns, *over.per, *over.by, *(over.key or ())}
        self._columns = [name for name, _ in over.columns if name in wanted]
        extra = [name for a in over.aggregates for name in (a.column, a.where) if name is not None]
        self._arguments = [name for name in dict.fromkeys(extra) if name not in self._columns]

    def close_until(self, watermark_us: int) -> None:
        """Time closes nothing here."""

    def prepare(self, batch: pa.RecordBatch, side: int = 0) -> Prepared:
        if batch.num_rows == 0:
            return Prepared(None)
        weights = [WEIGHT] if WEIGHT in batch.schema.names else []
        return Prepared(batch.select([*self._columns, *self._arguments, *weights]))

    def shard(self, number: int) -> ShardState:
        return OverState(self._over, self._columns, self._arguments, self._context.columns, self._context.retract)
