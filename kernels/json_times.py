"""Dates and times as text: ISO 8601 to days and microseconds since 1970, in UTC."""

from __future__ import annotations

import numpy as np

from windrow.kernels.json_simd import (
    byte_at,
    digit_count,
    digit_lanes,
    digits_value,
    helper,
    hot,
    put_int,
    slot,
    whole,
    word_at,
)

#: Result for a text that is no date or time; no text means this number.
NO_TIME = -(2**63)

_DAY_US = 86_400_000_000
_HIGH = np.uint64(0x8080808080808080)
_W8 = np.uint64(8)
_DATE_END = np.uint64(0xFFFFFF)
_BYTE = np.uint64(0xFF)
_TEN = np.uint64(10)
# "00:00:00", to be taken off the text with xor: digits become 0 to 9, colons 0
_CLOCK = np.uint64(int.from_bytes(b"00:00:00", "little"))
# adding this sets the high bit of a lane that is more than 9, or more than 0 for a colon
_CLOCK_LIMIT = np.uint64(int.from_bytes(bytes([0x76, 0x76, 0x7F, 0x76, 0x76, 0x7F, 0x76, 0x76]), "little"))
_FRACTION_US = np.array([1_000_000, 100_000, 10_000, 1_000, 100, 10, 1], np.int64)

# Slots of the scratch in which `_new_date` keeps the last date: its eleven bytes and its microseconds.
LAST_YEAR, LAST_DAY, LAST_US = 0, 8, 16


@helper
def _two(p: int) -> int:
    """Two digits, or a negative number."""
    high = byte_at(p, 0) - 48
    low = byte_at(p, 1) - 48
    if high < 0 or high > 9 or low < 0 or low > 9:
        return -1000
    return high * 10 + low


@helper
def days_since_1970(year: int, month: int, day: int) -> int:
    """Days in the proleptic Gregorian calendar (Hinnant, chrono-compatible low-level date algorithms)."""
    year -= whole(month <= 2)
    era = year // 400
    of_era = year - era * 400
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468


@helper
def iso_date(p: int) -> int:
    """Days of the ten bytes ``yyyy-mm-dd`` at `p`, years 0001 to 9999, or NO_TIME."""
    century, of_century, month, day = _two(p), _two(p + 2), _two(p + 5), _two(p + 8)
    year = century * 100 + of_century
    if year < 1 or of_century < 0 or byte_at(p, 4) != 45 or byte_at(p, 7) != 45 or month < 1 or month > 12 or day < 1:
        return NO_TIME
    longest = 30 + ((month + (month >> 3)) & 1)
    if month == 2:
        longest = 28 + whole(year % 4 == 0 and (year % 100 != 0 or year % 400 == 0))
    if day > longest:
        return NO_TIME
    return days_since_1970(year, month, day)


@helper
def _zone_us(p: int, end: int) -> int:
    """Microseconds east of UTC of what is left of a time: nothing, Z, +hh:mm or +hhmm; or NO_TIME."""
    if p == end or (end - p == 1 and byte_at(p, 0) == 90):
        return 0
    sign = 44 - byte_at(p, 0)
    if sign != 1 and sign != -1:
        return NO_TIME
    if not (end - p == 5 or (end - p == 6 and byte_at(p, 3) == 58)):
        return NO_TIME
    hours, minutes = _two(p + 1), _two(end - 2)
    if hours < 0 or hours > 23 or minutes < 0 or minutes > 59:
        return NO_TIME
    return sign * (hours * 60 + minutes) * 60_000_000


@helper
def iso_time(p: int, end: int) -> int:
    """Microseconds of the ISO 8601 text between two addresses, or NO_TIME.

    ``yyyy-mm-dd``, T or a space, ``hh:mm:ss``, a point and 1 to 9 digits or not (what is finer than a microsecond is
    cut off), and Z, ``+hh:mm``, ``+hhmm`` or nothing, which means UTC.
    """
    if end - p < 19:
        return NO_TIME
    days = iso_date(p)
    between = byte_at(p, 10)
    hour, minute, second = _two(p + 11), _two(p + 14), _two(p + 17)
    if days == NO_TIME or (between != 84 and between != 32) or byte_at(p, 13) != 58 or byte_at(p, 16) != 58:
        return NO_TIME
    if hour < 0 or hour > 23 or minute < 0 or minute > 59 or second < 0 or second > 59:
        return NO_TIME
    p += 19
    fraction = 0
    if p < end and byte_at(p, 0) == 46:
        digits = 0
        p += 1
        while p < end and 48 <= byte_at(p, 0) <= 57:
            if digits < 6:
                fraction = fraction * 10 + byte_at(p, 0) - 48
            digits += 1
            p += 1
        if digits == 0 or digits > 9:
            return NO_TIME
        fraction *= _FRACTION_US[min(digits, 6)]
    zone = _zone_us(p, end)
    if zone == NO_TIME:
        return NO_TIME
    return days * _DAY_US + ((hour * 60 + minute) * 60 + second) * 1_000_000 + fraction - zone


@helper
def _new_date(p: int, last: int) -> int:
    """Microseconds of the date at `p` with the T or space behind it, remembered for the next event; or NO_TIME."""
    between = byte_at(p, 10)
    days = iso_date(p)
    if days == NO_TIME or (between != 84 and between != 32):
        return NO_TIME
    put_int(last + LAST_YEAR, slot(p, 0))
    put_int(last + LAST_DAY, whole(word_at(p, 8) & _DATE_END))
    put_int(last + LAST_US, days * _DAY_US)
    return days * _DAY_US


@hot
def fast_time(p: int, last: int) -> tuple[int, int]:
    """(microseconds, length) of a time in UTC as most are written: whole seconds or up to 6 digits, Z or no zone, and
    the closing quote, which counts in the length. Length 0 for any other text, which may still be a time."""
    if word_at(p, 0) == word_at(last, LAST_YEAR) and word_at(p, 8) & _DATE_END == word_at(last, LAST_DAY):
        date = slot(last, LAST_US)
    else:
        date = _new_date(p, last)
    clock = word_at(p, 11) ^ _CLOCK
    pairs = clock * _TEN + (clock >> _W8)  # lanes 0, 3, 6: hour, minute, second
    hour = whole(pairs & _BYTE)
    minute = whole(pairs >> np.uint64(24) & _BYTE)
    second = whole(pairs >> np.uint64(48) & _BYTE)
    wrong = ((clock + _CLOCK_LIMIT) | clock) & _HIGH
    if date == NO_TIME or wrong != np.uint64(0) or hour > 23 or minute > 59 or second > 59:
        return 0, 0
    us = date + (hour * 3600 + minute * 60 + second) * 1_000_000
    length = 19
    c = byte_at(p, 19)
    if c == 46:
        lanes = digit_lanes(p + 20)
        digits = digit_count(lanes)
        if digits < 1 or digits > 6:
            return 0, 0
        us += whole(digits_value(lanes, digits)) * _FRACTION_US[digits]
        length = 20 + digits
        c = byte_at(p, length)
    if c == 90:
        length += 1
        c = byte_at(p, length)
    if c != 34:
        return 0, 0
    return us, length + 1
