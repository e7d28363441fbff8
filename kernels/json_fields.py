"""One JSON value, already found well-formed, to its place in a column: a function for each type.

What most values look like is read in ``json_decode`` without coming here.
"""

from __future__ import annotations

import numpy as np

from windrow.kernels.json_numbers import (
    DROPPED,
    EXPONENT,
    FRACTIONAL,
    INFINITY,
    MANTISSA,
    NEGATIVE,
    POWERS,
    UNDECIDED,
    float_of,
    put_decimal,
    read_number,
    skip_number,
)
from windrow.kernels.json_simd import (
    byte_at,
    helper,
    is_number,
    put_byte,
    put_int,
    put_word,
    slot,
    whole,
    word_at,
)
from windrow.kernels.json_text import (
    BAD_DATE,
    BAD_DECIMAL,
    BAD_TIME,
    FLOAT_RANGE,
    INT_RANGE,
    NOT_INTEGER,
    TIME_RANGE,
    WRONG_TYPE,
    copy_string,
)
from windrow.kernels.json_times import NO_TIME, iso_date, iso_time

#: Types of fields.
INT, TEXT, BASE64, ISO_TIME, RAW, FLOAT, BOOL, EPOCH_TIME, DATE, DECIMAL = range(10)

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
_INFINITY_2 = INFINITY << np.uint64(1)


@helper
def _int(number: int, out: int) -> int:
    """Write the int64 that was just read; 0, or what is wrong."""
    mantissa = word_at(number, MANTISSA)
    negative = slot(number, NEGATIVE)
    if slot(number, FRACTIONAL):
        return NOT_INTEGER
    if slot(number, EXPONENT) != 0 or mantissa > _MOST_INT + np.uint64(negative):
        return INT_RANGE
    value = whole(mantissa)
    put_int(out, -value if negative else value)
    return 0


@helper
def _epoch(number: int, unit: int, out: int) -> int:
    """Write the number just read times `unit` microseconds, rounded down; 0, or what is wrong."""
    mantissa = word_at(number, MANTISSA)
    exponent = slot(number, EXPONENT)
    rest = whole(slot(number, DROPPED) != 0)
    while unit > 1:  # unit is a power of ten
        unit //= 10
        exponent += 1
    if mantissa == _W0:
        exponent = whole(0)
    if exponent < -19:
        rest = whole(1)
        mantissa = _W0
    elif exponent < 0:
        power = POWERS[-exponent]
        rest |= whole(mantissa % power != _W0)
        mantissa = mantissa // power
    elif exponent > 0:
        if exponent > 19 or mantissa > _MOST_INT // POWERS[exponent]:
            return TIME_RANGE
        mantissa = mantissa * POWERS[exponent]
    if mantissa >= _MOST_INT:
        return TIME_RANGE
    value = whole(mantissa)
    put_int(out, -value - rest if slot(number, NEGATIVE) else value)
    return 0


@helper
def _number(p: int, after: int, field: int, out: int, at: int) -> int:
    """A number for a field that is none but a decimal."""
    kind = slot(field, TYPE)
    number = slot(at, AT_NUMBER)
    read_number(p, after, number)
    code = 0
    if kind == INT:
        code = _int(number, out)
    elif kind == FLOAT:
        bits = float_of(number, slot(at, AT_POWERS))
        if bits == UNDECIDED:
            return DEFERRED
        if bits << np.uint64(1) == _INFINITY_2:
            code = FLOAT_RANGE
        put_word(out, bits)
    elif kind == EPOCH_TIME:
        code = _epoch(number, slot(field, UNIT), out)
    else:
        code = WRONG_TYPE
    return code << 8 | WRONG if code else GOOD


@helper
def _string(p: int, after: int, field: int, out: int, at: int) -> int:
    """A string for a field that is a time, a date or a decimal."""
    start = p + 1
    stop = after - 1
    look = start
    while look < stop and byte_at(look, 0) != 92:
        look += 1
    if look < stop:
        # escapes in a number or a date: allowed, seen by nobody, hence bounded
        start = slot(at, AT_KEY)
        if after - p > ESCAPED_BYTES:
            stop = start
        else:
            _, stop = copy_string(p + 1, after, start)
    kind = slot(field, TYPE)
    if kind == DECIMAL:
        if start == stop or skip_number(start, stop) != stop:
            return BAD_DECIMAL << 8 | WRONG
        code = put_decimal(start, stop, slot(field, UNIT), slot(field, PRECISION), out)
        return code << 8 | WRONG if code else GOOD
    if kind == DATE:
        value = iso_date(start) if stop - start == 10 else NO_TIME
        code = BAD_DATE
    elif kind == ISO_TIME:
        value = iso_time(start, stop)
        code = BAD_TIME
    else:
        return WRONG_TYPE << 8 | WRONG
    if value == NO_TIME:
        return code << 8 | WRONG
    put_int(out, value)
    return GOOD


@helper
def convert(p: int, after: int, field: int, row: int, at: int) -> int:
    """Write the well-formed value between two addresses to its column; the field's state, and << 8 what is wrong."""
    c = byte_at(p, 0)
    kind = slot(field, TYPE)
    out = slot(at, AT_FIXED) + slot(field, PLACE)
    if c == 110:
        return IS_NULL
    if kind == DECIMAL:
        out += row * 16
        if is_number(c):
            code = put_decimal(p, after, slot(field, UNIT), slot(field, PRECISION), out)
            return code << 8 | WRONG if code else GOOD
    else:
        out += row * 8
        if is_number(c):
            return _number(p, after, field, out, at)
    if c == 34:
        return _string(p, after, field, out, at)
    if kind == BOOL and (c == 116 or c == 102):
        put_int(out, whole(c == 116))
        return GOOD
    return WRONG_TYPE << 8 | WRONG


@helper
def note(p: int, f: int, code: int, at: int) -> None:
    """Remember that the value at `p` does not fit field `f`."""
    put_byte(slot(at, AT_STATES) + f, WRONG)
    notes = slot(at, AT_NOTES) + f * NOTE_BYTES
    put_int(notes + NOTE_CODE, code)
    put_int(notes + NOTE_AT, p)
