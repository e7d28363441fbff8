"""Our types to Arrow types and back; the lowest module that imports pyarrow."""

from __future__ import annotations

import re

import pyarrow as pa

from windrow.datatypes import DataType, Field, Schema
from windrow.errors import PlanError

_DECIMAL = re.compile(r"decimal128\((\d+), (\d+)\)")
_KNOWN: dict[str, pa.DataType] = {
    str(type_): type_
    for type_ in (
        pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(), pa.uint64(),
        pa.float32(), pa.float64(), pa.bool_(), pa.string(), pa.large_string(), pa.binary(), pa.large_binary(),
        pa.string_view(), pa.binary_view(), pa.date32(), pa.null(),
        *(pa.timestamp(unit, tz) for unit in ("s", "ms", "us", "ns") for tz in (None, "UTC")),
        *(pa.duration(unit) for unit in ("s", "ms", "us", "ns")),
    )
}  # fmt: skip
_ALIASES = {
    "float64": "double",
    "float32": "float",
    "int": "int64",
    "float": "double",
    "str": "string",
    "utf8": "string",
    "bytes": "binary",
    "boolean": "bool",
    "date": "date32[day]",
    "timestamp": "timestamp[us, tz=UTC]",
}


def from_arrow_type(type_: pa.DataType) -> DataType:
    """Our name of an Arrow type; remembered, so that `to_arrow_type` finds nested types again in this process."""
    name = str(type_)
    _KNOWN.setdefault(name, type_)
    return DataType(name)


def to_arrow_type(type_: DataType) -> pa.DataType:
    """The Arrow type of that name; raises `PlanError` when there is none."""
    known = _KNOWN.get(type_.name)
    if known is not None:
        return known
    match = _DECIMAL.fullmatch(type_.name)
    if match:
        return pa.decimal128(int(match[1]), int(match[2]))
    raise PlanError(f"no such type: {type_.name!r}; pass the pyarrow type itself for nested types")


def named_type(name: str) -> DataType:
    """A type by what users call it: ``int64``, ``float64``, ``string``, ``timestamp``, ``decimal(12, 2)``, ..."""
    compact = name.strip().lower()
    spelled = _ALIASES.get(compact, compact)
    match = re.fullmatch(r"decimal(?:128)?\((\d+)\s*,\s*(\d+)\)", spelled)
    if match:
        spelled = f"decimal128({int(match[1])}, {int(match[2])})"
    return from_arrow_type(to_arrow_type(DataType(spelled)))


def from_arrow_schema(schema: pa.Schema) -> Schema:
    return Schema(tuple(Field(field.name, from_arrow_type(field.type)) for field in schema))


def to_arrow_schema(schema: Schema) -> pa.Schema:
    return pa.schema([pa.field(field.name, to_arrow_type(field.type)) for field in schema])


def list_of(item: DataType) -> DataType:
    """The list type with elements of `item`."""
    return from_arrow_type(pa.list_(to_arrow_type(item)))


def counted_values(value: DataType) -> DataType:
    """The type of a list of values with how often each came, and how far off that may be."""
    parts = {"value": to_arrow_type(value), "count": pa.int64(), "error": pa.int64()}
    return from_arrow_type(pa.list_(pa.struct(parts)))


def fields_of(struct: DataType) -> tuple[DataType, ...]:
    """The types of a struct's fields."""
    type_ = to_arrow_type(struct)
    return tuple(from_arrow_type(type_.field(k).type) for k in range(type_.num_fields))
