"""One needed JSON value to its place in a column: a function for each type.

Each takes the address `p` of a value, the address `field` of the field's description, the number `f` of the field and
the row; returns the address behind the value or a `fail`. A value that is JSON but does not fit the field is no
failure: it is noted, because a later value of the same key may replace it.
"""

from __future__ import annotations

import numpy as np

from windrow.kernels._compile import device
from windrow.kernels.json_numbers import (
    DROPPED,
    EXPONENT,
    FRACTIONAL,
    MANTISSA,
    NEGATIVE,
    UNDECIDED,
    _INFINITY,
    _POWERS,
    base64_in_place,
    digit_count,
    digit_lanes,
    digits_value,
    exact_float,
    float_bits,
    is_exact,
    put_decimal,
    read_number,
    skip_number,
    slot,
)
from windrow.kernels.json_simd import byte_at, half_at, hot, put_byte, put_float, put_half, put_int, put_word, word_at
from windrow.kernels.json_skip import FALS, NULL_TEXT, TRUE, is_number, skip_value
from windrow.kernels.json_text import (
    BAD_BASE64,
    BAD_DATE,
    BAD_DECIMAL,
    BAD_TIME,
    FLOAT_RANGE,
    GROW,
    INT_RANGE,
    NOT_INTEGER,
    TIME_RANGE,
    WRONG_TYPE,
    copy_bytes,
    copy_string,
    fail,
    skip_string,
)
from windrow.kernels.json_times import NO_TIME, fast_time, iso_date, iso_time

#: Types of fields.
INT, TEXT, ISO_TIME, FLOAT, BOOL, EPOCH_TIME, DATE, DECIMAL, RAW, BASE64 = range(10)

#: Slots of a field's description (int64): type; decimal scale, or microseconds in a unit of time; decimal precision;
#: byte offset of the column in ``fixed`` or ``offsets``; byte offset and size of its area in ``text``; byte offset of
#: its bitmap in ``valid``; 1 if it must have a value.
TYPE, UNIT, PRECISION, PLACE, AREA, ROOM, BITMAP, REQUIRED = (8 * n for n in range(8))
FIELD_BYTES = 64

#: What is known of a field's value in the current document.
ABSENT, GOOD, IS_NULL, WRONG, DEFERRED = range(5)
#: Slots of a field's note: what is wrong, at which address; or the text of a deferred float: address, length.
#: NULLS counts the nulls in the column.
NOTE_CODE, NOTE_AT, NOTE_LENGTH, NULLS = (8 * n for n in range(4))
NOTE_BYTES = 32

#: Slots of the memory map (int64 addresses): see ``json_decode``.
(
    AT_FIXED, AT_OFFSETS, AT_TEXT, AT_VALID, AT_STATES, AT_NOTES, AT_STACK, AT_OPEN, AT_LEARNED, AT_KEY, AT_NUMBER,
    AT_LAST_DATE, AT_POWERS, AT_LIMIT, AT_FULL,
) = (8 * n for n in range(15))  # fmt: skip
MAP_SLOTS = 15

#: Longest text of a date, time or decimal with an escape in it.
ESCAPED_BYTES = 512

_MOST_INT = np.uint64(2**63 - 1)
_W0 = np.uint64(0)
_SIGN = np.uint64(1 << 63)


@hot
def _good(f: int, at: int) -> None:
    put_byte(slot(at, AT_STATES) + f, GOOD)


@device
def note(p: int, f: int, code: int, at: int) -> None:
    """Remember that the value at `p` does not fit field `f`."""
    put_byte(slot(at, AT_STATES) + f, WRONG)
    notes = slot(at, AT_NOTES) + f * NOTE_BYTES
    put_int(notes + NOTE_CODE, code)
    put_int(notes + NOTE_AT, p)


@device
def _other(p: int, end: int, f: int, depth: int, code: int, at: int) -> int:
    """A value of another type than the field's: null, or wrong."""
    if half_at(p) == NULL_TEXT:
        put_byte(slot(at, AT_STATES) + f, IS_NULL)
        return p + 4
    note(p, f, code, at)
    return skip_value(p, end, depth, slot(at, AT_LIMIT), slot(at, AT_OPEN))


@device
def _long_int(p: int, end: int, field: int, f: int, row: int, depth: int, at: int) -> int:
    """Any number, or what is none."""
    if not is_number(byte_at(p)):
        return _other(p, end, f, depth, WRONG_TYPE, at)
    number = slot(at, AT_NUMBER)
    after = read_number(p, end, number)
    if after < 0:
        return after
    mantissa = word_at(number + MANTISSA)
    negative = slot(number, NEGATIVE)
    if slot(number, FRACTIONAL):
        note(p, f, NOT_INTEGER, at)
    elif slot(number, EXPONENT) != 0 or mantissa > _MOST_INT + np.uint64(negative):
        note(p, f, INT_RANGE, at)
    else:
        value = np.int64(mantissa)
        put_int(slot(at, AT_FIXED) + slot(field, PLACE) + row * 8, -value if negative else value)
        _good(f, at)
    return after


