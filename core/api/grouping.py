"""group_by(...).window(...).agg(...): from names and expressions to an aggregation that the plan can hold."""

from __future__ import annotations

from dataclasses import replace

from windrow import expressions
from windrow.api.aggregates import AggregateExpr
from windrow.api.stream import Stream
from windrow.api.table import Aggregated, Table
from windrow.api.windows import lateness_us
from windrow.arrow_types import counted_values, fields_of, list_of
from windrow.datatypes import BOOL, FLOAT64, INT64, TIMESTAMP, DataType, Field, Schema
from windrow.errors import PlanError
from windrow.plan import nodes
from windrow.plan.expr import Expression
from windrow.plan.window import ROW_COUNT, UNDOABLE, Aggregate, Aggregation, Window
from windrow.state.keys.order import check_order
from windrow.state.keys.words import check_key_types
from windrow.units import Duration

_INTEGERS = {f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)}
_FLOATS = {"double", "float", "halffloat"}


class GroupBy:
    """A stream with its keys; `window` may follow, `agg` must."""

    def __init__(
        self, stream: Stream, keys: tuple[str, ...], window: Window | None = None, lateness_us: int = 0
    ) -> None:
        self._stream = stream
        self._keys = keys
        self._window = window
        self._lateness_us = lateness_us

    def window(self, window: Window, *, allowed_lateness: Duration = 0) -> GroupBy:
        """Aggregate within windows of event time (or count); see `tumbling`, `hopping`, `session` and the others.

        A window takes events until the watermark has passed its end by `allowed_lateness`, and its state is kept so
        long. `final()` gives it once, then; `current(every="close")` when it ends, and again whenever a late event has
        changed it. Later events go to `late`.
        """
        if not isinstance(window, Window):
            raise PlanError(f"window: expected wr.tumbling(...), wr.hopping(...) or another window, got {window!r}")
        if window.kind != "count" and not window.processing and not self._stream._node.timed:
            raise PlanError(f"window: {window} needs event time; call .watermark(column, delay=...) before group_by")
        stream = self._stream
        if window.processing:
            stream = stream._then(nodes.Watermark(stream.schema, True, stream._node, None, 0, None))
        return GroupBy(stream, self._keys, window, lateness_us(window, allowed_lateness))

    def agg(self, *aggregates: AggregateExpr, **named: AggregateExpr) -> Aggregated | Table:
        """One row a group (and window), with the keys, the window's bounds and these aggregates as columns.

        Without a window the result is a `Table` that updates every epoch.
        """
        wanted = [(a.default_name if isinstance(a, AggregateExpr) else "", a) for a in aggregates]
        wanted += list(named.items())
        if not wanted:
            raise PlanError("agg: at least one aggregate is needed, for example n=wr.count()")
        binder = Binder(self._stream)
        bound = tuple(binder.bind(name, aggregate) for name, aggregate in wanted)
        if self._stream._node.updating:
            bound = _undoable(bound, self._window)
        return self._result(bound, tuple(binder.arguments))

    def _result(
        self, aggregates: tuple[Aggregate, ...], arguments: tuple[tuple[str, Expression], ...]
    ) -> Aggregated | Table:
        source = self._stream
        key_fields = tuple(Field(name, source.schema[name].type) for name in self._keys)
        outputs = tuple(Field(a.name, a.type) for a in aggregates if a.name != ROW_COUNT)
        schema = Schema(key_fields + _window_fields(self._window) + outputs)
        label = "_".join(self._keys) or "all"
        aggregation = Aggregation(
            name=f"{label}:{self._window or 'table'}",
            keys=self._keys,
            key_types=tuple(field.type for field in key_fields),
            window=self._window,
            aggregates=aggregates,
            emit="current" if self._window is None else "final",
            weighted=source._node.updating,
            lateness_us=self._lateness_us,
        )
        timed = self._window is not None and self._window.kind != "count"
        node = nodes.Aggregate(schema, timed, source._node, aggregation, arguments)
        return Table(node, self._keys) if self._window is None else Aggregated(node)


