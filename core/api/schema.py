"""How users write a schema: names and types, and for nested documents where to find them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import polars as pl
import pyarrow as pa

from windrow.arrow_types import from_arrow_schema, from_arrow_type, named_type
from windrow.datatypes import DataType, Field, Schema
from windrow.errors import PlanError
from windrow.expressions import frame_to_table

#: What can stand for a type: its name, ours, Arrow's, or polars'.
TypeLike = Any
#: What can stand for a schema: made by `schema`, a mapping, an Arrow or polars schema.
SchemaLike = Any


def field(type: TypeLike, *, path: str = "", format: str = "", required: bool = False) -> Field:
    """A column for `schema`.

    `path` finds it in nested documents (``"seller.id"``; default: the column's name); `format` says how a timestamp is
    written (``"iso"``, ``"s"``, ``"ms"``, ``"us"``), or ``"json"`` for a string column that takes the raw JSON text of
    any value; `required` makes a missing or null value an error of the record.
    """
    if format not in ("", "iso", "s", "ms", "us", "json"):
        raise PlanError(f"field: no such format {format!r}; there are iso, s, ms, us (timestamps) and json (strings)")
    return Field("", _type(type), tuple(path.split(".")) if path else (), format, required)


def schema(columns: Mapping[str, TypeLike | Field] | None = None, /, **named: TypeLike | Field) -> Schema:
    """Columns with their types: ``wr.schema(auction="int64", seller=wr.field("int64", path="seller.id"))``."""
    items = {**(columns or {}), **named}
    return Schema(tuple(_field(name, value) for name, value in items.items()))


def as_schema(value: SchemaLike) -> Schema:
    """Any accepted form of a schema as ours; raises `PlanError` for anything else."""
    if isinstance(value, Schema):
        return value
    if isinstance(value, pa.Schema):
        return from_arrow_schema(value)
    if isinstance(value, pl.Schema):
        return from_arrow_schema(frame_to_table(pl.DataFrame(schema=value)).schema)
    if isinstance(value, Mapping):
        return schema(value)
    raise PlanError(
        f"expected a schema (wr.schema(...), a dict, a pyarrow or polars schema), got {type(value).__name__}"
    )


def _field(name: str, value: TypeLike | Field) -> Field:
    return replace(value, name=name) if isinstance(value, Field) else Field(name, _type(value))


def _type(value: TypeLike) -> DataType:
    if isinstance(value, DataType):
        return value
    if isinstance(value, pa.DataType):
        return from_arrow_type(value)
    if isinstance(value, str):
        return named_type(value)
    known = {int: "int64", float: "float64", str: "string", bytes: "binary", bool: "bool"}
    if value in known:
        return named_type(known[value])
    if isinstance(value, pl.DataType) or (isinstance(value, type) and issubclass(value, pl.DataType)):
        return as_schema(pl.Schema({"x": value}))["x"].type
    raise PlanError(f"expected a type such as 'int64' or 'timestamp', got {value!r}")
