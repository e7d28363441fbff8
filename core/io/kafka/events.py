"""Rows of records to the columns that a pipeline wants, and rejected ones to what a dead letter keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from windrow.arrow_types import from_arrow_type
from windrow.batch import Int64s
from windrow.codec.base import Rejected
from windrow.codec.kafka_records import Rows
from windrow.datatypes import Field, Schema
from windrow.errors import PlanError
from windrow.io.base import HEADERS
from windrow.io.rejected import rejected_records

#: What belongs to a record besides what its value is decoded to.
RECORD_FIELDS: Mapping[str, pa.DataType] = {
    "key": pa.binary(),
    "value": pa.binary(),
    "headers": HEADERS,
    "timestamp": pa.timestamp("us", "UTC"),
    "topic": pa.string(),
    "partition": pa.int64(),
    "offset": pa.int64(),
}


@dataclass(frozen=True, slots=True)
class Origin:
    """Where rows come from."""

    source: str
    topic: str
    partition: int
    number: int


@dataclass(frozen=True, slots=True)
class Need:
    """Which of the wanted columns come from where."""

    columns: tuple[str, ...]
    decoded: tuple[str, ...]
    record: Mapping[str, str]  # column -> what of the record


def record_columns(wanted: Mapping[str, str], source: str) -> dict[str, str]:
    """Column -> what of the record; raises `PlanError` for what a record has not."""
    for what in wanted:
        if what not in RECORD_FIELDS:
            raise PlanError(f"source {source!r}: a record has no {what!r}; it has {', '.join(RECORD_FIELDS)}")
    return {column: what for what, column in wanted.items()}


def with_record_columns(schema: Schema, record: Mapping[str, str]) -> Schema:
    """`schema` and after it what belongs to the record."""
    return Schema((*schema, *(Field(name, from_arrow_type(RECORD_FIELDS[what])) for name, what in record.items())))


def needed(columns: tuple[str, ...], schema: Schema, record: Mapping[str, str], source: str) -> Need:
    """Where `columns` come from; raises `PlanError` for one that `schema` has not."""
    unknown = [name for name in columns if name not in schema]
    if unknown:
        raise PlanError(f"source {source!r} has no column {unknown[0]!r}; it has {', '.join(schema.names)}")
    of_record = {name: record[name] for name in columns if name in record}
    return Need(columns, tuple(name for name in columns if name not in of_record), of_record)


def assembled(rows: Rows, need: Need, data: pa.RecordBatch | None, where: Origin) -> pa.RecordBatch:
    """The wanted columns in the wanted order, from the decoded ones and from the records."""
    arrays, fields = [], []
    for name in need.columns:
        what = need.record.get(name)
        if what is None:
            if data is None:
                raise PlanError(f"source {where.source!r}: column {name!r} needs a decoder")
            array = data.column(name)
        else:
            array = _record_column(what, rows, where)
        arrays.append(array)
        fields.append(pa.field(name, array.type))
    if not arrays:  # a batch without columns still counts its rows
        return pa.RecordBatch.from_struct_array(pa.Array.from_buffers(pa.struct([]), len(rows), [None]))
    return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields))


def _record_column(what: str, rows: Rows, where: Origin) -> pa.Array:
    match what:
        case "key":
            return rows.keys()
        case "value":
            return rows.values()
        case "headers":
            return rows.headers()
        case "timestamp":
            return rows.times()
        case "topic":
            return pa.repeat(where.topic, len(rows))
        case "partition":
            return pa.array(np.full(len(rows), where.partition, np.int64))
    return pa.array(rows.offsets)


def gaps(rows: Rows) -> pa.Array | None:
    """The offsets, or None when none is missing between the first and the last."""
    if not len(rows) or int(rows.offsets[-1]) - int(rows.offsets[0]) + 1 == len(rows):
        return None
    return pa.array(rows.offsets)


def repeated(rows: Rows, counts: Int64s) -> Rows:
    """Row i `counts[i]` times: its value held so many rows."""
    return chosen(rows, np.repeat(np.arange(len(rows)), counts))


def chosen(rows: Rows, which: npt.NDArray[Any]) -> Rows:
    """The rows by number, or where a mask is true, over the same bytes."""
    return Rows(
        rows.offsets[which], rows.times_ms[which], rows.key_starts[which], rows.key_sizes[which],
        rows.value_starts[which], rows.value_sizes[which], rows.stops[which], rows.data,
    )  # fmt: skip


def joined(parts: Sequence[Rows]) -> Rows:
    """Small pieces as one: their bytes are laid one behind the other, and places move along."""
    starts = np.concatenate(([0], np.cumsum([part.data.size for part in parts])[:-1])).astype(np.int32)
    return Rows(
        np.concatenate([part.offsets for part in parts]),
        np.concatenate([part.times_ms for part in parts]),
        np.concatenate([part.key_starts + start for part, start in zip(parts, starts, strict=True)]),
        np.concatenate([part.key_sizes for part in parts]),
        np.concatenate([part.value_starts + start for part, start in zip(parts, starts, strict=True)]),
        np.concatenate([part.value_sizes for part in parts]),
        np.concatenate([part.stops + start for part, start in zip(parts, starts, strict=True)]),
        np.concatenate([part.data for part in parts]),
    )


def rejected(rows: Rows, bad: Rejected, where: Origin) -> pa.RecordBatch:
    """The rejected rows whole, with the reasons, as `REJECTED`."""
    of = chosen(rows, bad.rows)
    return rejected_records(
        where.topic, where.partition, of.offsets, of.values(), bad,
        times=of.times(), keys=of.keys(), headers=of.headers(),
    )  # fmt: skip
