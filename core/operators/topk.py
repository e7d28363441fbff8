"""The first rows of each group: all the work is the shard's."""

from __future__ import annotations

import pyarrow as pa

from windrow.batch import ORIGIN, TIME
from windrow.operators.base import OperatorContext, Prepared, ShardState
from windrow.plan.topk import TopK
from windrow.state.order import check_order
from windrow.state.topk import TopKState
from windrow.state.topk_closed import ClosedTopKState
from windrow.state.words import check_key_types


class TopKOperator:
    """`StatefulOperator` for `TopK`. No row is ever late: those of windows come when their window closes."""

    def __init__(self, top: TopK, context: OperatorContext) -> None:
        self.name = top.name
        self.keys = (top.per,)
        self._top = top
        self._context = context
        kinds = dict(top.columns)
        check_key_types([kinds[name] for name in top.per])
        check_order(top.name, [(name, kinds[name]) for name in top.by if name in kinds])
        needed = {*context.columns, *top.per, *top.by, *([top.closes] if top.closes else [])}
        self._columns = [name for name, _ in top.columns if name in needed]

    def close_until(self, watermark_us: int) -> None:
        """What closes groups is in their rows."""

    def prepare(self, batch: pa.RecordBatch, side: int = 0) -> Prepared:
        if batch.num_rows == 0:
            return Prepared(None)
        hidden = [name for name in (TIME, ORIGIN) if name in batch.schema.names]
        return Prepared(batch.select([*self._columns, *hidden]))

    def shard(self, number: int) -> ShardState:
        if self._top.closes is not None:
            return ClosedTopKState(self._top, self._columns, self._context.columns)
        return TopKState(self._top, self._columns, self._context.columns, self._context.retract)
