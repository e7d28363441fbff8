"""Our own types, fields and schemas: pure Python, so that plans can hold them.

A `DataType` is a name. The ones below are what codecs and kernels know; any other Arrow type can travel through a
pipeline by its Arrow name (``arrow_types`` keeps the mapping).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from windrow.errors import PlanError


@dataclass(frozen=True, slots=True)
class DataType:
    """A type by its Arrow name, for example ``int64``, ``timestamp[us, tz=UTC]`` or ``decimal128(12, 2)``."""

    name: str

    def __str__(self) -> str:
        return self.name


INT64 = DataType("int64")
FLOAT64 = DataType("double")
BOOL = DataType("bool")
STRING = DataType("string")
BINARY = DataType("binary")
DATE = DataType("date32[day]")
TIMESTAMP = DataType("timestamp[us, tz=UTC]")


#: Types of the same values that differ in how they lie in memory; the first of a row can hold what the others can.
_ALIKE = (("large_string", "string", "string_view"), ("large_binary", "binary", "binary_view"))


def common_type(first: DataType, second: DataType) -> DataType | None:
    """The type that values of both have when they are put together; None when they are of different kinds."""
    if first == second:
        return first
    for names in _ALIKE:
        if first.name in names and second.name in names:
            return DataType(names[0])
    return None


def decimal(precision: int, scale: int) -> DataType:
    """Exact decimal numbers of up to 38 digits, `scale` of them after the point."""
    if not (1 <= precision <= 38 and 0 <= scale <= precision):
        raise PlanError(f"decimal({precision}, {scale}): precision must be 1 to 38 and scale 0 to precision")
    return DataType(f"decimal128({precision}, {scale})")


@dataclass(frozen=True, slots=True)
class Field:
    """One column.

    `path` says where a codec finds it in a nested document (default: its own name); `format` how a timestamp is
    written (``iso``, ``s``, ``ms``, ``us``) or ``json`` for a string column that takes the raw JSON text of any value;
    `required` that a missing or null value is an error.
    """

    name: str
    type: DataType
    path: tuple[str, ...] = ()
    format: str = ""
    required: bool = False

    @property
    def where(self) -> tuple[str, ...]:
        return self.path or (self.name,)


@dataclass(frozen=True, slots=True)
class Schema:
    """Columns in order; names are unique."""

    fields: tuple[Field, ...]

    def __post_init__(self) -> None:
        names = [field.name for field in self.fields]
        doubled = sorted({name for name in names if names.count(name) > 1})
        if doubled:
            raise PlanError(f"columns must have different names; twice: {', '.join(doubled)}")

    def __iter__(self) -> Iterator[Field]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    def __contains__(self, name: object) -> bool:
        return any(field.name == name for field in self.fields)

    def __getitem__(self, name: str) -> Field:
        for field in self.fields:
            if field.name == name:
                return field
        raise KeyError(name)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(field.name for field in self.fields)

    def pick(self, names: tuple[str, ...] | list[str]) -> Schema:
        """The named columns, in the order of `names`."""
        return Schema(tuple(self[name] for name in names))

    def renamed(self, names: Mapping[str, str]) -> Schema:
        return Schema(tuple(replace(field, name=names.get(field.name, field.name)) for field in self.fields))

    def __str__(self) -> str:
        return ", ".join(f"{field.name}: {field.type}" for field in self.fields)


def common_schema(schemas: Sequence[Schema]) -> Schema | None:
    """The columns of rows of all these schemas put together; None when names, their order or kinds of values differ."""
    first, *others = schemas
    if any(other.names != first.names for other in others):
        return None
    fields = []
    for column in zip(*schemas, strict=True):
        type_: DataType | None = column[0].type
        for field in column[1:]:
            type_ = None if type_ is None else common_type(type_, field.type)
        if type_ is None:
            return None
        fields.append(Field(column[0].name, type_))
    return Schema(tuple(fields))