def _undoable(aggregates: tuple[Aggregate, ...], window: Window | None) -> tuple[Aggregate, ...]:
    """The aggregates so that rows of a Table can be taken back from them, and the number of rows there are."""
    if window is not None:
        raise PlanError(f"window: {window} of a Table: its rows change after their time; take the stream it is made of")
    for aggregate in aggregates:
        if aggregate.function not in UNDOABLE:
            raise PlanError(
                f"agg({aggregate.name}={aggregate.function}): rows of a Table can be taken back, which only "
                f"{', '.join(UNDOABLE)} can follow; aggregate the stream that the Table is made of"
            )
    counted = tuple(replace(a, options=(*a.options, ("counted", True))) for a in aggregates)
    return (*counted, Aggregate(ROW_COUNT, "count", None, None, INT64))


def _window_fields(window: Window | None) -> tuple[Field, ...]:
    if window is None:
        return ()
    if window.kind == "count":
        return (Field("window_number", INT64),)
    return (Field("window_start", TIMESTAMP), Field("window_end", TIMESTAMP))


class Binder:
    """Binds aggregates to a stream's columns; argument expressions become hidden columns, equal ones once."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        self.arguments: list[tuple[str, Expression]] = []

    def bind(self, name: str, aggregate: AggregateExpr) -> Aggregate:
        if not isinstance(aggregate, AggregateExpr):
            raise PlanError(
                f"agg: {name or aggregate!r} must be an aggregate such as wr.sum('price'), not {aggregate!r}"
            )
        step = f"agg({name}={aggregate.function})"
        column, argument_type = None, None
        if aggregate.argument is not None:
            column, argument_type = self._argument(aggregate, step)
        where = None
        if aggregate.where is not None:
            predicate = expressions.parse_predicate(aggregate.where, self.stream.schema, f"{step}.filter")
            where = self._hidden(predicate)
        result = result_type(aggregate.function, argument_type, step, dict(aggregate.options))
        options = tuple(sorted(aggregate.options.items()))
        function = {"bool_and": "min", "bool_or": "max"}.get(aggregate.function, aggregate.function)
        return Aggregate(name, function, column, where, result, argument_type, options)

    def _argument(self, aggregate: AggregateExpr, step: str) -> tuple[str, DataType]:
        assert aggregate.argument is not None
        outputs, schema = expressions.parse([aggregate.argument], self.stream.schema, step)
        if len(outputs) != 1:
            raise PlanError(f"{step}: one column is needed, but {aggregate.argument} gives {len(outputs)}")
        return self._hidden(outputs[0][1]), schema.fields[0].type

    def _hidden(self, expression: Expression) -> str:
        if expression.column is not None:
            return expression.column
        for name, known in self.arguments:
            if known.identity == expression.identity:
                return name
        name = f"__a{len(self.arguments)}"
        self.arguments.append((name, expression))
        return name


def result_type(function: str, argument: DataType | None, step: str, options: dict[str, object]) -> DataType:
    """The type of an aggregate's result; raises `PlanError` when the function cannot take such values."""
    name = "" if argument is None else argument.name
    numeric = name in _INTEGERS or name in _FLOATS or name.startswith("decimal128")
    match function:
        case "count" | "count_distinct":
            return INT64
        case "sum" if numeric:
            if name.startswith("decimal128"):
                return DataType(f"decimal128(38, {name.split(', ')[1].rstrip(')')})")
            return INT64 if name in _INTEGERS else FLOAT64
        case "mean" | "var" | "stddev" if numeric:
            return FLOAT64
        case "min" | "max" if (
            numeric or name == "bool" or name.startswith(("timestamp", "date", "string", "large_string"))
        ):
            assert argument is not None
            return argument
        case "first" | "last":
            assert argument is not None
            return argument
        case "bool_and" | "bool_or" if name == "bool":
            return BOOL
        case "collect_list":
            assert argument is not None
            return list_of(argument)
        case "collect_set" | "approx_count_distinct":
            assert argument is not None
            check_key_types([argument], [step])
            return list_of(argument) if function == "collect_set" else INT64
        case "heavy_hitters":
            assert argument is not None
            check_key_types([argument], [step])
            return counted_values(argument)
        case "quantile" if numeric:
            return FLOAT64
        case "arg_min" | "arg_max":
            assert argument is not None
            value, by = fields_of(argument)
            check_order(step, [("by", by)])
            return value
        case "corr" | "covar_samp" | "covar_pop":
            assert argument is not None
            for part in fields_of(argument):
                result_type("mean", part, step, {})
            return FLOAT64
        case "udaf" if numeric:
            return FLOAT64 if options["dtype"] == "float64" else INT64
    raise PlanError(f"{step}: cannot take the {function} of {argument} values; cast the column first")
