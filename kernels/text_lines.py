"""Where the records of a text end: at every newline, or at every newline outside quotes (CSV, RFC 4180)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from windrow.kernels._bytes import address, equals32, get8, trailing_zeros
from windrow.kernels._compile import device, kernel
from windrow.kernels._types import I64, R_U8, W_I64

#: States of a CSV text: before a field, in a field without quotes, inside quotes, behind a quote that was inside.
FIELD_START, PLAIN, QUOTED, QUOTE_IN_QUOTED = range(4)

_NEWLINE = np.uint8(10)


@device
def _next_state(state, byte, quote, delimiter):  # type: ignore[no-untyped-def]
    """One byte of CSV. A quote opens only where a field starts; anything may follow a closing one."""
    if state == QUOTED:
        return QUOTE_IN_QUOTED if byte == quote else QUOTED
    if byte == quote and state != PLAIN:
        return QUOTED
    return FIELD_START if byte in (delimiter, _NEWLINE) else PLAIN


@kernel(I64(R_U8, I64, I64, W_I64, W_I64))
def record_ends(
    data: npt.NDArray[np.uint8],
    quote: int,
    delimiter: int,
    state: npt.NDArray[np.int64],
    ends: npt.NDArray[np.int64],
) -> int:
    """Positions behind the newlines that end a record, at most as many as `ends` has room for; returns their number.

    `quote` and `delimiter` are bytes; with a negative `quote` every newline ends a record. ``state[0]``, 0 before a
    record, is taken over from the bytes before, and is left for the bytes after when `data` was read to its end.
    """
    base, size, count = address(data), data.size, 0
    quote_byte, delimiter_byte = np.uint8(max(quote, 0)), np.uint8(max(delimiter, 0))
    inside = state[0]
    at = 0
    while at < size and count < ends.size:
        block = min(size - at, 32)
        if block == 32 and (quote < 0 or equals32(base + at, quote_byte) == 0):
            if quote < 0 or inside != QUOTED:
                mask = equals32(base + at, _NEWLINE)
                while mask != 0 and count < ends.size:
                    ends[count] = at + trailing_zeros(mask) + 1
                    count += 1
                    mask &= mask - np.uint64(1)
                last = get8(base + at + 31)
                inside = FIELD_START if last in (delimiter_byte, _NEWLINE) else PLAIN
        else:
            for i in range(at, at + block):
                byte = get8(base + i)
                if quote >= 0:
                    inside = _next_state(inside, byte, quote_byte, delimiter_byte)
                if byte == _NEWLINE and (quote < 0 or inside == FIELD_START) and count < ends.size:
                    ends[count] = i + 1
                    count += 1
        at += block
    state[0] = inside
    return count
