"""Kafka's record batches (format v2, KIP-98) taken apart: the headers of batches, then where their records lie.

A batch is 61 bytes of header, big-endian, and then its records: length, attributes, time delta, offset delta, key
length, key, value length, value, number of headers, headers; lengths and deltas are zigzag varints. Nothing that a
batch says is believed: every length is checked against the bytes that are there, and nothing outside is read.
"""

from __future__ import annotations

import numpy as np

from windrow.kernels._bytes import address, copy_run, get8, get32
from windrow.kernels._compile import device, inline, kernel
from windrow.kernels._types import I64, R_I32, R_I64, R_U8, W_I32, W_I64, W_U8

HEADER_BYTES = 61
LEAST_RECORD_BYTES = 7
NULL = -1

#: Slots of one batch in the table of `walk`.
BATCH_SLOTS = 11
(AT, END, BASE_OFFSET, LAST_DELTA, COUNT, ATTRIBUTES, BASE_TIME, LAST_TIME, PRODUCER, LEADER_EPOCH, CRC) = range(
    BATCH_SLOTS
)

#: What `walk` says is wrong.
FINE, BAD_LENGTH, BAD_MAGIC, BAD_COUNT = range(4)

#: Slots of one batch for `locate`.
LOCATE_SLOTS = 7
(FROM, TO, RECORDS, FIRST_OFFSET, DELTA_LIMIT, FIRST_TIME, APPEND_TIME) = range(LOCATE_SLOTS)


@device
def _big32(at):  # type: ignore[no-untyped-def]
    word = np.int64(get32(at))
    swapped = (word >> 24) | ((word >> 8) & 0xFF00) | ((word & 0xFF00) << 8) | ((word & 0xFF) << 24)
    return np.int64(np.int32(swapped))


@device
def _big64(at):  # type: ignore[no-untyped-def]
    return (_big32(at) << 32) | (_big32(at + 4) & 0xFFFFFFFF)


@kernel(I64(R_U8, W_I64, W_I64))
def walk(data, table, progress):  # type: ignore[no-untyped-def]
    """The whole batches in `data` from ``progress[0]`` on: `BATCH_SLOTS` int64 each in `table`; returns how many.

    ``progress[0]`` becomes where the next one begins: the end of the data, or a batch that is cut off there, which is
    no error. ``progress[1]``: `FINE`, or what is wrong with the next. Stops when the table is full. ``AT`` is where the
    records begin, ``CRC`` covers the bytes from ``AT - 40`` on.
    """
    base, size = address(data), data.size
    room = table.size // BATCH_SLOTS
    at, found = progress[0], 0
    wrong = np.int64(FINE)
    while found < room and at + 17 <= size:
        if get8(base + at + 16) != 2:
            wrong = np.int64(BAD_MAGIC)
            break
        length = _big32(base + at + 8)
        if length < HEADER_BYTES - 12:
            wrong = np.int64(BAD_LENGTH)
            break
        end = at + 12 + length
        if end > size:
            break
        head = base + at
        attributes = np.int64(get8(head + 21)) << 8 | np.int64(get8(head + 22))
        first, last, count = _big64(head), _big32(head + 23), _big32(head + 57)
        if first < 0 or last < 0 or count < 0 or count > last + 1 or first > np.int64(2**63 - 1) - last - 1:
            wrong = np.int64(BAD_COUNT)
            break
        if attributes & 7 == 0 and count * LEAST_RECORD_BYTES > end - at - HEADER_BYTES:
            wrong = np.int64(BAD_COUNT)
            break
        row = found * BATCH_SLOTS
        table[row + AT] = at + HEADER_BYTES
        table[row + END] = end
        table[row + BASE_OFFSET] = first
        table[row + LAST_DELTA] = last
        table[row + COUNT] = count
        table[row + ATTRIBUTES] = attributes
        table[row + BASE_TIME] = _big64(head + 27)
        table[row + LAST_TIME] = _big64(head + 35)
        table[row + PRODUCER] = _big64(head + 43)
        table[row + LEADER_EPOCH] = _big32(head + 12)
        table[row + CRC] = _big32(head + 17) & 0xFFFFFFFF
        found += 1
        at = end
    progress[0], progress[1] = at, wrong
    return found


