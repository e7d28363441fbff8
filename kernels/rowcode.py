"""Compound keys as bytes: for every column a marker (1, or 0 for null), then 8 bytes, or a 4-byte length and bytes.

One call handles one column of all rows; `places` is where the column starts in each row, and comes back as where the
next one starts. A null int takes its 8 bytes all the same (they are 0), a null string nothing after its marker. Since
each field says where it ends, different keys have different bytes.
"""

from __future__ import annotations

import numpy as np

from windrow.kernels._bytes import address, copy_run, get32, get64, put32, put64
from windrow.kernels._compile import kernel
from windrow.kernels._types import I64, NONE, R_I64, R_U8, W_I64, W_U8


@kernel(NONE(R_I64, R_U8, W_I64, W_U8))
def encode_int64(values, valid, places, rows):  # type: ignore[no-untyped-def]
    """Write one int64 column into the rows: 9 bytes a row."""
    base = address(rows)
    nullable = valid.shape[0] > 0
    for i in range(values.shape[0]):
        at = places[i]
        null = nullable and valid[i] == 0
        rows[at] = 0 if null else 1
        put64(base + at + 1, np.uint64(0) if null else np.uint64(values[i]))
        places[i] = at + 9


@kernel(NONE(R_I64, R_U8, R_U8, W_I64, W_U8))
def encode_bytes(offsets, data, valid, places, rows):  # type: ignore[no-untyped-def]
    """Write one string column into the rows: 5 bytes and the string's own, or 1 byte for a null."""
    base = address(rows)
    source = address(data)
    nullable = valid.shape[0] > 0
    for i in range(places.shape[0]):
        at = places[i]
        if nullable and valid[i] == 0:
            rows[at] = 0
            places[i] = at + 1
        else:
            size = offsets[i + 1] - offsets[i]
            rows[at] = 1
            put32(base + at + 1, np.uint32(size))
            copy_run(source + offsets[i], base + at + 5, size)
            places[i] = at + 5 + size


@kernel(I64(R_U8, W_I64, W_I64, W_U8))
def decode_int64(rows, places, values, valid):  # type: ignore[no-untyped-def]
    """Read one int64 column back; returns the number of nulls, whose value is 0."""
    base = address(rows)
    nulls = 0
    for i in range(places.shape[0]):
        at = places[i]
        valid[i] = rows[at]
        nulls += rows[at] == 0
        values[i] = np.int64(get64(base + at + 1))
        places[i] = at + 9
    return nulls


@kernel(I64(R_U8, R_I64, W_I64, W_U8))
def decode_offsets(rows, places, offsets, valid):  # type: ignore[no-untyped-def]
    """The offsets (one more than rows) that a string column will have, and its nulls; returns how many of them."""
    base = address(rows)
    nulls = 0
    total = np.int64(0)
    offsets[0] = 0
    for i in range(places.shape[0]):
        at = places[i]
        valid[i] = rows[at]
        if rows[at] == 0:
            nulls += 1
        else:
            total += np.int64(get32(base + at + 1))
        offsets[i + 1] = total
    return nulls


@kernel(NONE(R_U8, R_I64, W_I64, W_U8))
def decode_bytes(rows, offsets, places, data):  # type: ignore[no-untyped-def]
    """Copy the bytes of a string column to where `decode_offsets` has put them."""
    base = address(rows)
    target = address(data)
    for i in range(places.shape[0]):
        at = places[i]
        if rows[at] == 0:
            places[i] = at + 1
        else:
            size = offsets[i + 1] - offsets[i]
            copy_run(base + at + 5, target + offsets[i], size)
            places[i] = at + 5 + size
