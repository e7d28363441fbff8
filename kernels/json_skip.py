"""JSON values that nobody needs: read past them, and refuse all that is not JSON.

Same conventions as ``json_text``.
"""

from __future__ import annotations

from windrow.kernels.json_numbers import skip_number
from windrow.kernels.json_simd import byte_at, fail, half_at, helper, is_number, put_byte
from windrow.kernels.json_text import (
    CUT_OFF,
    TOO_DEEP,
    WANT_COLON,
    WANT_COMMA,
    WANT_KEY,
    WANT_VALUE,
    skip_space,
    skip_string,
)

# "true", "fals" and "null" as they lie in memory
TRUE, FALS, NULL_TEXT = 0x65757274, 0x736C6166, 0x6C6C756E


@helper
def skip_key(p: int, end: int) -> int:
    """From the opening quote of a key to the value behind the colon."""
    if p >= end or byte_at(p, 0) != 34:
        return fail(p, WANT_KEY)
    p = skip_string(p + 1, end)
    if p < 0:
        return p
    p = skip_space(p, end)
    if p >= end or byte_at(p, 0) != 58:
        return fail(p, WANT_COLON)
    return skip_space(p + 1, end)


@helper
def _skip_scalar(p: int, end: int) -> int:
    """Behind the string, number or literal at `p`; what follows a literal is the caller's to check."""
    c = byte_at(p, 0)
    if c == 34:
        return skip_string(p + 1, end)
    if is_number(c):
        return skip_number(p, end)
    word = half_at(p, 0)
    if word == TRUE or word == NULL_TEXT:
        return p + 4
    if word == FALS and byte_at(p, 4) == 101:
        return p + 5
    return fail(p, WANT_VALUE)


@helper
def _skip_nested(p: int, end: int, depth: int, limit: int, stack: int) -> int:
    """Behind the list or object at `p`; `stack` has a byte for each level, the bracket that opened it."""
    level = depth
    while True:
        # a value starts at p
        if p >= end:
            return fail(p, CUT_OFF)
        c = byte_at(p, 0)
        if c == 123 or c == 91:
            level += 1
            if level > limit:
                return fail(p, TOO_DEEP)
            put_byte(stack + level, c)
            p = skip_space(p + 1, end)
            if byte_at(p, 0) != c + 2 or p >= end:
                if c == 123:
                    p = skip_key(p, end)
                    if p < 0:
                        return p
                continue
        else:
            p = _skip_scalar(p, end)
            if p < 0:
                return p
            p = skip_space(p, end)
        # a value is over: close what closes here
        while p < end and byte_at(p, 0) == byte_at(stack, level) + 2:
            p += 1
            level -= 1
            if level == depth:
                return p
            p = skip_space(p, end)
        if p >= end:
            return fail(p, CUT_OFF)
        if byte_at(p, 0) != 44:
            return fail(p, WANT_COMMA)
        p = skip_space(p + 1, end)
        if byte_at(stack, level) == 123:
            p = skip_key(p, end)
            if p < 0:
                return p


@helper
def skip_value(p: int, end: int, depth: int, limit: int, stack: int) -> int:
    """Behind the value at `p`, which lies inside `depth` lists and objects; `limit` of them are allowed."""
    c = byte_at(p, 0)
    if c == 123 or c == 91:
        return _skip_nested(p, end, depth, limit, stack)
    return _skip_scalar(p, end)
