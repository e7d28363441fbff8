"""JSON strings: find the end, undo escapes, check UTF-8; and how these kernels report what is wrong.

Every function takes an address `p` and returns the address behind what it read, or a negative number made by `fail`.
`end` is where the document ends. Bytes behind it may be read (the next document's, or padding) but never decide what
is accepted: whoever moves past `end` is caught by the next check, at the latest where the document must be over.
"""

from __future__ import annotations

import numpy as np

from windrow.kernels.json_simd import (
    FAST_COMPRESS,
    bit_count,
    byte_at,
    copy_block,
    escape_masks,
    fail,
    first_bit,
    half_at,
    helper,
    put_byte,
    put_half,
    squeeze_block,
    text_masks,
    whole,
)

# What is wrong with a whole document ...
NO_VALUE, EMPTY, TOO_LONG, NOT_OBJECT, CUT_OFF, TRAILING, TOO_DEEP = 1, 2, 3, 4, 5, 6, 7
WANT_KEY, WANT_COLON, WANT_COMMA, WANT_VALUE = 8, 9, 10, 11
BAD_NUMBER, CONTROL, BAD_ESCAPE, LONE_SURROGATE, BAD_UTF8 = 12, 13, 14, 15, 16
# ... and with one field of it.
WRONG_TYPE, NOT_INTEGER, INT_RANGE, FLOAT_RANGE, BAD_TIME, TIME_RANGE = 32, 33, 34, 35, 36, 37
BAD_DATE, BAD_BASE64, BAD_DECIMAL, DECIMAL_SCALE, DECIMAL_RANGE, NOT_PARENT = 38, 39, 40, 41, 42, 43
MISSING, NULL = 44, 45
#: Not an error: the text area of a field has no room for this row.
GROW = 255

_LAST = np.uint64(1 << 63)
_ONE = np.uint64(1)
_NONE = np.uint64(0)

# What stands for the byte after a backslash; 255 for none (``u`` is read apart).
_SIMPLE = np.full(256, 255, np.uint8)
for _name, _meaning in zip(b'"\\/bfnrt', b'"\\/\b\f\n\r\t', strict=True):
    _SIMPLE[_name] = _meaning
# Value of a hexadecimal digit, 255 for none.
_HEX = np.full(256, 255, np.uint8)
for _digit in range(16):
    for _spelled in f"{_digit:x}{_digit:X}".encode():
        _HEX[_spelled] = _digit


@helper
def skip_space(p: int, end: int) -> int:
    """The next address from `p` on that holds no white space, or `end`."""
    while p < end:
        c = byte_at(p, 0)
        if c != 32 and c != 10 and c != 13 and c != 9:
            break
        p += 1
    return p


@helper
def _hex4(p: int) -> int:
    """Four hexadecimal digits, or a number over 65535."""
    high = whole(_HEX[byte_at(p, 0)]) << 12 | whole(_HEX[byte_at(p, 1)]) << 8
    low = whole(_HEX[byte_at(p, 2)]) << 4 | whole(_HEX[byte_at(p, 3)])
    if _HEX[byte_at(p, 1)] == 255 or _HEX[byte_at(p, 2)] == 255 or _HEX[byte_at(p, 3)] == 255:
        return 1 << 20
    return high | low


@helper
def read_escape(p: int) -> int:
    """The escape whose backslash lies before `p`: code point << 8 | bytes read from `p` on, or a `fail`."""
    c = byte_at(p, 0)
    simple = whole(_SIMPLE[c])
    if simple != 255:
        return simple << 8 | 1
    if c != 117:  # u
        return fail(p, BAD_ESCAPE)
    point = _hex4(p + 1)
    if point > 0xFFFF:
        return fail(p, BAD_ESCAPE)
    if point < 0xD800 or point > 0xDFFF:
        return point << 8 | 5
    if point > 0xDBFF or byte_at(p, 5) != 92 or byte_at(p, 6) != 117:
        return fail(p, LONE_SURROGATE)
    second = _hex4(p + 7)
    if second < 0xDC00 or second > 0xDFFF:
        return fail(p, LONE_SURROGATE)
    return (0x10000 + ((point - 0xD800) << 10) + (second - 0xDC00)) << 8 | 11


@helper
def _put_point(dst: int, point: int) -> int:
    """Write a code point as UTF-8; the address behind it."""
    if point < 0x80:
        put_byte(dst, point)
        return dst + 1
    if point < 0x800:
        put_byte(dst, 0xC0 | point >> 6)
        put_byte(dst + 1, 0x80 | (point & 63))
        return dst + 2
    if point < 0x10000:
        put_byte(dst, 0xE0 | point >> 12)
        put_byte(dst + 1, 0x80 | (point >> 6 & 63))
        put_byte(dst + 2, 0x80 | (point & 63))
        return dst + 3
    put_byte(dst, 0xF0 | point >> 18)
    put_byte(dst + 1, 0x80 | (point >> 12 & 63))
    put_byte(dst + 2, 0x80 | (point >> 6 & 63))
    put_byte(dst + 3, 0x80 | (point & 63))
    return dst + 4


