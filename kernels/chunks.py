"""Rows gathered from columns that lie in several chunks, by the addresses of the chunks' buffers.

A row is a chunk's number and its place in it. Whoever calls these has checked both, and keeps the chunks alive.
"""

from __future__ import annotations

import numpy as np

from windrow.kernels._bytes import address, copy8, copy_run, get8, get32, get64, put8, put16, put32, put64
from windrow.kernels._compile import kernel
from windrow.kernels._types import I64, NONE, R_I32, R_I64, W_I32, W_I64, W_U8


@kernel(NONE(R_I64, R_I64, W_I32, W_I64))
def locate_rows(rows, starts, chunks, places):  # type: ignore[no-untyped-def]
    """The chunk of each row number and its place there; chunk c begins with row ``starts[c]``, in ascending order.

    The last chunk found is tried first: rows that were stored together are often wanted together.
    """
    last = starts.shape[0] - 1
    chunk = np.int64(0)
    for i in range(rows.shape[0]):
        row = rows[i]
        if row < starts[chunk] or (chunk < last and row >= starts[chunk + 1]):
            low, high = np.int64(0), last
            while low < high:
                middle = (low + high + 1) >> 1
                if starts[middle] <= row:
                    low = middle
                else:
                    high = middle - 1
            chunk = low
        chunks[i] = np.int32(chunk)
        places[i] = row - starts[chunk]


@kernel(NONE(R_I64, R_I32, R_I64, W_I64))
def follow_numbers(addresses, chunks, places, followed):  # type: ignore[no-untyped-def]
    """The row number (int32) that chunk c has at each place, from its address on; the place itself where that is 0."""
    for i in range(chunks.shape[0]):
        at = addresses[np.uint64(chunks[i])]
        place = places[i]
        followed[i] = place if at == 0 else np.int64(get32(at + 4 * place))


@kernel(NONE(R_I64, R_I32, R_I64, I64, W_U8))
def gather_fixed(addresses, chunks, places, width, out):  # type: ignore[no-untyped-def]
    """Values of 1, 2, 4, 8 or 16 bytes, one after the other."""
    target = address(out)
    n = chunks.shape[0]
    if width == 8:
        for i in range(n):
            put64(target + 8 * i, get64(addresses[np.uint64(chunks[i])] + 8 * places[i]))
    elif width == 4:
        for i in range(n):
            put32(target + 4 * i, get32(addresses[np.uint64(chunks[i])] + 4 * places[i]))
    elif width == 16:
        for i in range(n):
            source = addresses[np.uint64(chunks[i])] + 16 * places[i]
            copy8(source, target + 16 * i)
            copy8(source + 8, target + 16 * i + 8)
    elif width == 2:
        for i in range(n):
            source = addresses[np.uint64(chunks[i])] + 2 * places[i]
            put16(target + 2 * i, np.uint16(np.uint16(get8(source)) | (np.uint16(get8(source + 1)) << np.uint16(8))))
    else:
        for i in range(n):
            put8(target + i, get8(addresses[np.uint64(chunks[i])] + places[i]))


@kernel(NONE(R_I64, R_I64, R_I32, R_I64, W_U8))
def gather_bits(addresses, shifts, chunks, places, out):  # type: ignore[no-untyped-def]
    """Bits as one byte each. The bits of chunk c begin ``shifts[c]`` after its address; with none all are 1."""
    for i in range(chunks.shape[0]):
        chunk = np.uint64(chunks[i])
        value = np.uint8(1)
        if addresses[chunk] != 0:
            bit = shifts[chunk] + places[i]
            value = (get8(addresses[chunk] + (bit >> 3)) >> np.uint8(bit & 7)) & np.uint8(1)
        out[i] = value


@kernel(I64(R_I64, R_I32, R_I64, I64, W_I64))
def gather_sizes(addresses, chunks, places, width, taken):  # type: ignore[no-untyped-def]
    """Where each string will begin, and the end; returns that. Offsets are of `width` bytes, 4 or 8."""
    total = np.int64(0)
    taken[0] = 0
    for i in range(chunks.shape[0]):
        at = addresses[np.uint64(chunks[i])] + width * places[i]
        if width == 4:
            total += np.int64(get32(at + 4)) - np.int64(get32(at))
        else:
            total += np.int64(get64(at + 8)) - np.int64(get64(at))
        taken[i + 1] = total
    return total


@kernel(NONE(R_I64, R_I64, R_I32, R_I64, I64, R_I64, W_U8))
def gather_strings(addresses, sources, chunks, places, width, taken, out):  # type: ignore[no-untyped-def]
    """The strings' bytes to where `gather_sizes` has put them; `sources` are the addresses of the chunks' data."""
    target = address(out)
    for i in range(chunks.shape[0]):
        chunk = np.uint64(chunks[i])
        at = addresses[chunk] + width * places[i]
        start = np.int64(get32(at)) if width == 4 else np.int64(get64(at))
        copy_run(sources[chunk] + start, target + taken[i], taken[i + 1] - taken[i])
