"""polars expressions: checked against a schema when a plan is built, evaluated over batches when it runs.

The one module of the engine that evaluates polars. Columns that an expression does not touch never go through it: only
what is read is handed to polars, and what comes back is put beside the other Arrow columns.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, cast

import numpy as np
import polars as pl
import pyarrow as pa
from polars.exceptions import PolarsError

from windrow.arrow_types import from_arrow_schema, to_arrow_schema
from windrow.batch import WEIGHT, is_hidden, same_text, test_of_ints
from windrow.datatypes import BOOL, Field, Schema
from windrow.errors import PlanError
from windrow.plan.expr import Expression, IntTest, TextTest


def parse(
    values: Iterable[pl.Expr | str], schema: Schema, step: str, *, plain_text_is_column: bool = True
) -> tuple[tuple[tuple[str, Expression], ...], Schema]:
    """Check expressions against the columns there are; give (name, expression) for every output, and its schema.

    Raises `PlanError` that names the step and the columns there are: for an unknown column, a type that does not fit,
    or an expression whose value depends on other rows than its own (sums, shifts, sorts), which would depend on where
    batches are cut.
    """
    outputs: list[tuple[str, Expression]] = []
    fields: list[Field] = []
    frame: pl.LazyFrame | None = None
    for value in values:
        if isinstance(value, str) and plain_text_is_column and _names_one(value, schema):  # as most do
            outputs.append((value, column(value)))
            fields.append(Field(value, schema[value].type))
            continue
        if isinstance(value, str) and not plain_text_is_column:
            value = pl.lit(value)
        expr = pl.col(value) if isinstance(value, str) else value
        if not isinstance(expr, pl.Expr):
            raise PlanError(f"{step}: expected a polars expression or a column name, got {type(value).__name__}")
        frame = _empty(schema).lazy() if frame is None else frame
        try:
            produced = frame.select(expr).collect()
        except (PolarsError, TypeError) as error:
            raise PlanError(f"{step}: {_first_line(error)}; columns there are: {schema}") from None
        names = produced.columns
        selection = expr.meta.is_column_selection()
        if not selection:
            _check_row_by_row(expr, step)
        for name, field in zip(names, from_arrow_schema(_to_arrow(produced).schema), strict=True):
            outputs.append((name, _describe(expr, name, selection)))
            fields.append(_kept_type(field, outputs[-1][1], schema))
    return tuple(outputs), Schema(tuple(fields))


def _names_one(text: str, schema: Schema) -> bool:
    """Whether polars takes a text for the name of one column that there is, not for a pattern of names."""
    return text in schema and text != "*" and not text.startswith("^") and not is_hidden(text)


def _kept_type(field: Field, expression: Expression, schema: Schema) -> Field:
    """A column passed through keeps its exact type; polars would have widened it."""
    return field if expression.column is None else Field(field.name, schema[expression.column].type)


def parse_predicate(value: pl.Expr | Sequence[pl.Expr], schema: Schema, step: str) -> Expression:
    """One boolean expression of one or several (all must hold)."""
    parts = [value] if isinstance(value, (pl.Expr, str)) else list(value)
    if not parts:
        raise PlanError(f"{step}: nothing to filter by")
    both = parts[0] if len(parts) == 1 else pl.all_horizontal(parts)
    outputs, produced = parse([both], schema, step)
    if len(outputs) != 1 or produced.fields[0].type != BOOL:
        raise PlanError(
            f"{step}: the condition must be true or false, but {outputs[0][1]} is {produced.fields[0].type}"
        )
    return outputs[0][1]


def column(name: str) -> Expression:
    """The column itself."""
    return Expression(name, (name,), name, None, name)


def _describe(expr: pl.Expr, name: str, selection: bool) -> Expression:
    if selection or expr.meta.is_column():
        return column(name)
    inner = _unnamed(expr)
    if inner.meta.is_column():
        return column(inner.meta.output_name())
    identity = _identity(inner)
    reads = tuple(dict.fromkeys(expr.meta.root_names()))
    return Expression(str(expr), reads, None, inner.alias(identity), identity, _text_test(inner) or _int_test(inner))


def _text_test(expr: pl.Expr) -> TextTest | None:
    """`expr` as a column of text next to a text that is written out, if it is that."""
    parts = expr.meta.pop()
    for name, text in (parts, parts[::-1]) if len(parts) == 2 else ():
        if not (name.meta.is_column() and text.meta.is_literal()):
            continue
        value = pl.select(text).item()
        for equal, tried in ((True, (name == text, text == name)), (False, (name != text, text != name))):
            if isinstance(value, str) and any(expr.meta.eq(each) for each in tried):
                return TextTest(name.meta.output_name(), value, equal)
    return None


#: How polars compares -> what is asked of `IntTest`, and whether it must hold.
_COMPARES: tuple[tuple[Callable[[Any, Any], Any], Literal["equal", "less", "greater"], bool], ...] = (
    (operator.eq, "equal", True),
    (operator.ne, "equal", False),
    (operator.lt, "less", True),
    (operator.ge, "less", False),
    (operator.gt, "greater", True),
    (operator.le, "greater", False),
)


def _int_test(expr: pl.Expr) -> IntTest | None:
    """`expr` as a column (or its remainder) next to a whole number that is written out, if it is that."""
    parts = expr.meta.pop()
    if len(parts) != 2 or not parts[0].meta.is_literal():
        return None
    value, of = _whole_number(parts[0]), parts[1]
    if value is None:
        return None
    for compares, compare, wanted in _COMPARES:
        if not expr.meta.eq(compares(of, parts[0])):
            continue
        if of.meta.is_column():
            return IntTest(of.meta.output_name(), None, compare, value, wanted)
        divided = of.meta.pop()
        divisor = _whole_number(divided[0]) if len(divided) == 2 and divided[1].meta.is_column() else None
        if divisor and compare == "equal" and 0 <= value < divisor and of.meta.eq(divided[1] % divided[0]):
            return IntTest(divided[1].meta.output_name(), divisor, compare, value, wanted)
    return None


def _whole_number(literal: pl.Expr) -> int | None:
    """The value of a literal that polars compares with an int64 without making either of them another type."""
    if not literal.meta.is_literal():
        return None
    series = pl.select(literal).to_series()
    value = series.item() if len(series) == 1 and series.dtype.is_signed_integer() else None
    return value if isinstance(value, int) and -(2**63) <= value < 2**63 else None


def _unnamed(expr: pl.Expr) -> pl.Expr:
    """Without the name of its output; names inside stay, for those of the fields of a struct are part of its value."""
    while str(expr).endswith(f'.alias("{expr.meta.output_name()}")'):
        expr = expr.meta.pop()[0]
    return expr


def _identity(expr: pl.Expr) -> str:
    """The same for expressions that compute the same, in every process with this version of polars."""
    return hashlib.sha256(expr.meta.serialize()).hexdigest()[:16]


def _check_row_by_row(expr: pl.Expr, step: str) -> None:
    """Walk all parts: polars calls ``a - a.mean()`` row-separable as a whole, though one of its parts is not."""
    pending = [expr]
    while pending:
        part = pending.pop()
        if not _is_row_by_row(part, step):
            raise PlanError(
                f"{step}: {part} does not work row by row, so its value would depend on where batches are cut; use "
                "group_by(...).agg(...) for aggregates, map_batches(...) for Python functions, explode(...) for lists"
            )
        pending += part.meta.pop()


def _is_row_by_row(part: pl.Expr, step: str) -> bool:
    if part.meta.is_column_selection():
        return True
    if part.meta.has_multiple_outputs():
        raise PlanError(f"{step}: {part} makes several columns at once; write one expression for each column")
    try:
        return part.meta.is_row_separable() and (part.meta.is_length_preserving() or part.meta.is_scalar())
    except PolarsError:
        raise PlanError(f"{step}: {part} holds a Python function; use stream.map_batches(...) for those") from None


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _empty(schema: Schema) -> pl.DataFrame:
    visible = to_arrow_schema(Schema(tuple(field for field in schema if not is_hidden(field.name))))
    return cast(pl.DataFrame, pl.from_arrow(visible.empty_table()))


def _to_arrow(frame: pl.DataFrame) -> pa.Table:
    return frame.to_arrow(compat_level=pl.CompatLevel.oldest())


def to_polars(data: pa.RecordBatch | pa.Table) -> pl.DataFrame:
    return cast(pl.DataFrame, pl.from_arrow(data))


def from_polars(frame: pl.DataFrame) -> pa.RecordBatch:
    """One record batch of all rows."""
    return one_batch(_to_arrow(frame))


def one_batch(table: pa.Table) -> pa.RecordBatch:
    """A table as one record batch; no copy when it has a single chunk."""
    batches = table.combine_chunks().to_batches() if table.num_rows else []
    if not batches:
        return pa.RecordBatch.from_arrays([pa.array([], field.type) for field in table.schema], schema=table.schema)
    return batches[0] if len(batches) == 1 else pa.concat_batches(batches)


def evaluate(batch: pa.RecordBatch, expressions: Sequence[Expression]) -> list[pa.Array]:
    """The values of each expression over a batch: one Arrow array each, as long as the batch."""
    wanted: dict[str, pl.Expr] = {}  # under names of their own: all may be called like the column that they read
    reads: dict[str, None] = {}
    tests = {e.identity: e.test for e in expressions if e.test and _is_testable(e.test, batch.column(e.test.column))}
    for expression in expressions:
        if expression.column is None and expression.identity not in tests:
            wanted[expression.identity] = expression.compiled
            names = expression.reads if expression.reads is not None else visible_names(batch)
            reads.update(dict.fromkeys(names))
    computed = _compute(batch, tuple(reads), list(wanted.values())) if wanted else None
    arrays = []
    for expression in expressions:
        if expression.column is not None:
            arrays.append(batch.column(expression.column))
        elif (test := tests.get(expression.identity)) is not None:
            arrays.append(_tested(test, batch.column(test.column)))
        else:
            assert computed is not None
            arrays.append(_as_array(computed, expression.identity, batch.num_rows))
    return arrays


def _is_testable(test: TextTest | IntTest, column: pa.Array) -> bool:
    """Whether a kernel does it. Text is what polars does not have as Arrow does: to make its own of it takes longer
    than to compare (12 ns, 1 ns); of numbers it takes as long to hand them over as to compare them."""
    if isinstance(test, IntTest):
        return bool(pa.types.is_int64(column.type))
    return bool(pa.types.is_string(column.type) or pa.types.is_large_string(column.type))


def _tested(test: TextTest | IntTest, column: pa.Array) -> pa.Array:
    if isinstance(test, IntTest):
        return test_of_ints(column, test.divisor, test.compare, test.value, test.wanted)
    return same_text(column, test.value, test.equal)


def visible_names(batch: pa.RecordBatch) -> list[str]:
    return [name for name in batch.schema.names if not is_hidden(name)]


def _compute(batch: pa.RecordBatch, reads: tuple[str, ...], expressions: list[pl.Expr]) -> pl.DataFrame:
    frame = to_polars(batch.select(list(reads))) if reads else pl.DataFrame(height=batch.num_rows)
    return frame.select(expressions)


def _as_array(frame: pl.DataFrame, name: str, rows: int) -> pa.Array:
    series = frame.get_column(name)
    if len(series) != rows:  # a literal
        series = series.new_from_index(0, rows)
    array = series.to_arrow(compat_level=pl.CompatLevel.oldest())
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def predicate_mask(batch: pa.RecordBatch, predicate: Expression) -> pa.Array:
    """Which rows a predicate holds for: a bool array; null counts as false."""
    return evaluate(batch, [predicate])[0]


def consolidated(changes: pa.Table, key: Sequence[str] | None) -> pa.Table:
    """The rows of a Table after all its changes, whose weights the column `WEIGHT` has.

    With a `key` they are the last row of every key that was not taken back, in the order of the keys' first appearance;
    without, every row as often as it was added more than it was taken back.
    """
    frame = to_polars(changes)
    if WEIGHT not in frame.columns:
        return changes
    if key is None:
        columns = [name for name in frame.columns if name != WEIGHT]
        summed = frame.group_by(columns, maintain_order=True).agg(pl.col(WEIGHT).cast(pl.Int64).sum())
        there = summed.filter(pl.col(WEIGHT) > 0)
        rows = there[np.repeat(np.arange(len(there)), there[WEIGHT].to_numpy())]
        return _to_arrow(rows.drop(WEIGHT)).cast(_unweighted(changes).schema)
    last = frame.unique(subset=list(key), keep="last", maintain_order=True) if key else frame.tail(1)
    return _to_arrow(last.filter(pl.col(WEIGHT) > 0).drop(WEIGHT)).cast(_unweighted(changes).schema)


def _unweighted(changes: pa.Table) -> pa.Table:
    return changes.drop_columns([WEIGHT])


def is_frame(value: Any) -> bool:
    return isinstance(value, (pl.DataFrame, pl.LazyFrame))


def frame_to_table(value: Any) -> pa.Table:
    """A polars frame as an Arrow table."""
    frame = value.collect() if isinstance(value, pl.LazyFrame) else value
    return _to_arrow(frame)


def exploded_schema(schema: Schema, columns: tuple[str, ...]) -> Schema:
    """The columns after the list columns among them have become one row an element."""
    for name in columns:
        if "list" not in schema[name].type.name:
            raise PlanError(f"explode: column {name!r} must be a list, but is {schema[name].type}")
    try:
        produced = _empty(schema).explode(list(columns))
    except PolarsError as error:
        raise PlanError(f"explode: {_first_line(error)}; columns there are: {schema}") from None
    arrow = from_arrow_schema(_to_arrow(produced).schema)
    return Schema(tuple(arrow[f.name] if f.name in columns else f for f in schema))


def explode(batch: pa.RecordBatch, columns: tuple[str, ...]) -> pa.RecordBatch:
    """One row for each element of the list columns; an empty or null list gives one row with a null."""
    return from_polars(to_polars(batch).explode(list(columns)))


def as_record_batch(value: object) -> pa.RecordBatch:
    """What a user's function gave, as one record batch: Arrow data, a polars frame, or a dict of arrays."""
    if isinstance(value, pa.RecordBatch):
        return value
    if isinstance(value, pa.Table):
        return one_batch(value)
    if is_frame(value):
        return one_batch(frame_to_table(value))
    if isinstance(value, dict):
        return pa.RecordBatch.from_pydict(value)
    raise PlanError(
        f"expected a pyarrow RecordBatch or Table, a polars DataFrame or a dict of arrays, got {type(value).__name__}"
    )


def cast_batch(batch: pa.RecordBatch, schema: pa.Schema, step: str) -> pa.RecordBatch:
    """Exactly these columns with these types; no copy where they already fit."""
    if batch.schema.equals(schema, check_metadata=False):
        return batch
    arrays = []
    for field in schema:
        array = batch.column(field.name)
        if array.type != field.type:
            try:
                array = array.cast(field.type)
            except pa.ArrowInvalid as error:
                raise PlanError(f"{step}: column {field.name!r} cannot become {field.type}: {error}") from None
        arrays.append(array)
    return pa.RecordBatch.from_arrays(arrays, schema=schema)
