"""Rankings: the first rows of each group, as a Table or once for each window."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from windrow.arrow_types import to_arrow_type
from windrow.batch import ORIGIN, TIME, WEIGHT, take_rows
from windrow.errors import InvariantError
from windrow.operators.base import OperatorContext, Prepared, ShardState
from windrow.operators.lateness import Closed, limits, times_of
from windrow.plan.rank import Rank
from windrow.plan.window import Window
from windrow.state.keys.words import check_key_types
from windrow.state.rankings.runs import RunRanking
from windrow.state.rankings.slots import SlotRanking
from windrow.state.rankings.waiting import WaitingRanking

_TIMESTAMP = pa.timestamp("us", "UTC")


class RankOperator:
    """`StatefulOperator` for top_k and unique."""

    def __init__(self, rank: Rank, context: OperatorContext) -> None:
        check_key_types(rank.per_types, rank.per)
        self.name = rank.name
        self.keys = (rank.per,)
        self._rank = rank
        self._context = context
        self._closed = Closed()
        self._held = _held(rank, context.columns)

    def close_until(self, watermark_us: int) -> None:
        """Windows that end at or before this are closed."""
        self._closed.until(watermark_us)

    def prepare(self, batch: pa.RecordBatch, side: int = 0) -> Prepared:
        late = None
        if self._rank.window is not None:
            batch, late = self._windowed(batch, self._rank.window)
        if batch.num_rows == 0:
            return Prepared(None, late)
        names = self._held.names + ([WEIGHT] if self._rank.weighted else [])
        if ORIGIN in names and ORIGIN not in batch.schema.names:
            raise InvariantError(f"{self.name}: rows are ordered by arrival, but the batch has no column {ORIGIN}")
        return Prepared(batch.select(names), late)

    def shard(self, number: int) -> ShardState:
        match self._rank.kept:
            case "slots":
                return SlotRanking(self._rank, self._held, self._context.columns, self._context.retract)
            case "waiting":
                return WaitingRanking(self._rank, self._held, self._context.columns)
            case "runs":
                return RunRanking(self._rank, self._held, self._context.columns, self._context.retract)

    def _windowed(self, batch: pa.RecordBatch, window: Window) -> tuple[pa.RecordBatch, pa.RecordBatch | None]:
        """A row for each of its windows that is not closed, with the window's last microsecond as its time; and the
        rows all of whose windows are."""
        times, slide = times_of(batch), window.slide_us or window.size_us
        limit = limits(batch, self._closed.closed_us)
        newest = (times - window.offset_us) // slide * slide + window.offset_us
        rows, starts = [], []
        missed = np.zeros(len(times), np.bool_) if limit is None else newest + window.size_us > times
        for back in range(0, window.size_us, slide):
            begin = newest - back
            inside = begin + window.size_us > times
            if limit is not None:
                inside &= begin + window.size_us > limit
            missed[inside] = False
            rows.append(np.flatnonzero(inside))
            starts.append(begin[rows[-1]])
        late = take_rows(batch, np.flatnonzero(missed)) if missed.any() else None
        taken, begins = take_rows(batch, np.concatenate(rows)), np.concatenate(starts)
        ends = begins + window.size_us
        taken = taken.set_column(taken.schema.get_field_index(TIME), TIME, pa.array(ends - 1))
        taken = taken.append_column("window_start", pa.array(begins).view(_TIMESTAMP))
        return taken.append_column("window_end", pa.array(ends).view(_TIMESTAMP)), late


def _held(rank: Rank, columns: tuple[str, ...]) -> pa.Schema:
    """What is kept of a row: what comes out, what tells groups and rows apart, and what it is ordered by."""
    kinds = {name: to_arrow_type(type_) for name, type_ in rank.columns}
    wanted = {*rank.per, *(name for name in columns if name != rank.rank)}
    if rank.hashed:
        wanted |= set(kinds)
    if rank.window is not None:
        kinds |= {"window_start": _TIMESTAMP, "window_end": _TIMESTAMP}
    fields = [(name, kind) for name, kind in kinds.items() if name in wanted]
    hidden = {order.column: to_arrow_type(order.type) for order in rank.order}
    if rank.closed:
        hidden[TIME] = pa.int64()
    if rank.arrival:
        hidden[ORIGIN] = pa.int64()
    return pa.schema([*fields, *((name, kind) for name, kind in hidden.items() if (name, kind) not in fields)])