@device
def _slow_varint(base, at, stop):  # type: ignore[no-untyped-def]
    """(value, where it ends) of a zigzag varint of at most 10 bytes; ends at -1 when it does not end before `stop`."""
    value, shift = np.uint64(0), np.uint64(0)
    while at < stop and shift < np.uint64(70):
        byte = np.uint64(get8(base + at))
        at += 1
        value |= (byte & np.uint64(0x7F)) << shift
        if byte < np.uint64(0x80):
            return np.int64(value >> np.uint64(1)) ^ -np.int64(value & np.uint64(1)), at
        shift += np.uint64(7)
    return np.int64(0), np.int64(-1)


@inline
def _varint(base, at, stop):  # type: ignore[no-untyped-def]
    """As `_slow_varint`, one and two bytes without a branch between them: which it is cannot be foretold."""
    value, after = np.int64(0), np.int64(-1)
    if at + 4 <= stop and (get32(base + at) & np.uint32(0x8080)) != np.uint32(0x8080):
        word = np.int64(get32(base + at))
        two = (word >> 7) & 1
        raw = (word & 0x7F) | ((word >> 1) & 0x3F80 & -two)
        value, after = (raw >> 1) ^ -(raw & 1), at + 1 + two
    else:
        value, after = _slow_varint(base, at, stop)
    return value, after


@device
def _skip_headers(base, at, stop):  # type: ignore[no-untyped-def]
    """Whether a record's headers begin at `at` and end at `stop` exactly."""
    count, at = _slow_varint(base, at, stop)
    if at < 0 or count < 0 or count > (stop - at) // 2:
        return False
    for _ in range(count):
        size, at = _slow_varint(base, at, stop)
        if at < 0 or size < 0 or size > stop - at:
            return False
        at += size
        size, at = _slow_varint(base, at, stop)
        if at < 0 or size < NULL or size > stop - at:
            return False
        at += max(size, 0)
    return at == stop


@kernel(I64(R_U8, R_I64, I64, W_I64, W_I64, W_I32, W_I32, W_I32, W_I32, W_I32, W_I64))
def locate(  # type: ignore[no-untyped-def]
    data, batches, wanted, offsets, times, key_starts, key_sizes, value_starts, value_sizes, stops, progress
):
    """Where the records of batches lie whose offset is at least `wanted`; returns how many.

    `batches`: `LOCATE_SLOTS` int64 each: from where to where its records lie in `data` (at most 2**31 bytes), how many
    there are, base offset, largest offset delta, base time, and the time that all of them have (`NULL`: their own).
    Out come offsets, times (ms), where keys and values begin, their sizes (`NULL`: there is none), and where the record
    ends; its headers begin behind the value. The outputs need room for all records of the batches.
    ``progress[0]``: the batches that were read whole; nothing comes out of the first that is wrong, nor of those
    behind it; ``progress[1]`` is the number of the record in it that is.
    """
    base, size = address(data), data.size
    row = np.int64(0)
    count = batches.size // LOCATE_SLOTS
    for b in range(count):
        slot = b * LOCATE_SLOTS
        at, end = batches[slot + FROM], min(batches[slot + TO], size)
        first_offset, last_delta = batches[slot + FIRST_OFFSET], batches[slot + DELTA_LIMIT]
        first_time, append_time = batches[slot + FIRST_TIME], batches[slot + APPEND_TIME]
        records = batches[slot + RECORDS]
        begun, before, done = row, np.int64(-1), 0
        while done < records:
            length, at = _varint(base, at, end)
            if at < 0 or length < LEAST_RECORD_BYTES - 1 or length > end - at:
                break
            stop = at + length
            time_delta, at = _varint(base, at + 1, stop)
            if at < 0:
                break
            delta, at = _varint(base, at, stop)
            if at < 0 or delta <= before or delta > last_delta:
                break
            before = delta
            key_size, at = _varint(base, at, stop)
            if at < 0 or key_size > stop - at or key_size < NULL:
                break
            key_start = at
            at += max(key_size, 0)
            value_size, at = _varint(base, at, stop)
            if at < 0 or value_size >= stop - at or value_size < NULL:
                break
            headers = at + max(value_size, 0)
            if headers >= stop:
                break
            plain = get8(base + headers) == 0 and headers + 1 == stop
            if not plain and not _skip_headers(base, headers, stop):
                break
            offsets[row] = first_offset + delta
            times[row] = first_time + time_delta if append_time == NULL else append_time
            key_starts[row], key_sizes[row] = np.int32(key_start), np.int32(key_size)
            value_starts[row], value_sizes[row] = np.int32(at), np.int32(value_size)
            stops[row] = np.int32(stop)
            row += np.int64(first_offset + delta >= wanted)
            at = stop
            done += 1
        if done < records or at != end:
            progress[0], progress[1] = b, done
            return begun
    progress[0] = count
    return row


