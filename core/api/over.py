"""over(...).agg(...): from names and expressions to frames that the plan can hold."""

from __future__ import annotations

from collections.abc import Sequence

from windrow.api.aggregates import AggregateExpr
from windrow.api.grouping import Binder
from windrow.api.stream import Stream
from windrow.api.table import Table
from windrow.arrow_types import to_arrow_type
from windrow.datatypes import Field, Schema
from windrow.errors import PlanError
from windrow.plan.over import FRAMED, Over, OverNode
from windrow.plan.window import Aggregate
from windrow.state.frames.frames import can_be_framed
from windrow.units import Duration, duration_us

Names = str | Sequence[str]


class Frames:
    """A stream with a frame around each row; `agg` must follow."""

    def __init__(
        self,
        stream: Stream,
        per: Names,
        order_by: Names,
        rows: tuple[int, int] | None,
        range: tuple[Duration, Duration] | None,
    ) -> None:
        self._stream = stream
        self._per, self._by = _names(per), _names(order_by)
        stream._require("over", (*self._per, *self._by))
        if not self._by:
            raise PlanError("over: order_by needs at least one column")
        if (rows is None) == (range is None):
            raise PlanError("over: say rows=(before, after) or range=('10s', '0s'), one of them")
        if rows is not None:
            if len(rows) != 2 or any(isinstance(n, bool) or not isinstance(n, int) or n < 0 for n in rows):
                raise PlanError(f"over: rows must be two numbers of 0 or more, got {rows!r}")
            self._unit, self._reach = "rows", rows
        elif range is not None:
            kind = stream.schema[self._by[0]].type
            if not kind.name.startswith("timestamp[us"):
                raise PlanError(f"over: range needs a timestamp to order by, {self._by[0]!r} is {kind}")
            self._unit, self._reach = (
                "range",
                (duration_us(range[0], "over: range"), duration_us(range[1], "over: range")),
            )
        if isinstance(stream, Table) and not stream.key:
            raise PlanError("over: on a Table that has a key, by which its rows are told apart")

    def agg(self, **aggregates: AggregateExpr) -> Table:
        """Every row with these aggregates (count, sum, mean, min, max) of the rows around it, as a `Table`: rows that
        come, or go, change what is around others."""
        binder = Binder(self._stream)
        bound = tuple(self._checked(binder.bind(name, aggregate)) for name, aggregate in aggregates.items())
        if not bound:
            raise PlanError("over: at least one aggregate is needed, for example total=wr.sum('price')")
        stream = self._stream
        key = stream.key if isinstance(stream, Table) else None
        columns = tuple((field.name, field.type) for field in stream.schema)
        over = Over(
            f"over {'_'.join(self._per) or 'all'}", columns, self._per, self._by,
            "rows" if self._unit == "rows" else "range", *self._reach, bound, key,
        )  # fmt: skip
        fields = [Field(field.name, field.type) for field in stream.schema] + [Field(a.name, a.type) for a in bound]
        schema = Schema(tuple(fields))
        return Table(OverNode(schema, False, stream._node, over, tuple(binder.arguments)), key)

    def _checked(self, aggregate: Aggregate) -> Aggregate:
        if aggregate.function not in FRAMED:
            raise PlanError(f"over: {aggregate.name} = {aggregate.function}; there are {', '.join(FRAMED)}")
        if aggregate.argument_type is not None and not can_be_framed(to_arrow_type(aggregate.argument_type)):
            raise PlanError(
                f"over: {aggregate.name}: cannot take the {aggregate.function} of {aggregate.argument_type}"
            )
        if aggregate.name in self._stream.schema:
            raise PlanError(f"over: there is a column {aggregate.name!r} already; give the aggregate another name")
        return aggregate


def _names(value: Names) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)
