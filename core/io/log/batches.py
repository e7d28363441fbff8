"""What goes into a topic: raw record batches made from values, and batches cut to the size of a chunk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from windrow.errors import LogError

CHUNK_BYTES = 16 << 20  # larger batches are cut
ROW_BYTES = 64 << 20  # larger rows are refused: int32 offsets must not overflow, memory must stay bounded

HEADERS = pa.list_(pa.struct([pa.field("key", pa.string(), nullable=False), pa.field("value", pa.binary())]))
RAW = pa.schema(
    [
        pa.field("key", pa.binary()),
        pa.field("value", pa.binary()),
        pa.field("timestamp", pa.timestamp("us", "UTC"), nullable=False),
    ]
)
RAW_WITH_HEADERS = RAW.append(pa.field("headers", HEADERS))

#: A list of bytes and None, or an Arrow array of bytes.
Values = Sequence[bytes | None]


def raw_batches(
    schema: pa.Schema, values: Values, keys: Values | None, timestamps: object, headers: object, now_us: int
) -> Iterator[pa.RecordBatch]:
    """Batches of a raw topic's `schema`; bytes columns of any Arrow layout are taken.

    `timestamps`: an int (microseconds), or an array or list of ``timestamp`` or int64 as long as `values`; default now.
    """
    value = _chunked(values, "values")
    rows = len(value)
    columns = {
        "key": _chunked(keys, "keys") if keys is not None else pa.chunked_array([pa.nulls(rows, pa.binary())]),
        "value": value,
        "timestamp": _times(timestamps, rows, now_us),
    }
    if "headers" in schema.names:
        columns["headers"] = (
            pa.chunked_array([pa.nulls(rows, HEADERS)]) if headers is None else _typed(headers, HEADERS, "headers")
        )
    elif headers is not None:
        raise LogError("this topic was created without headers; create it with headers=True to keep them")
    for name, column in columns.items():
        if len(column) != rows:
            raise LogError(f"{rows} values but {len(column)} {name}s: each value needs one")
    if columns["timestamp"].null_count:
        raise LogError("a timestamp is null; leave timestamps out to have the time of the append")
    for batch in pa.table(columns).to_batches():
        yield from (_with_schema(part, schema) for part in pieces(batch))


def fitted(batch: pa.RecordBatch, schema: pa.Schema, topic: str) -> pa.RecordBatch:
    """`batch` with the topic's columns, order and types; raises `LogError` naming what differs."""
    if batch.schema.equals(schema, check_metadata=False):
        return _with_schema(batch, schema)
    missing = [name for name in schema.names if name not in batch.schema.names]
    extra = [name for name in batch.schema.names if name not in schema.names]
    if missing or extra:
        raise LogError(
            f"topic {topic!r} has the columns {', '.join(schema.names)}; "
            f"missing: {', '.join(missing) or 'none'}; not in the topic: {', '.join(extra) or 'none'}"
        )
    columns = []
    for field in schema:
        column = batch.column(field.name)
        try:
            columns.append(column.cast(field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise LogError(
                f"topic {topic!r}, column {field.name!r}: {column.type} does not become {field.type}: {error}"
            ) from error
    return _with_schema(pa.record_batch(columns, names=schema.names), schema)


def pieces(batch: pa.RecordBatch, limit: int = CHUNK_BYTES) -> Iterator[pa.RecordBatch]:
    """`batch` in consecutive slices of at most `limit` bytes; a larger single row stays whole up to `ROW_BYTES`."""
    if batch.num_rows == 0:
        return
    if batch.nbytes <= limit:
        yield batch
        return
    if batch.num_rows == 1:
        if batch.nbytes > ROW_BYTES:
            raise LogError(f"one event has {batch.nbytes} bytes; an event may have {ROW_BYTES}")
        yield batch
        return
    half = batch.num_rows // 2
    yield from pieces(batch.slice(0, half), limit)
    yield from pieces(batch.slice(half), limit)


def split(batch: pa.RecordBatch, partitions: np.ndarray) -> dict[int, pa.RecordBatch]:
    """The rows of each partition, in their order."""
    there = np.unique(partitions).tolist()
    if len(there) == 1:
        return {there[0]: batch}
    order = np.argsort(partitions, kind="stable")
    cuts = np.searchsorted(partitions[order], [*there, there[-1] + 1]).tolist()
    return {
        number: batch.take(pa.array(order[first:last]))
        for number, first, last in zip(there, cuts[:-1], cuts[1:], strict=True)
    }


def time_bounds(batch: pa.RecordBatch, raw: bool, now_us: int) -> tuple[int, int]:
    """Least and greatest timestamp in microseconds: of the events in a raw topic, of the append in a typed one."""
    if not raw:
        return now_us, now_us
    bounds = pc.min_max(batch.column("timestamp"))
    return bounds["min"].value, bounds["max"].value


def check_schema(schema: pa.Schema, topic: str) -> None:
    """Refuse what a file with one schema message cannot hold."""
    if not len(schema):
        raise LogError(f"topic {topic!r}: a typed topic needs at least one column")
    doubled = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if doubled:
        raise LogError(f"topic {topic!r}: columns must have different names; twice: {', '.join(doubled)}")
    for field in schema:
        if _has_dictionary(field.type):
            raise LogError(
                f"topic {topic!r}, column {field.name!r}: dictionary columns cannot be kept; cast to the value type"
            )


def plain_schema(schema: pa.Schema) -> pa.Schema:
    """The schema that a file is given: without metadata, and with plain columns for view types.

    pyarrow 26 cannot take rows of views, and a file would hold whole buffers for slices of them.
    """
    plain = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}
    return pa.schema([pa.field(field.name, plain.get(field.type, field.type), field.nullable) for field in schema])


def _has_dictionary(type_: pa.DataType) -> bool:
    if pa.types.is_dictionary(type_):
        return True
    return any(_has_dictionary(type_.field(i).type) for i in range(type_.num_fields))


def _chunked(values: Values, what: str) -> pa.ChunkedArray:
    column = _typed(values, None if isinstance(values, pa.Array | pa.ChunkedArray) else pa.binary(), what)
    if column.type == pa.binary():
        return column
    try:
        # A cast of 64-bit offsets to 32-bit ones must not meet more than 2 GiB at once.
        parts = [part for chunk in column.chunks for part in pieces(pa.record_batch([chunk], names=["bytes"]))]
        return pa.chunked_array([part.column(0).cast(pa.binary()) for part in parts], pa.binary())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise LogError(f"{what}: expected bytes, got {column.type}") from error


def _typed(values: object, type_: pa.DataType | None, what: str) -> pa.ChunkedArray:
    if isinstance(values, pa.ChunkedArray):
        return values
    try:
        array = values if isinstance(values, pa.Array) else pa.array(values, type_)
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError, ValueError) as error:
        raise LogError(f"{what}: expected {type_}: {error}") from error
    return array if isinstance(array, pa.ChunkedArray) else pa.chunked_array([array])


def _times(timestamps: object, rows: int, now_us: int) -> pa.ChunkedArray:
    type_ = RAW.field("timestamp").type
    if timestamps is None:
        timestamps = now_us
    if isinstance(timestamps, int):
        return pa.chunked_array([pa.array(np.full(rows, timestamps, np.int64)).cast(type_)])
    column = _typed(timestamps, None, "timestamps")
    try:
        if pa.types.is_timestamp(column.type) and column.type.tz is None:
            column = column.cast(pa.timestamp("us"))
        return column.cast(type_)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise LogError(
            f"timestamps: expected timestamp[us, tz=UTC] or int64 microseconds, got {column.type}"
        ) from error


def _with_schema(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    for field, column in zip(schema, batch.columns, strict=True):
        if not field.nullable and column.null_count:
            raise LogError(f"column {field.name!r} is declared without nulls but has {column.null_count}")
    return pa.RecordBatch.from_arrays(batch.columns, schema=schema)
