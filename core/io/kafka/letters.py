"""Dead letters as Kafka records: key, value and headers as they were, and then the story in headers of our own.

The headers are named like those of Kafka Connect (``__connect.errors.topic``, KIP-298). All of `NAMES` are always
there, in this order and last, so that headers that the record brought along are told apart from ours, also when it has
been a dead letter before.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from windrow.batch import Int64s
from windrow.io.base import DEAD_LETTER, HEADERS

Mask = np.ndarray[tuple[int], np.dtype[np.bool_]]

#: Texts in UTF-8. The timestamp is in milliseconds; it and the field have no value when there is none to tell.
NAMES = (
    "__windrow.errors.topic",
    "__windrow.errors.partition",
    "__windrow.errors.offset",
    "__windrow.errors.timestamp",
    "__windrow.errors.job",
    "__windrow.errors.step",
    "__windrow.errors.field",
    "__windrow.errors.reason",
)
_COLUMNS = tuple(name.rpartition(".")[2] for name in NAMES)
#: What a record of a topic of dead letters is read as: all but key, value and headers is null when we have not
#: written it.
LETTER = pa.schema([field.with_nullable(True) for field in DEAD_LETTER])
_RECORD = pa.schema([DEAD_LETTER.field(name) for name in ("key", "value", "headers")])
_TIME = pa.timestamp("us", "UTC")


def as_records(letters: pa.RecordBatch) -> pa.RecordBatch:
    """`DEAD_LETTER` as key, value and headers."""
    rows, added = letters.num_rows, len(NAMES)
    own = letters.column("headers")
    before = _counts(own)
    stops = np.cumsum(before + added)
    flat = own.flatten()
    pool = pa.array(NAMES, pa.string())
    names = pa.concat_arrays([flat.field(0), pool]) if len(flat) else pool
    values = pa.concat_arrays([flat.field(1), *(_text(letters, name) for name in _COLUMNS)])
    name_at, value_at = np.empty((2, int(stops[-1]) if rows else 0), np.int64)
    ours = np.zeros(len(name_at), bool)
    for number in range(added):
        places = stops - added + number
        name_at[places] = len(flat) + number
        value_at[places] = len(flat) + number * rows + np.arange(rows)
        ours[places] = True
    name_at[~ours] = value_at[~ours] = np.arange(len(flat))
    pairs = pa.StructArray.from_arrays([names.take(pa.array(name_at)), values.take(pa.array(value_at))],
                                       fields=list(HEADERS.value_type))  # fmt: skip
    ends = pa.array(np.concatenate(([0], stops)).astype(np.int32))
    columns = [letters.column("key"), letters.column("value"), pa.ListArray.from_arrays(ends, pairs, HEADERS)]
    return pa.RecordBatch.from_arrays(columns, schema=_RECORD)


def from_records(records: pa.RecordBatch) -> pa.RecordBatch:
    """Key, value and headers as `LETTER`; a record that is no dead letter of ours has no story, and all its headers."""
    headers = records.column("headers")
    counts = _counts(headers)
    flat, stops = headers.flatten(), np.cumsum(counts)
    names = flat.field(0)
    ours = counts >= len(NAMES)
    for number, name in enumerate(NAMES):
        at = np.where(ours, stops - len(NAMES) + number, -1)
        found = names.take(pa.array(at, mask=at < 0))
        ours &= pc.fill_null(pc.equal(found, name), False).to_numpy(zero_copy_only=False)
    told = {column: _told(flat.field(1), stops, ours, number) for number, column in enumerate(_COLUMNS)}
    told["timestamp"] = pc.multiply(told["timestamp"].cast(pa.int64()), 1_000).cast(_TIME)
    told |= {name: told[name].cast(pa.int64()) for name in ("partition", "offset")}
    told |= {name: records.column(name) for name in ("key", "value")}
    told["headers"] = _without_ours(flat, counts, stops, ours)
    return pa.RecordBatch.from_arrays([told[name] for name in LETTER.names], schema=LETTER)


def _without_ours(flat: pa.Array, counts: Int64s, stops: Int64s, ours: Mask) -> pa.Array:
    keep = np.ones(len(flat), bool)
    for number in range(len(NAMES)):
        keep[stops[ours] - number - 1] = False
    left = counts - np.where(ours, len(NAMES), 0)
    ends = pa.array(np.concatenate(([0], np.cumsum(left))).astype(np.int32))
    none = left == 0
    mask = pa.array(none) if none.any() else None
    return pa.ListArray.from_arrays(ends, flat.filter(pa.array(keep)), HEADERS, mask=mask)


def _told(values: pa.Array, stops: Int64s, ours: Mask, number: int) -> pa.Array:
    at = np.where(ours, stops - len(NAMES) + number, -1)
    return values.take(pa.array(at, mask=at < 0)).cast(pa.string())


def _counts(lists: pa.Array) -> Int64s:
    counts: Int64s = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    return counts


def _text(letters: pa.RecordBatch, name: str) -> pa.Array:
    column = letters.column(name)
    if name == "timestamp":
        column = pc.floor_temporal(column, unit="millisecond").cast(pa.timestamp("ms", "UTC")).cast(pa.int64())
    return column.cast(pa.string()).cast(pa.binary())
