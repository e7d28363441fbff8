"""Records that could not be decoded, as every source hands them on and names them."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from windrow.batch import Int64s
from windrow.codec.base import Rejected
from windrow.errors import RecordError
from windrow.io.base import HEADERS, REJECTED

_PREVIEW_BYTES = 120
_TIME = pa.timestamp("us", "UTC")


def rejected_records(
    topic: str,
    partition: int,
    offsets: Int64s,
    values: pa.Array,
    bad: Rejected,
    *,
    times: pa.Array | None = None,
    keys: pa.Array | None = None,
    headers: pa.Array | None = None,
) -> pa.RecordBatch:
    """The rejected records whole, as `REJECTED`. All arrays are of these records alone, as many as `bad` has.

    `offsets` int64; `values` and `keys` binary; `times` timestamps in microseconds; what is None is null.
    """
    count = len(bad)
    return pa.RecordBatch.from_arrays(
        [
            pa.array([topic] * count, pa.string()),
            pa.array(np.full(count, partition, np.int64)),
            pa.array(offsets),
            pa.nulls(count, _TIME) if times is None else times,
            pa.nulls(count, pa.binary()) if keys is None else keys,
            values,
            pa.nulls(count, HEADERS) if headers is None else headers,
            pa.array(bad.fields, pa.string()),
            pa.array(bad.reasons, pa.string()),
        ],
        schema=REJECTED,
    )


_PLACE = "{topic}[{partition}] offset {offset}"


def record_error(rejected: pa.RecordBatch, source: str, place: str = _PLACE) -> RecordError:
    """Of the first rejected record: where it is, what is wrong, how it begins, what can be done.

    `place` names its place in terms of the columns of `REJECTED`.
    """
    first = rejected.slice(0, 1).to_pylist()[0]
    field = f", field {first['field']!r}" if first["field"] else ""
    value = first["value"]
    shown = "null" if value is None else repr(value[:_PREVIEW_BYTES])[1:]
    more = "..." if value is not None and len(value) > _PREVIEW_BYTES else ""
    return RecordError(
        f"source {source!r}: {place.format(**first)}{field}: {first['reason']}; the record begins {shown}{more}. "
        "on_error='skip' leaves such records out, 'dead_letter' keeps them."
    )