@hot
def int_value(p: int, end: int, field: int, f: int, row: int, depth: int, at: int) -> int:
    """An int64; one to eight digits without a branch for each."""
    lanes = digit_lanes(p)
    count = digit_count(lanes)
    c = byte_at(p + count)
    if (c == 44 or c == 125) and count > 0 and (count == 1 or np.int64(lanes) & 255 != 0):
        put_int(slot(at, AT_FIXED) + slot(field, PLACE) + row * 8, np.int64(digits_value(lanes, count)))
        _good(f, at)
        return p + count
    return _long_int(p, end, field, f, row, depth, at)


@device
def float_value(p: int, end: int, field: int, f: int, row: int, depth: int, at: int) -> int:
    """A float64, rounded as the nearest one; what 19 digits do not decide is deferred."""
    if not is_number(byte_at(p)):
        return _other(p, end, f, depth, WRONG_TYPE, at)
    number = slot(at, AT_NUMBER)
    after = read_number(p, end, number)
    if after < 0:
        return after
    mantissa = word_at(number + MANTISSA)
    exponent = slot(number, EXPONENT)
    dropped = slot(number, DROPPED)
    out = slot(at, AT_FIXED) + slot(field, PLACE) + row * 8
    _good(f, at)
    if is_exact(mantissa, exponent, dropped):
        value = exact_float(mantissa, exponent)
        put_float(out, -value if slot(number, NEGATIVE) else value)
        return after
    bits = float_bits(mantissa, exponent, dropped, slot(at, AT_POWERS))
    if bits == UNDECIDED:
        note(p, f, 0, at)
        put_byte(slot(at, AT_STATES) + f, DEFERRED)
        put_int(slot(at, AT_NOTES) + f * NOTE_BYTES + NOTE_LENGTH, after - p)
    elif bits == _INFINITY:
        note(p, f, FLOAT_RANGE, at)
    put_word(out, bits | _SIGN if slot(number, NEGATIVE) else bits)
    return after


@device
def bool_value(p: int, end: int, field: int, f: int, row: int, depth: int, at: int) -> int:
    word = half_at(p)
    truth = np.int64(word == TRUE)
    if truth or (word == FALS and byte_at(p + 4) == 101):
        put_int(slot(at, AT_FIXED) + slot(field, PLACE) + row * 8, truth)
        _good(f, at)
        return p + 5 - truth
    return _other(p, end, f, depth, WRONG_TYPE, at)


@device
def _epoch_us(number: int, unit: int) -> int:
    """The number just read, times `unit` microseconds, rounded down; or NO_TIME if that is out of range."""
    mantissa = word_at(number + MANTISSA)
    exponent = slot(number, EXPONENT)
    rest = np.int64(slot(number, DROPPED) != 0)
    while unit > 1:  # unit is a power of ten
        unit //= 10
        exponent += 1
    if mantissa == _W0:
        exponent = 0
    if exponent < -19:
        rest = 1
        mantissa = _W0
    elif exponent < 0:
        power = _POWERS[-exponent]
        rest |= np.int64(mantissa % power != _W0)
        mantissa = mantissa // power
    elif exponent > 0:
        if exponent > 19 or mantissa > _MOST_INT // _POWERS[exponent]:
            return NO_TIME
        mantissa = mantissa * _POWERS[exponent]
    if mantissa >= _MOST_INT:
        return NO_TIME
    value = np.int64(mantissa)
    return -value - rest if slot(number, NEGATIVE) else value


@device
def epoch_value(p: int, end: int, field: int, f: int, row: int, depth: int, at: int) -> int:
    """A timestamp that is a number of seconds, milliseconds or microseconds since 1970."""
    if not is_number(byte_at(p)):
        return _other(p, end, f, depth, WRONG_TYPE, at)
    number = slot(at, AT_NUMBER)
    after = read_number(p, end, number)
    if after < 0:
        return after
    us = _epoch_us(number, slot(field, UNIT))
    if us == NO_TIME:
        note(p, f, TIME_RANGE, at)
    else:
        put_int(slot(at, AT_FIXED) + slot(field, PLACE) + row * 8, us)
        _good(f, at)
    return after


@device
def _short_text(p: int, after: int, at: int):  # type: ignore[no-untyped-def]
    """(start, end) of the text of the string between `p` and `after`; empty if it is long and has escapes."""
    start = p + 1
    end = after - 1
    look = start
    while look < end and byte_at(look) != 92:
        look += 1
    if look == end:
        return start, end
    target = slot(at, AT_KEY)
    if end - start > ESCAPED_BYTES:
        return target, target
    _, stop = copy_string(start, after, target)
    return target, stop


