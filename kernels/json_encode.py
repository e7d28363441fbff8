"""Columns to JSON text, column by column: first the size of every row, then every value at its row's cursor.

A value is written by its `kind`; the caller goes through the columns of its schema, so one compiled kernel serves all
schemas. Inputs that a kind does not use are empty arrays.

==========  ==========================================================================================
kind        input and text
==========  ==========================================================================================
LITERAL     nothing but the key (used for the closing brace)
INT         `ints`: decimal digits
BOOL        `ints`: ``true`` or ``false``
TEXT        bytes ``data[offsets[i]:offsets[i + 1]]`` as they are: numbers and documents already in JSON
STRING      the same bytes quoted; quote, backslash and control characters escaped (RFC 8259, section 7)
BINARY      the same bytes in base64 with padding (RFC 4648, section 4), quoted
DATE        `ints`, days since 1970-01-01: ``"2026-01-31"``
TIMESTAMP   `ints`, microseconds: ISO 8601 with no, three or six digits of fraction, and ``Z``
LOCAL_TIME  the same without ``Z``
SQL_TIME    the same as ``"2026-01-31 23:59:59.999"``: milliseconds, always
==========  ==========================================================================================

Dates must lie in the years 0 to 9999.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from windrow.kernels._bytes import (
    address,
    copy4,
    copy16,
    copy32,
    copy_run,
    escapes32,
    get8,
    is_null,
    leading_zeros,
    put8,
    put16,
    put32,
    trailing_zeros,
)
from windrow.kernels._compile import device, inline, kernel
from windrow.kernels._types import I64, R_I32, R_I64, R_U8, W_I64, W_U8

LITERAL, INT, BOOL, TEXT, STRING, BINARY, DATE, TIMESTAMP, LOCAL_TIME, SQL_TIME = range(10)

_SECOND_US = 1_000_000
_DAY_S = 86_400


def _word(text: bytes) -> int:
    """The bytes of `text` as one little-endian number: what a single store of that width writes."""
    return int.from_bytes(text, "little")


_NULL, _TRUE, _FALS = np.uint32(_word(b"null")), np.uint32(_word(b"true")), np.uint32(_word(b"fals"))
_QUOTE, _BACKSLASH, _DASH, _COLON, _POINT, _ZERO = (np.uint8(byte) for byte in b'"\\-:.0')
_PAIRS = np.array([_word(b"%02d" % i) for i in range(100)], np.uint16)
_HEX = np.array([_word(b"%02x" % i) for i in range(32)], np.uint16)
_BASE64 = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", np.uint8)
_POWERS = np.array([0] + [10**i for i in range(1, 20)], np.uint64)
#: The letter of a byte's short escape; 0: the byte has only the form ``\\u00XX``.
_SHORT = np.zeros(256, np.uint8)
for _byte, _letter in (b'""', b"\\\\", b"\bb", b"\ff", b"\nn", b"\rr", b"\tt"):
    _SHORT[_byte] = _letter


@inline
def _magnitude(value):  # type: ignore[no-untyped-def]
    """The absolute value as uint64, also of the smallest int64."""
    return np.uint64(value) if value >= 0 else np.uint64(0) - np.uint64(value)


@inline
def _digit_count(number):  # type: ignore[no-untyped-def]
    """Decimal digits of a uint64: bits times log10(2), then one comparison."""
    guess = ((64 - leading_zeros(number | np.uint64(1))) * 1233) >> 12
    return guess + 1 if number >= _POWERS[guess] else guess


@device
def _put_int(to, value):  # type: ignore[no-untyped-def]
    number = _magnitude(value)
    if value < 0:
        put8(to, _DASH)
        to += 1
    end = to + _digit_count(number)
    at = end
    while number >= np.uint64(100):
        rest = number // np.uint64(100)
        at -= 2
        put16(at, _PAIRS[np.int64(number - rest * np.uint64(100))])
        number = rest
    if at - to == 2:
        put16(to, _PAIRS[np.int64(number)])
    else:
        put8(to, np.uint8(np.uint64(48) + number))
    return end


@device
def _put_date(to, days):  # type: ignore[no-untyped-def]
    """``YYYY-MM-DD``; counts years from March 1st in eras of 400 years (H. Hinnant, civil_from_days)."""
    shifted = days + 719_468
    era = shifted // 146_097
    day = shifted - era * 146_097
    year = (day - day // 1_460 + day // 36_524 - day // 146_096) // 365
    day_of_year = day - (365 * year + year // 4 - year // 100)
    month = (5 * day_of_year + 2) // 153
    day_of_month = day_of_year - (153 * month + 2) // 5 + 1
    month = month + 3 if month < 10 else month - 9
    year += era * 400 + (1 if month <= 2 else 0)
    put16(to, _PAIRS[year // 100])
    put16(to + 2, _PAIRS[year % 100])
    put8(to + 4, _DASH)
    put16(to + 5, _PAIRS[month])
    put8(to + 7, _DASH)
    put16(to + 8, _PAIRS[day_of_month])


@device
def _put_second(to, second, separator):  # type: ignore[no-untyped-def]
    """``YYYY-MM-DDTHH:MM:SS`` with `separator` for the T."""
    days = second // _DAY_S
    of_day = second - days * _DAY_S
    _put_date(to, days)
    put8(to + 10, np.uint8(separator))
    put16(to + 11, _PAIRS[of_day // 3_600])
    put8(to + 13, _COLON)
    put16(to + 14, _PAIRS[of_day // 60 % 60])
    put8(to + 16, _COLON)
    put16(to + 17, _PAIRS[of_day % 60])


@device
def _escapes(at, count, limit):  # type: ignore[no-untyped-def]
    """As `escapes32` of up to 32 bytes, reading nothing at `limit` or after."""
    if at + 32 <= limit:
        mask = escapes32(at)
        return mask & ((np.uint64(1) << np.uint64(count)) - np.uint64(1))
    mask = np.uint64(0)
    for i in range(count):
        byte = get8(at + i)
        if byte < 0x20 or byte in (0x22, 0x5C):
            mask |= np.uint64(1) << np.uint64(i)
    return mask


@device
def _string_size(start, end, limit):  # type: ignore[no-untyped-def]
    size = end - start + 2
    while start < end:
        mask = _escapes(start, min(end - start, 32), limit)
        while mask != 0:
            size += 1 if _SHORT[get8(start + trailing_zeros(mask))] != 0 else 5
            mask &= mask - np.uint64(1)
        start += 32
    return size


@device
def _put_escape(to, byte):  # type: ignore[no-untyped-def]
    put8(to, _BACKSLASH)
    if _SHORT[byte] != 0:
        put8(to + 1, _SHORT[byte])
        return to + 2
    put8(to + 1, np.uint8(117))
    put16(to + 2, _PAIRS[0])
    put16(to + 4, _HEX[byte])
    return to + 6


@device
def _put_string(to, start, end, limit):  # type: ignore[no-untyped-def]
    put8(to, _QUOTE)
    to += 1
    while start < end:
        left = end - start
        mask = _escapes(start, min(left, 32), limit)
        run = min(trailing_zeros(mask), left, 32)
        if left >= 32:
            copy32(start, to)  # what is too much is overwritten: the rest of the value is at least as long
        else:
            copy_run(start, to, run)
        start += run
        to += run
        if mask != 0:
            to = _put_escape(to, get8(start))
            start += 1
    put8(to, _QUOTE)
    return to + 1


@device
def _put_base64(to, start, end):  # type: ignore[no-untyped-def]
    put8(to, _QUOTE)
    to += 1
    while start < end:
        left = end - start
        word = np.int64(get8(start)) << 16
        if left > 1:
            word |= np.int64(get8(start + 1)) << 8
        if left > 2:
            word |= np.int64(get8(start + 2))
        put8(to, _BASE64[word >> 18])
        put8(to + 1, _BASE64[word >> 12 & 63])
        put8(to + 2, _BASE64[word >> 6 & 63] if left > 1 else np.uint8(61))
        put8(to + 3, _BASE64[word & 63] if left > 2 else np.uint8(61))
        start += 3
        to += 4
    put8(to, _QUOTE)
    return to + 1


@device
def _time_size(kind, value):  # type: ignore[no-untyped-def]
    if kind == SQL_TIME:
        return 25
    size = 22 if kind == TIMESTAMP else 21
    if value % _SECOND_US == 0:
        return size
    return size + 4 if value % 1_000 == 0 else size + 7


@inline
def _put3(to, value):  # type: ignore[no-untyped-def]
    put8(to, np.uint8(48 + value // 100))
    put16(to + 1, _PAIRS[value % 100])


@device
def _put_time(to, kind, value, like):  # type: ignore[no-untyped-def]
    """A time; when `like` is not 0, the time written there has the same second."""
    second = value // _SECOND_US
    fraction = value - second * _SECOND_US
    if like != 0:
        copy16(like, to)
        copy4(like + 16, to + 16)
    else:
        put8(to, _QUOTE)
        _put_second(to + 1, second, 32 if kind == SQL_TIME else 84)
    to += 20
    if fraction != 0 or kind == SQL_TIME:
        put8(to, _POINT)
        _put3(to + 1, fraction // 1_000)
        to += 4
        if kind != SQL_TIME and fraction % 1_000 != 0:
            _put3(to, fraction % 1_000)
            to += 3
    if kind == TIMESTAMP:
        put8(to, np.uint8(90))
        to += 1
    put8(to, _QUOTE)
    return to + 1


@device
def _int_size(kind, value):  # type: ignore[no-untyped-def]
    if kind == INT:
        return _digit_count(_magnitude(value)) + (1 if value < 0 else 0)
    if kind == BOOL:
        return 4 if value != 0 else 5
    if kind == DATE:
        return 12
    return _time_size(kind, value)


@kernel(I64(I64, R_I64, R_I32, R_U8, R_U8, W_I64))
def column_sizes(
    kind: int,
    ints: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int32],
    data: npt.NDArray[np.uint8],
    valid: npt.NDArray[np.uint8],
    sizes: npt.NDArray[np.int64],
) -> int:
    """Add to ``sizes[i]`` the bytes of value i as JSON; returns the sum of what was added."""
    base = address(data)
    limit = base + data.size
    total = 0
    for i in range(sizes.size):
        if is_null(valid, i):
            size = 4
        elif kind == STRING:
            size = _string_size(base + offsets[i], base + offsets[i + 1], limit)
        elif kind == TEXT:
            size = np.int64(offsets[i + 1]) - offsets[i]
        elif kind == BINARY:
            size = (np.int64(offsets[i + 1]) - offsets[i] + 2) // 3 * 4 + 2
        else:
            size = _int_size(kind, ints[i])
        sizes[i] += size
        total += size
    return total


@device
def _put_bytes(kind, to, start, end, limit):  # type: ignore[no-untyped-def]
    if kind == STRING:
        return _put_string(to, start, end, limit)
    if kind == BINARY:
        return _put_base64(to, start, end)
    copy_run(start, to, end - start)
    return to + end - start


@device
def _put_bool(to, value):  # type: ignore[no-untyped-def]
    if value != 0:
        put32(to, _TRUE)
        return to + 4
    put32(to, _FALS)
    put8(to + 4, np.uint8(101))
    return to + 5


@device
def _write_bytes(kind, key, offsets, data, valid, cursors, out):  # type: ignore[no-untyped-def]
    """The kinds that are made of bytes."""
    key_at, base, target = address(key), address(data), address(out)
    limit = base + data.size
    for i in range(cursors.size):
        to = target + cursors[i]
        copy_run(key_at, to, key.size)
        to += key.size
        if is_null(valid, i):
            put32(to, _NULL)
            to += 4
        else:
            to = _put_bytes(kind, to, base + offsets[i], base + offsets[i + 1], limit)
        cursors[i] = to - target


@device
def _write_ints(kind, key, ints, valid, cursors, out):  # type: ignore[no-untyped-def]
    """The kinds that are made of one integer; equal seconds in a row are made once and copied."""
    key_at, target = address(key), address(out)
    second, like = np.int64(0), np.int64(0)
    for i in range(cursors.size):
        to = target + cursors[i]
        copy_run(key_at, to, key.size)
        to += key.size
        if is_null(valid, i):
            put32(to, _NULL)
            to += 4
        elif kind == INT:
            to = _put_int(to, ints[i])
        elif kind == BOOL:
            to = _put_bool(to, ints[i])
        elif kind == DATE:
            put8(to, _QUOTE)
            _put_date(to + 1, ints[i])
            put8(to + 11, _QUOTE)
            to += 12
        else:
            of_row, start = ints[i] // _SECOND_US, to
            to = _put_time(to, kind, ints[i], like if of_row == second else np.int64(0))
            second, like = of_row, start
        cursors[i] = to - target


@kernel(I64(I64, R_U8, R_I64, R_I32, R_U8, R_U8, W_I64, W_U8))
def write_column(
    kind: int,
    key: npt.NDArray[np.uint8],
    ints: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int32],
    data: npt.NDArray[np.uint8],
    valid: npt.NDArray[np.uint8],
    cursors: npt.NDArray[np.int64],
    out: npt.NDArray[np.uint8],
) -> int:
    """Write `key` and then value i at ``out[cursors[i]:]`` and move the cursor behind it; returns the rows."""
    if kind == LITERAL:
        key_at, target = address(key), address(out)
        for i in range(cursors.size):
            copy_run(key_at, target + cursors[i], key.size)
            cursors[i] += key.size
    elif kind in (TEXT, STRING, BINARY):
        _write_bytes(kind, key, offsets, data, valid, cursors, out)
    else:
        _write_ints(kind, key, ints, valid, cursors, out)
    return cursors.size


@kernel(I64(R_U8, R_I64, R_I64, W_U8))
def gather_runs(
    data: npt.NDArray[np.uint8],
    starts: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
    out: npt.NDArray[np.uint8],
) -> int:
    """Copy the runs ``data[starts[i]:ends[i]]`` one after another to `out`; returns the bytes written."""
    base, target = address(data), address(out)
    to = target
    for i in range(starts.size):
        size = ends[i] - starts[i]
        copy_run(base + starts[i], to, size)
        to += size
    written: int = to - target
    return written
