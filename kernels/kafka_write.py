"""Columns to Kafka's record batches (format v2, KIP-98); see `kafka_records` for how they look."""

from __future__ import annotations

import numpy as np

from windrow.kernels._bytes import address, copy_run, get8, get32, is_null, leading_zeros, put8, put16
from windrow.kernels._compile import device, inline, kernel
from windrow.kernels._types import I64, R_I32, R_I64, R_U8, W_I32, W_I64, W_U8

HEADER_BYTES = 61
#: What a record takes besides key, value and headers, at most: six varints and a byte.
MOST_OVERHEAD = 36

#: Slots of one batch in the table of `write`.
BATCH_SLOTS = 6
(START, END, FIRST_ROW, COUNT, BASE_TIME, LAST_TIME) = range(BATCH_SLOTS)


@inline
def _zigzag(value):  # type: ignore[no-untyped-def]
    return np.uint64((value << 1) ^ (value >> 63))


@inline
def _size_of(value):  # type: ignore[no-untyped-def]
    """Bytes of a varint that is not negative as zigzag."""
    return (np.int64(70) - leading_zeros(_zigzag(value) | np.uint64(1))) // 7


@device
def _put(at, value):  # type: ignore[no-untyped-def]
    """Write a zigzag varint; returns where it ends."""
    left = _zigzag(value)
    if left < np.uint64(0x80):
        put8(at, np.uint8(left))
        return at + 1
    if left < np.uint64(0x4000):
        put16(at, np.uint16((left & np.uint64(0x7F)) | np.uint64(0x80) | ((left >> np.uint64(7)) << np.uint64(8))))
        return at + 2
    while left >= np.uint64(0x80):
        put8(at, np.uint8((left & np.uint64(0x7F)) | np.uint64(0x80)))
        at += 1
        left >>= np.uint64(7)
    put8(at, np.uint8(left))
    return at + 1


# By address, not on the arrays themselves (see `_bytes`): a record of 170 bytes took 117 ns in all, and takes 41.


@inline
def _end(ends, i):  # type: ignore[no-untyped-def]
    """Item i of offsets (int32, not negative) at an address."""
    return np.int64(get32(ends + 4 * i))


@inline
def _length(ends, some, there, nulls, i):  # type: ignore[no-untyped-def]
    """Bytes of value i, -1 when it is null; all are unless there are `some`, and none of them without `nulls`."""
    if not some or (nulls and get8(there + i) == 0):
        return np.int64(-1)
    return _end(ends, i + 1) - _end(ends, i)


@device
def _put_bytes(at, source, length):  # type: ignore[no-untyped-def]
    at = _put(at, length)
    if length > 0:
        copy_run(source, at, length)
        at += length
    return at


@inline
def _start(ends, source, i, length):  # type: ignore[no-untyped-def]
    """Where value i begins, which is only looked up when it has bytes."""
    return source + _end(ends, i) if length > 0 else source


