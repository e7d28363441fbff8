"""Aggregation in session windows: a key's events with gaps shorter than the window's between them.

An event joins a session as long as it is not closed for it: the event's interval is ``[max(time, watermark), time +
gap)``, where the watermark is that of its own partition before it. Sessions are what these intervals connect. So a
session that some shard has closed can never be one that a later event belongs to, and results do not depend on when
shards close sessions.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from windrow.batch import TIME, Int64s
from windrow.operators.base import Prepared, ShardState
from windrow.operators.lateness import Closed, limits, times_of
from windrow.operators.partial import Trial, can_be_partial, needed_columns
from windrow.plan.window import Aggregation, Window
from windrow.state.accumulators.build import make_accumulators
from windrow.state.aggregations.keyed import RowPiece
from windrow.state.aggregations.session_state import SessionState
from windrow.state.aggregations.sessions import END, FROM, START, Sessions
from windrow.state.keys.local import group_rows


class SessionAggregate:
    """`StatefulOperator` for session windows."""

    def __init__(self, aggregation: Aggregation, window: Window, retract: bool = False) -> None:
        self.name = aggregation.name
        self.keys = (aggregation.keys,)
        self._aggregation = aggregation
        self._window = window
        self._retract = retract
        self._closed = Closed()
        self._partial = can_be_partial(aggregation)
        self._trial = Trial()

    def close_until(self, watermark_us: int) -> None:
        """All shards have closed sessions that end at or before the watermark."""
        self._closed.until(watermark_us)

    def prepare(self, batch: pa.RecordBatch, side: int = 0) -> Prepared:
        if batch.num_rows == 0:
            return Prepared(None)
        late = None
        froms: Int64s | None = None
        limit = limits(batch, self._closed.closed_us, self._aggregation.lateness_us)
        if limit is not None:
            kept = times_of(batch) + self._window.gap_us > limit
            if not kept.all():
                late = batch.filter(pa.array(~kept))
                batch, limit = batch.filter(pa.array(kept)), limit[kept]
            if batch.num_rows == 0:
                return Prepared(None, late)
            froms = np.maximum(times_of(batch), limit)
        if self._partial and self._trial.worth():
            partial = self._aggregate(batch, froms)
            self._trial.paid(partial is not None)
            if partial is not None:
                return Prepared(partial, late)
        return Prepared(self._rows(batch, froms), late)

    def shard(self, number: int) -> ShardState:
        return SessionState(self._aggregation, self._window, self._retract)

    def _rows(self, batch: pa.RecordBatch, froms: Int64s | None) -> pa.RecordBatch:
        names = needed_columns(self._aggregation, batch)
        rows = batch.select(names if TIME in names else [*names, TIME])
        return rows if froms is None else rows.append_column(FROM, pa.array(froms))

    def _aggregate(self, batch: pa.RecordBatch, froms: Int64s | None) -> pa.RecordBatch | None:
        """One row a session of the batch; None when there are too many for it to pay."""
        size = batch.num_rows
        keys = [batch.column(name) for name in self._aggregation.keys]
        grouped = group_rows(keys, None, limit=0.5) if keys else (np.zeros(size, np.int32), np.zeros(1, np.int64))
        if grouped is None:
            return None
        ids, first = grouped
        sessions = Sessions(make_accumulators(self._aggregation), self._window.gap_us, track=False)
        sessions.add(ids, times_of(batch), froms, None, len(first), RowPiece(batch, timed=True))
        rows = sessions.live()
        if len(rows) * 2 > size:
            return None
        taken = pa.array(first[sessions.keys[rows]])
        columns = {name: key.take(taken) for name, key in zip(self._aggregation.keys, keys, strict=True)}
        for name, values in ((START, sessions.starts), (FROM, sessions.froms), (END, sessions.ends)):
            columns[name] = pa.array(values[rows])
        columns |= sessions.rows.save(rows)
        return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))