@device
def _any_time(p: int, end: int, field: int, f: int, row: int, depth: int, at: int) -> int:
    """A time or a date in whatever way it is written."""
    if byte_at(p) != 34:
        return _other(p, end, f, depth, WRONG_TYPE, at)
    after = skip_string(p + 1, end)
    if after < 0:
        return after
    start, stop = _short_text(p, after, at)
    if slot(field, TYPE) == DATE:
        value = iso_date(start) if stop - start == 10 else NO_TIME
        code = BAD_DATE
    else:
        value = iso_time(start, stop)
        code = BAD_TIME
    if value == NO_TIME:
        note(p, f, code, at)
    else:
        put_int(slot(at, AT_FIXED) + slot(field, PLACE) + row * 8, value)
        _good(f, at)
    return after


@hot
def iso_time_value(p: int, end: int, field: int, f: int, row: int, depth: int, at: int) -> int:
    if byte_at(p) == 34:
        us, length = fast_time(p + 1, slot(at, AT_LAST_DATE))
        if length:
            put_int(slot(at, AT_FIXED) + slot(field, PLACE) + row * 8, us)
            _good(f, at)
            return p + 1 + length
    return _any_time(p, end, field, f, row, depth, at)


@device
def decimal_value(p: int, end: int, field: int, f: int, row: int, depth: int, at: int) -> int:
    """A decimal from a number, or from a string that holds one."""
    start = p
    if byte_at(p) == 34:
        after = skip_string(p + 1, end)
        if after < 0:
            return after
        start, stop = _short_text(p, after, at)
        if start == stop or skip_number(start, stop) != stop:
            note(p, f, BAD_DECIMAL, at)
            return after
    elif is_number(byte_at(p)):
        after = stop = skip_number(p, end)
        if after < 0:
            return after
    else:
        return _other(p, end, f, depth, WRONG_TYPE, at)
    out = slot(at, AT_FIXED) + slot(field, PLACE) + row * 16
    code = put_decimal(start, stop, slot(field, UNIT), slot(field, PRECISION), out)
    if code:
        note(p, f, code, at)
    else:
        _good(f, at)
    return after


@hot
def _room(p: int, end: int, field: int, f: int, row: int, at: int) -> int:
    """Where the text of this row goes, or a `fail` if the rest of the document might not fit there."""
    start = half_at(slot(at, AT_OFFSETS) + slot(field, PLACE) + row * 4)
    if start + (end - p) + 64 > slot(field, ROOM):
        put_int(at + AT_FULL, f)
        return fail(p, GROW)
    return slot(at, AT_TEXT) + slot(field, AREA) + start


@hot
def _put_end(stop: int, field: int, f: int, row: int, at: int) -> None:
    """The text of this row ends at the address `stop`."""
    size = stop - slot(at, AT_TEXT) - slot(field, AREA)
    put_half(slot(at, AT_OFFSETS) + slot(field, PLACE) + row * 4 + 4, size)
    _good(f, at)


@hot
def text_value(p: int, end: int, field: int, f: int, row: int, depth: int, at: int) -> int:
    """A string, or the bytes of one that holds base64."""
    if byte_at(p) != 34:
        return _other(p, end, f, depth, WRONG_TYPE, at)
    target = _room(p, end, field, f, row, at)
    if target < 0:
        return target
    after, stop = copy_string(p + 1, end, target)
    if after < 0:
        return after
    if slot(field, TYPE) == BASE64:
        stop = base64_in_place(target, stop)
        if stop == 0:
            note(p, f, BAD_BASE64, at)
            return after
    _put_end(stop, field, f, row, at)
    return after


@device
def raw_value(p: int, end: int, field: int, f: int, row: int, depth: int, at: int) -> int:
    """The JSON text of any value but null."""
    if half_at(p) == NULL_TEXT:
        put_byte(slot(at, AT_STATES) + f, IS_NULL)
        return p + 4
    after = skip_value(p, end, depth, slot(at, AT_LIMIT), slot(at, AT_OPEN))
    if after < 0:
        return after
    target = _room(p, end, field, f, row, at)
    if target < 0:
        return target
    if after > end:
        return after  # the document is cut off, which the caller finds
    copy_bytes(target, p, after - p)
    _put_end(target + after - p, field, f, row, at)
    return after


@hot
def field_value(p: int, end: int, field: int, f: int, row: int, depth: int, at: int) -> int:
    """The value at `p` as the field's type."""
    kind = slot(field, TYPE)
    if kind == INT:
        return int_value(p, end, field, f, row, depth, at)
    if kind == TEXT or kind == BASE64:
        return text_value(p, end, field, f, row, depth, at)
    if kind == ISO_TIME:
        return iso_time_value(p, end, field, f, row, depth, at)
    if kind == FLOAT:
        return float_value(p, end, field, f, row, depth, at)
    if kind == BOOL:
        return bool_value(p, end, field, f, row, depth, at)
    if kind == EPOCH_TIME:
        return epoch_value(p, end, field, f, row, depth, at)
    if kind == DATE:
        return _any_time(p, end, field, f, row, depth, at)
    if kind == DECIMAL:
        return decimal_value(p, end, field, f, row, depth, at)
    return raw_value(p, end, field, f, row, depth, at)