@kernel(I64(R_I32, R_U8, R_U8, R_I32, R_U8, R_U8, R_I32, R_U8, R_I64, I64, W_U8, W_I64, W_I64))
def write(  # type: ignore[no-untyped-def]
    key_ends,
    key_data,
    key_there,
    value_ends,
    value_data,
    value_there,
    header_ends,
    header_data,
    times,
    most_bytes,
    out,
    table,
    too_large,
):
    """Write rows as record batches of at most `most_bytes` each, `HEADER_BYTES` before each left as they are.

    Keys and values: offsets (one more than `times`; none: all are null), bytes, one byte a row for whether it is there.
    Headers as `header_bytes` writes them (no offsets: none). `times` in ms. In `table` `BATCH_SLOTS` int64 a batch:
    from where to where it lies in `out`, its first row, its records, the times of the first and the latest record.
    Returns how many batches. ``too_large[0]``: how many rows do not fit into a batch and were left out; their numbers
    follow.
    """
    base = address(out)
    key_source, value_source, header_source = address(key_data), address(value_data), address(header_data)
    key_at, value_at, header_at = address(key_ends), address(value_ends), address(header_ends)
    key_flags, value_flags = address(key_there), address(value_there)
    keyed, valued, headed = key_ends.size != 0, value_ends.size != 0, header_ends.size != 0
    key_nulls, value_nulls = key_there.size != 0, value_there.size != 0
    found, at, start, count = 0, 0, 0, 0
    base_time = last_time = np.int64(0)
    first_row = 0
    too_large[0] = 0
    for i in range(times.size):
        key_size = _length(key_at, keyed, key_flags, key_nulls, i)
        value_size = _length(value_at, valued, value_flags, value_nulls, i)
        header_size = np.int64(1)
        if headed:
            header_size = _end(header_at, i + 1) - _end(header_at, i)
        fixed = 1 + _size_of(key_size) + max(key_size, 0) + _size_of(value_size) + max(value_size, 0) + header_size
        body = fixed + _size_of(times[i] - base_time) + _size_of(np.int64(count))
        if count == 0 or at + _size_of(body) + body - start > most_bytes:
            body = fixed + 2
            if HEADER_BYTES + _size_of(body) + body > most_bytes:
                too_large[0] += 1
                too_large[too_large[0]] = i
                continue
            if count:
                row = found * BATCH_SLOTS
                table[row + START], table[row + END], table[row + FIRST_ROW] = start, at, first_row
                table[row + COUNT], table[row + BASE_TIME], table[row + LAST_TIME] = count, base_time, last_time
                found += 1
            start, count, first_row = at, 0, i
            base_time = last_time = times[i]
            at += HEADER_BYTES
        to = _put(base + at, body)
        put8(to, np.uint8(0))
        to = _put(to + 1, times[i] - base_time)
        to = _put(to, np.int64(count))
        to = _put_bytes(to, _start(key_at, key_source, i, key_size), key_size)
        to = _put_bytes(to, _start(value_at, value_source, i, value_size), value_size)
        if headed:
            copy_run(header_source + _end(header_at, i), to, header_size)
        else:
            put8(to, np.uint8(0))
        at = to + header_size - base
        last_time = max(last_time, times[i])
        count += 1
    if count:
        row = found * BATCH_SLOTS
        table[row + START], table[row + END], table[row + FIRST_ROW] = start, at, first_row
        table[row + COUNT], table[row + BASE_TIME], table[row + LAST_TIME] = count, base_time, last_time
        found += 1
    return found


@kernel(I64(R_I32, R_U8, R_I32, R_U8, R_I32, R_U8, R_U8, W_I32, W_U8))
def header_bytes(  # type: ignore[no-untyped-def]
    list_ends, lists_there, key_ends, key_data, value_ends, value_data, values_there, ends, out
):
    """The headers of each row as they stand in a record: their number, then key and value of each.

    `list_ends` (one more than rows): offsets into keys and values; a list that is null has no headers. `out` needs room
    for all keys and values, ten bytes for each of them and five for each row. Returns the bytes written.
    """
    base, at = address(out), address(out)
    key_source, value_source = address(key_data), address(value_data)
    key_at, value_at, flags = address(key_ends), address(value_ends), address(values_there)
    valued, nulls = value_ends.size != 0, values_there.size != 0
    ends[0] = 0
    for i in range(list_ends.size - 1):
        first, last = np.int64(list_ends[i]), np.int64(list_ends[i + 1])
        if is_null(lists_there, i):
            last = first
        at = _put(at, last - first)
        for j in range(first, last):
            at = _put_bytes(at, key_source + _end(key_at, j), _end(key_at, j + 1) - _end(key_at, j))
            size = _length(value_at, valued, flags, nulls, j)
            at = _put_bytes(at, _start(value_at, value_source, j, size), size)
        ends[i + 1] = np.int32(at - base)
    return at - base