@helper
def utf8_length(p: int) -> int:
    """Bytes of the well-formed UTF-8 sequence at `p`, whose first byte is over 127; 0 if it is not well-formed.

    Unicode 15, table 3-7: no overlong forms, no surrogates, nothing over U+10FFFF.
    """
    word = half_at(p, 0)
    if word & 0xC0E0 == 0x80C0:
        return 2 if word & 0x1E else 0
    if word & 0xC0C0F0 == 0x8080E0:
        point = (word & 15) << 12 | (word >> 8 & 63) << 6 | (word >> 16 & 63)
        return 3 if point >= 0x800 and (point < 0xD800 or point > 0xDFFF) else 0
    if word & 0xC0C0C0F8 == 0x808080F0:
        point = (word & 7) << 18 | (word >> 8 & 63) << 12 | (word >> 16 & 63) << 6
        return 4 if 0x10000 <= point <= 0x10FFFF else 0
    return 0


@helper
def _odd_text(p: int, end: int, dst: int) -> int:
    """A run of non-ASCII characters at `p`, copied to `dst` unless that is 0; fails at a control character."""
    if byte_at(p, 0) < 32:
        return fail(p, CONTROL)
    while p < end and byte_at(p, 0) > 127:
        length = utf8_length(p)
        if length == 0:
            return fail(p, BAD_UTF8)
        if dst:
            put_half(dst, half_at(p, 0))
            dst += length
        p += length
    return p


@helper
def skip_string(p: int, end: int) -> int:
    """Behind the closing quote of the string whose opening quote lies before `p`."""
    while p < end:
        quote, slash, odd = text_masks(p)
        escape, escaped = escape_masks(slash)
        closing = quote & ~escaped
        # an escape that lies across the block's end is looked at again in the next block
        stop = closing | odd | (escaped & ~(quote | slash)) | (escape & _LAST)
        if stop == _NONE:
            p += 64
            continue
        k = first_bit(stop)
        bit = stop & (~stop + _ONE)
        p += k
        if closing & bit:
            return p + 1 if p < end else fail(end, CUT_OFF)
        if p >= end:
            break
        if escaped & bit:
            read = read_escape(p)
            if read < 0:
                return read
            p += read & 255
        elif escape & bit == _NONE:
            p = _odd_text(p, end, whole(0))  # whole: a literal would compile another version
            if p < 0:
                return p
    return fail(end, CUT_OFF)


@helper
def _copy_squeezed(p: int, end: int, dst: int) -> tuple[int, int]:
    """`copy_string` where bytes can be squeezed out of a block: escaped quotes and backslashes cost no branch."""
    while p < end:
        quote, slash, odd = text_masks(p)
        escape, escaped = escape_masks(slash)
        closing = quote & ~escaped
        stop = closing | odd | (escaped & ~(quote | slash)) | (escape & _LAST)
        keep = ~stop & (stop - _ONE) & ~escape
        squeeze_block(dst, p, keep)
        dst += bit_count(keep)
        if stop == _NONE:
            p += 64
            continue
        bit = stop & (~stop + _ONE)
        p += first_bit(stop)
        if closing & bit:
            return (p + 1 if p < end else fail(end, CUT_OFF)), dst
        if p >= end:
            break
        if escaped & bit:
            read = read_escape(p)
            if read < 0:
                return read, dst
            p += read & 255
            dst = _put_point(dst, read >> 8)
        elif escape & bit == _NONE:
            after = _odd_text(p, end, dst)
            if after < 0:
                return after, dst
            dst += after - p
            p = after
    return fail(end, CUT_OFF), dst


@helper
def _copy_stepwise(p: int, end: int, dst: int) -> tuple[int, int]:
    """`copy_string` for every machine: copies a block, then stops at each escape."""
    while p < end:
        quote, slash, odd = text_masks(p)
        copy_block(dst, p)
        stop = quote | slash | odd
        if stop == _NONE:
            p += 64
            dst += 64
            continue
        k = first_bit(stop)
        bit = stop & (~stop + _ONE)
        p += k
        dst += k
        if quote & bit:
            return (p + 1 if p < end else fail(end, CUT_OFF)), dst
        if p >= end:
            break
        if slash & bit:
            read = read_escape(p + 1)
            if read < 0:
                return read, dst
            p += 1 + (read & 255)
            dst = _put_point(dst, read >> 8)
        else:
            after = _odd_text(p, end, dst)
            if after < 0:
                return after, dst
            dst += after - p
            p = after
    return fail(end, CUT_OFF), dst


#: ``(p, end, dst) -> (p, dst)``: undo the escapes of the string at `p` into `dst`, where the rest of the document
#: plus 64 bytes must have room; the addresses behind the closing quote and behind the last byte written.
copy_string = _copy_squeezed if FAST_COMPRESS else _copy_stepwise


@helper
def copy_bytes(dst: int, source: int, count: int) -> None:
    """Copy in blocks: up to 63 bytes more are read and written."""
    done = 0
    while done < count:
        copy_block(dst + done, source + done)
        done += 64