@kernel(I64(R_I32, W_I32, W_U8))
def ends_of(sizes, ends, there):  # type: ignore[no-untyped-def]
    """Offsets (one more than `sizes`) and presence, one byte each, of values of these sizes (`NULL`: none).

    Returns how many are null, or, when all of them take more than 2**31 - 1 bytes, -1.
    """
    total, nulls = np.int64(0), np.int64(0)
    ends[0] = 0
    for i in range(sizes.size):
        size = np.int64(sizes[i])
        there[i] = size >= 0
        if size < 0:
            nulls += 1
        else:
            total += size
        ends[i + 1] = np.int32(total)
    return nulls if total <= 2**31 - 1 else -1


@kernel(I64(R_U8, R_I32, R_I32, W_U8))
def gather(data, starts, ends, out):  # type: ignore[no-untyped-def]
    """Copy value i from ``data[starts[i]:]`` to ``out[ends[i]:ends[i + 1]]``; returns the bytes copied."""
    source, target = address(data), address(out)
    for i in range(starts.size):
        copy_run(source + np.int64(starts[i]), target + ends[i], np.int64(ends[i + 1]) - np.int64(ends[i]))
    return np.int64(ends[starts.size])


@kernel(I64(R_U8, R_I32, R_I32, R_I32, W_I32, W_I32, W_I32, W_I32, W_I32))
def locate_headers(  # type: ignore[no-untyped-def]
    data, value_starts, value_sizes, stops, list_ends, key_starts, key_sizes, starts, sizes
):
    """Where the headers of records lie, as `locate` has found and checked them; returns how many there are.

    ``list_ends`` (one more than records): the headers before each record. When the other outputs have no room they are
    left as they are, and what comes back is the room that is needed.
    """
    base = address(data)
    found = 0
    list_ends[0] = 0
    for i in range(stops.size):
        stop = np.int64(stops[i])
        headers = np.int64(value_starts[i])
        if value_sizes[i] > 0:
            headers += np.int64(value_sizes[i])
        count, at = _slow_varint(base, headers, stop)
        for _ in range(count):
            key_size, key_start = _slow_varint(base, at, stop)
            size, start = _slow_varint(base, key_start + key_size, stop)
            at = start + max(size, 0)
            if found < sizes.size:
                key_starts[found], key_sizes[found] = np.int32(key_start), np.int32(key_size)
                starts[found], sizes[found] = np.int32(start), np.int32(size)
            found += 1
        list_ends[i + 1] = np.int32(found)
    return found


_MURMUR = np.uint32(0x5BD1E995)


@kernel(I64(R_I32, R_U8, R_U8, I64, W_I32))
def murmur2_partitions(offsets, data, there, partitions, out):  # type: ignore[no-untyped-def]
    """The partition (int32) that Kafka's Java client gives each key: murmur2 modulo `partitions`; `NULL` for null keys.

    `there`: one byte a key, 0 for null; of length zero when none is. Returns how many are null.
    """
    base = address(data)
    nulls = 0
    for i in range(offsets.size - 1):
        if there.size != 0 and there[i] == 0:
            out[i] = NULL
            nulls += 1
            continue
        at, end = np.int64(offsets[i]), np.int64(offsets[i + 1])
        hashed = np.uint32(0x9747B28C) ^ np.uint32(end - at)
        while at + 4 <= end:
            word = np.uint32(get32(base + at) * _MURMUR)
            word = np.uint32((word ^ (word >> np.uint32(24))) * _MURMUR)
            hashed = np.uint32(hashed * _MURMUR) ^ word
            at += 4
        if at < end:
            for j in range(end - at):
                hashed ^= np.uint32(get8(base + at + j)) << np.uint32(8 * j)
            hashed = np.uint32(hashed * _MURMUR)
        hashed ^= hashed >> np.uint32(13)
        hashed = np.uint32(hashed * _MURMUR)
        hashed ^= hashed >> np.uint32(15)
        out[i] = np.int32(np.int64(hashed & np.uint32(0x7FFFFFFF)) % partitions)
    return nulls
