"""JSON numbers: eight digits at a time, exactly rounded floats, exact decimals; and base64.

Same conventions as ``json_text``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from windrow.kernels._bytes import multiply_high
from windrow.kernels.json_simd import (
    byte_at,
    digit_count,
    digit_lanes,
    digits_value,
    fail,
    helper,
    leading_zeros,
    put_byte,
    put_float,
    put_int,
    put_word,
    slot,
    whole,
    word_at,
)
from windrow.kernels.json_text import (
    BAD_NUMBER,
    DECIMAL_RANGE,
    DECIMAL_SCALE,
)

_W0, _W1, _W3, _W63 = (np.uint64(n) for n in (0, 1, 3, 63))
_TEN = np.uint64(10)
POWERS = np.array([10**n for n in range(20)], np.uint64)
_EXACT = np.array([float(10**n) for n in range(23)], np.float64)
_TWO_53 = np.uint64(1 << 53)
_HIDDEN = np.uint64(1 << 52)
_LOW_9 = np.uint64(0x1FF)
INFINITY = np.uint64(0x7FF0000000000000)

#: Result of `float_of` when 19 digits do not decide the last bit.
UNDECIDED = np.uint64(0xFFFFFFFFFFFFFFFF)
#: The powers of five from 10**SMALLEST on that `float_of` multiplies with.
SMALLEST, LARGEST = -342, 308

# Slots of the scratch that `read_number` fills.
NEGATIVE, MANTISSA, EXPONENT, FRACTIONAL, DROPPED = 0, 8, 16, 24, 32

# Value of a base64 digit, 64 for "=", 255 for none. RFC 4648, section 4.
_SIXTY_FOUR = np.full(256, 255, np.uint8)
for _value, _name in enumerate(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/="):
    _SIXTY_FOUR[_name] = _value


def powers_of_five() -> Any:
    """128 leading bits of 5**q for q from SMALLEST to LARGEST: uint64 pairs (high, low), one after the other.

    Powers are cut off, reciprocals that fit 128 bits are rounded up: Lemire, Number Parsing at a Gigabyte per Second,
    2021.
    """
    table = np.empty(2 * (LARGEST - SMALLEST + 1), np.uint64)
    for q in range(SMALLEST, LARGEST + 1):
        if q >= 0:
            bits = (5**q).bit_length()
            value = 5**q << 128 - bits if bits <= 128 else 5**q >> bits - 128
        else:
            power = 5**-q
            size = power.bit_length()
            value = (1 << (size + 127 if q >= -27 else 2 * size + 128)) // power + 1
            value >>= value.bit_length() - 128
        at = 2 * (q - SMALLEST)
        table[at], table[at + 1] = value >> 64, value & (1 << 64) - 1
    return table


@helper
def _skip_digits(p: int, end: int) -> int:
    while p < end:
        count = digit_count(digit_lanes(p))
        p += count
        if count < 8:
            break
    return p


@helper
def skip_number(p: int, end: int) -> int:
    """Behind the number at `p`: -? (0 | [1-9][0-9]*) (.[0-9]+)? ([eE][+-]?[0-9]+)?"""
    if byte_at(p, 0) == 45:
        p += 1
    if byte_at(p, 0) == 48:
        p += 1
    else:
        after = _skip_digits(p, end)
        if after == p:
            return fail(p, BAD_NUMBER)
        p = after
    if byte_at(p, 0) == 46:
        after = _skip_digits(p + 1, end)
        if after == p + 1:
            return fail(after, BAD_NUMBER)
        p = after
    if byte_at(p, 0) | 32 == 101:
        p += 1
        if byte_at(p, 0) == 43 or byte_at(p, 0) == 45:
            p += 1
        after = _skip_digits(p, end)
        if after == p:
            return fail(p, BAD_NUMBER)
        p = after
    return p


@helper
def read_number(p: int, after: int, out: int) -> None:
    """The value of the number between two addresses: 19 significant digits and a power of ten, to the slots at `out`.

    FRACTIONAL is 1 if there is a point or an exponent, DROPPED nonzero if digits other than 0 were left out.
    """
    negative = whole(byte_at(p, 0) == 45)
    p += negative
    mantissa = _W0
    used = whole(0)
    exponent = whole(0)
    dropped = whole(0)
    point = whole(0)
    while p < after:
        c = byte_at(p, 0)
        if c == 46:
            point = whole(1)
            p += 1
            continue
        if c | 32 == 101:
            break
        lanes = digit_lanes(p)
        count = digit_count(lanes)
        if used + count <= 19 and (c != 48 or mantissa != _W0):
            mantissa = mantissa * POWERS[count] + digits_value(lanes, count)
            used += count
            exponent -= count * point
            p += count
            continue
        digit = c - 48
        if used < 19:
            mantissa = mantissa * _TEN + np.uint64(digit)
            used += whole(mantissa != _W0)
            exponent -= point
        else:
            dropped |= digit
            exponent += 1 - point
        p += 1
    put_int(out + FRACTIONAL, whole(point == 1 or p < after))
    if p < after:
        exponent += _exponent(p + 1, after)
    put_int(out + NEGATIVE, negative)
    put_word(out + MANTISSA, mantissa)
    put_int(out + EXPONENT, exponent)
    put_int(out + DROPPED, dropped)


@helper
def _exponent(p: int, end: int) -> int:
    """The exponent written at `p`; what is beyond a milliard stays there, no document is that long."""
    sign = 1
    if byte_at(p, 0) == 43 or byte_at(p, 0) == 45:
        sign = 44 - byte_at(p, 0)
        p += 1
    value = 0
    while p < end:
        if value < 1_000_000_000:
            value = value * 10 + byte_at(p, 0) - 48
        p += 1
    return value * sign


@helper
def _rounded(q: int, w: Any, powers: int) -> Any:
    """Bits of the float nearest to w * 10**q, ties to even (Lemire 2021, with the proof of Mushtak and Lemire 2023)."""
    if w == _W0 or q < SMALLEST:
        return _W0
    if q > LARGEST:
        return INFINITY
    zeros = leading_zeros(w)
    w = w << np.uint64(zeros)
    entry = powers + 16 * (q - SMALLEST)
    factor = word_at(entry, 0)
    high = multiply_high(w, factor)
    low = w * factor
    if high & _LOW_9 == _LOW_9:
        second = multiply_high(w, word_at(entry, 8))
        low = low + second
        if low < second:
            high = high + _W1
    upper = whole(high >> _W63)
    shift = np.uint64(upper + 9)
    mantissa = high >> shift
    power = ((217706 * q) >> 16) + 63 + upper - zeros + 1023
    if power <= 0:
        if 1 - power >= 64:
            return _W0
        mantissa = mantissa >> np.uint64(1 - power)
        # the hidden bit, if rounding sets it, is the exponent 1
        return (mantissa + (mantissa & _W1)) >> _W1
    if low <= _W1 and -4 <= q <= 23 and mantissa & _W3 == _W1 and (mantissa << shift) == high:
        mantissa = mantissa & ~_W1
    mantissa = (mantissa + (mantissa & _W1)) >> _W1
    if mantissa >= _TWO_53:
        mantissa = _HIDDEN
        power += 1
    if power >= 2047:
        return INFINITY
    return (mantissa & ~_HIDDEN) | np.uint64(power) << np.uint64(52)


@helper
def float_of(number: int, powers: int) -> Any:
    """Bits of the float nearest to a number that `read_number` has read; UNDECIDED if its first 19 digits are too few.

    Where one multiplication or division of exact floats gives the rounded value (Clinger 1990), that is all.
    """
    mantissa = word_at(number, MANTISSA)
    exponent = slot(number, EXPONENT)
    dropped = slot(number, DROPPED)
    sign = np.uint64(slot(number, NEGATIVE)) << _W63
    if mantissa <= _TWO_53 and -22 <= exponent <= 22 and dropped == 0:
        value = np.float64(mantissa)
        value = value / _EXACT[-exponent] if exponent < 0 else value * _EXACT[exponent]
        put_float(number + MANTISSA, value)
        return word_at(number, MANTISSA) | sign
    bits = _rounded(exponent, mantissa, powers)
    if dropped and bits != _rounded(exponent, mantissa + _W1, powers):
        return UNDECIDED
    return bits | sign


@helper
def _times_ten(high: Any, low: Any, digit: int) -> Any:
    """(high, low) * 10 + digit in 128 bits."""
    high = high * _TEN + multiply_high(low, _TEN)
    low = low * _TEN
    total = low + np.uint64(digit)
    if total < low:
        high = high + _W1
    return high, total


@helper
def put_decimal(p: int, after: int, scale: int, precision: int, out: int) -> int:
    """Write the number between `p` and `after` times 10**scale as 16 bytes at `out`; 0, or what is wrong.

    Zeros at the end never matter: 1.500 fits a scale of 1.
    """
    negative = byte_at(p, 0) == 45
    p += whole(negative)
    high = _W0
    low = _W0
    digits = 0  # significant ones in (high, low)
    zeros = 0  # seen behind them
    exponent = 0
    point = 0
    while p < after:
        c = byte_at(p, 0)
        if c | 32 == 101:
            exponent += _exponent(p + 1, after)
            break
        p += 1
        if c == 46:
            point = 1
            continue
        exponent -= point
        if c == 48:
            zeros += whole(digits > 0)
            continue
        if digits + zeros + 1 > 38:
            return DECIMAL_SCALE if point else DECIMAL_RANGE
        digits += zeros + 1
        while zeros > 0:
            high, low = _times_ten(high, low, whole(0))
            zeros -= 1
        high, low = _times_ten(high, low, c - 48)
    missing = exponent + zeros + scale
    if digits == 0:
        missing = 0
    if missing < 0:
        return DECIMAL_SCALE
    if digits + missing > precision:
        return DECIMAL_RANGE
    while missing > 0:
        high, low = _times_ten(high, low, whole(0))
        missing -= 1
    if negative:
        high = ~high + np.uint64(low == _W0)
        low = ~low + _W1
    put_word(out, low)
    put_word(out + 8, high)
    return 0


@helper
def base64_in_place(start: int, end: int) -> int:
    """Decode the base64 text between two addresses onto itself; the end of the bytes, or 0 if it is not base64.

    The standard alphabet with padding, nothing else in it (RFC 4648, section 4).
    """
    if (end - start) & 3:
        return 0
    p = start
    out = start
    while p < end:
        a = whole(_SIXTY_FOUR[byte_at(p, 0)])
        b = whole(_SIXTY_FOUR[byte_at(p, 1)])
        c = whole(_SIXTY_FOUR[byte_at(p, 2)])
        d = whole(_SIXTY_FOUR[byte_at(p, 3)])
        p += 4
        pads = whole(d == 64) + whole(c == 64)
        if a > 63 or b > 63 or c > 64 or d > 64 or (c == 64 and d != 64) or (pads and p < end):
            return 0
        put_byte(out, (a << 2 | b >> 4) & 255)
        if pads < 2:
            put_byte(out + 1, (b << 4 | c >> 2) & 255)
        if pads < 1:
            put_byte(out + 2, (c << 6 | d) & 255)
        out += 3 - pads
    return out
