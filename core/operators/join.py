"""Joins of two inputs by equal keys."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from windrow import expressions
from windrow.arrow_types import to_arrow_type
from windrow.batch import TIME, WATERMARK, WEIGHT, by_row, take_rows, validity
from windrow.errors import PlanError
from windrow.operators import base
from windrow.operators.base import OperatorContext, Prepared, ShardState
from windrow.operators.lateness import Closed, limits, times_of
from windrow.plan.expr import Expression
from windrow.plan.join import Join
from windrow.plan.window import Window
from windrow.state.joins.asof import AsofState
from windrow.state.joins.join import JoinState, loose_columns
from windrow.state.keys.words import check_key_types


class JoinOperator:
    """`StatefulOperator` for joins of streams and tables."""

    def __init__(self, join: Join, context: OperatorContext) -> None:
        check_key_types(join.key_types, join.sides[0].keys)
        self.name = join.name
        self._join = join
        self._context = context
        self._held = [_held(join, side, context.columns) for side in (0, 1)]
        self._casts = [_casts(join, side) for side in (0, 1)]
        self._loose = [loose_columns(join, side, names) for side, names in enumerate(self._held)]
        self._closed = Closed()

    @property
    def keys(self) -> tuple[tuple[str, ...], ...]:
        return tuple(
            tuple(_cast_name(at) if at in casts else name for at, name in enumerate(side.keys))
            for side, casts in zip(self._join.sides, self._casts, strict=True)
        )

    def close_until(self, watermark_us: int) -> None:
        """Rows older than the watermark are late where the join has a bound in time."""
        self._closed.until(watermark_us)

    def prepare(self, batch: pa.RecordBatch, side: int = 0) -> Prepared:
        late = None
        if self._join.window is not None:
            batch, late = self._windowed(batch, self._join.window)
        elif self._join.bounded:
            batch, late = self._in_time(batch)
        if batch.num_rows:
            batch = self._with_keys(batch, side)
        if batch.num_rows == 0:
            return Prepared(None, late)
        names = [*self._held[side]]
        if self._join.timed:
            names += [TIME]
            if WATERMARK in batch.schema.names and not self._join.bounded:
                names += [WATERMARK]
        if self._join.sides[side].weighted:
            names += [WEIGHT]
        made = batch.select(names)
        if made.num_rows >= base.DEAL_ROWS:  # fewer are put together, which row numbers cannot be
            made = by_row(made, self._loose[side])
        for at, type_ in self._casts[side].items():
            made = made.append_column(_cast_name(at), batch.column(self._join.sides[side].keys[at]).cast(type_))
        return Prepared(made, late)

    def shard(self, number: int) -> ShardState:
        if self._join.strategy is not None:
            return AsofState(self._join, self._context.columns, self._held)
        where = self._join.where
        keep = None if where is None else partial(_keep, where)
        return JoinState(self._join, self._context.columns, self._held, keep, self._context.retract)

    def _with_keys(self, batch: pa.RecordBatch, side: int) -> pa.RecordBatch:
        """Without rows whose key is null, unless they come out alone."""
        columns = [batch.column(name) for name in self._join.sides[side].keys]
        if (self._join.how != "semi" and self._join.singles[side]) or not any(column.null_count for column in columns):
            return batch
        return chosen(batch, keyed(columns))

    def _in_time(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch | None]:
        limit = limits(batch, self._closed.closed_us)
        if limit is None:
            return batch, None
        return _split(batch, times_of(batch) >= limit)

    def _windowed(self, batch: pa.RecordBatch, window: Window) -> tuple[pa.RecordBatch, pa.RecordBatch | None]:
        """A row for each window that is not closed, with the window's start as its time."""
        times, slide = times_of(batch), window.slide_us or window.size_us
        limit = limits(batch, self._closed.closed_us)
        last = (times - window.offset_us) // slide * slide + window.offset_us
        rows, starts = [], []
        for back in range(0, window.size_us, slide):
            begin = last - back
            inside = begin + window.size_us > times
            if limit is not None:
                inside &= begin + window.size_us > limit
            rows.append(np.flatnonzero(inside))
            starts.append(begin[rows[-1]])
        every, begins = np.concatenate(rows), np.concatenate(starts)
        late = None
        if limit is not None:
            missed = last + window.size_us > times
            missed[every] = False
            late = chosen(batch, missed) if missed.any() else None
        taken = batch
        if len(rows) > 1 or len(every) < len(times):
            taken = take_rows(batch, every)
        return taken.set_column(taken.schema.get_field_index(TIME), TIME, pa.array(begins)), late


def keyed(columns: Sequence[pa.Array]) -> npt.NDArray[np.bool_]:
    """For each row whether none of these is null."""
    there = np.ones(len(columns[0]), np.bool_)
    for column in columns:
        if column.null_count:
            there &= validity(column) != 0
    return there


def chosen(batch: pa.RecordBatch, mask: npt.NDArray[np.bool_]) -> pa.RecordBatch:
    """The rows where the mask is set."""
    if mask.all():
        return batch
    return take_rows(batch, np.flatnonzero(mask))


def _split(batch: pa.RecordBatch, kept: npt.NDArray[np.bool_]) -> tuple[pa.RecordBatch, pa.RecordBatch | None]:
    return (batch, None) if kept.all() else (chosen(batch, kept), chosen(batch, ~kept))


def _keep(where: Expression, batch: pa.RecordBatch) -> npt.NDArray[np.bool_]:
    mask = expressions.predicate_mask(batch, where)
    if mask.null_count:
        mask = mask.fill_null(False)
    kept: npt.NDArray[np.bool_] = mask.to_numpy(zero_copy_only=False)
    return kept


def _held(join: Join, side: int, columns: Sequence[str]) -> tuple[str, ...]:
    """The columns that a side keeps: its keys, what comes out, what the condition reads; in order."""
    wanted = {*join.sides[side].keys}
    for column in (*(c for c in join.columns if c.name in columns), *join.where_columns):
        if column.side == side:
            wanted.add(column.source)
        elif column.other is not None:
            wanted.add(column.other)
    return tuple(name for name, _ in join.sides[side].columns if name in wanted)


def _casts(join: Join, side: int) -> dict[int, pa.DataType]:
    """The keys that have to be cast before rows can be dealt to shards: equal values must have equal hashes."""
    kinds = dict(join.sides[side].columns)
    made = {}
    for at, (name, common) in enumerate(zip(join.sides[side].keys, join.key_types, strict=True)):
        own, wanted = to_arrow_type(kinds[name]), to_arrow_type(common)
        if own != wanted and (_family(own) is None or _family(own) != _family(wanted)):
            made[at] = wanted
    return made


def _family(type_: pa.DataType) -> str | None:
    """What types have in common of which equal values have equal hashes, whatever their width."""
    is_ = pa.types
    if is_.is_integer(type_):
        return "integer"
    if is_.is_floating(type_):
        return "float"
    return "string" if is_.is_string(type_) or is_.is_large_string(type_) else None


def _cast_name(at: int) -> str:
    return f"__key{at}"


def check_join(join: Join) -> None:
    """Refuse what the operator cannot do."""
    if join.bounded and any(side.weighted for side in join.sides):
        raise PlanError(f"{join.name}: changes of a Table cannot be joined within a bound of event time")
