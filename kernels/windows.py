"""Event times to panes, and the index of groups that are found by a pair of numbers.

A *pane* is the smallest slice of event time that windows are made of; pane p covers ``[p * width, (p + 1) * width)``
after the grid's offset. A *code* is ``pane * windows_per_pane + skip``, where skip is how many of the pane's windows,
from the earliest on, were closed for the row already: a row that comes late for one window can be in time for the next.
"""

from __future__ import annotations

import numpy as np

from windrow.kernels._compile import inline, kernel
from windrow.kernels._types import I64, NONE, R_I32, R_I64, W_I32, W_I64

#: The code of a row whose windows are all closed.
LATE = -(2**63)
#: The code of a row that falls into no window (hopping with gaps between the windows).
OUTSIDE = LATE + 1


@kernel(NONE(R_I64, W_I64))
def least_and_most(values, bounds):  # type: ignore[no-untyped-def]
    """Smallest and largest of some values (at least one) into ``bounds``: one pass, twice as fast as two of numpy's."""
    least = values[0]
    most = values[0]
    for i in range(values.size):
        least = min(least, values[i])
        most = max(most, values[i])
    bounds[0] = least
    bounds[1] = most


@inline
def _code(unskipped, count, first_end, limit, step):  # type: ignore[no-untyped-def]
    """The code of a row in a pane of `count` windows, the first of which ends at `first_end`."""
    skip = (limit - first_end) // step + 1 if first_end <= limit else 0
    if count <= 0:
        return OUTSIDE
    return unskipped + skip if skip < count else LATE


@kernel(I64(R_I64, R_I64, I64, I64, I64, I64, I64, I64, I64, W_I64))
def pane_codes(times, watermarks, closed, offset, width, size, slide, per_pane, cumulate, codes):  # type: ignore[no-untyped-def]
    """The code of every row; returns how many are `LATE`.

    A window is closed for a row when its end is at or before the row's watermark (`watermarks`, may be empty: none) or
    `closed`. Windows of hopping (``cumulate == 0``) have the number k of ``[k * slide, k * slide + size)``; windows of
    cumulate the number of their last pane. All times are int64 microseconds.
    """
    late = 0
    step, span = (width, width) if cumulate != 0 else (slide, size)
    own = watermarks.size != 0
    pane, pane_start, pane_end = 0, 1, 0
    first_end, count, code = 0, 0, OUTSIDE
    for i in range(times.size):
        time = times[i] - offset
        if time < pane_start or time >= pane_end:  # rows that follow one another are mostly of one pane
            pane = time // width
            pane_start = pane * width
            pane_end = pane_start + width
            if cumulate != 0:
                panes = size // width
                first = pane
                count = panes - (pane - pane // panes * panes)
            else:
                first = -((size - pane_end) // slide)
                count = pane_start // slide - first + 1
            first_end = first * step + span + offset
            code = _code(pane * per_pane, count, first_end, closed, step)
        if own:
            code = _code(pane * per_pane, count, first_end, max(closed, watermarks[i]), step)
        codes[i] = code
        late += code == LATE
    return late


@kernel(NONE(R_I64, I64, I64, I64, I64, W_I64))
def open_codes(times, start, first, width, per_pane, codes):  # type: ignore[no-untyped-def]
    """The codes of rows none of whose windows is closed, none before pane `first`, which begins at `start`.

    Without a branch and a division: a quotient of floats is at most one off, if times are less than 2**52 us apart.
    """
    share = 1.0 / width
    for i in range(times.size):
        time = times[i] - start
        pane = np.int64(np.float64(time) * share)
        rest = time - pane * width
        pane += np.int64(rest >= width) - np.int64(rest < 0)
        codes[i] = (first + pane) * per_pane


@inline
def _slot(code, number, mask):  # type: ignore[no-untyped-def]
    mixed = np.uint64(code) * np.uint64(0x9E3779B97F4A7C15) ^ np.uint64(number) * np.uint64(0xC2B2AE3D27D4EB4F)
    mixed ^= mixed >> np.uint64(32)
    mixed *= np.uint64(0xD6E8FEB86659FD93)
    return np.int64((mixed ^ (mixed >> np.uint64(32))) & mask)


@kernel(I64(R_I64, R_I32, I64, W_I32, W_I64, W_I32, W_I32))
def pair_rows(codes, numbers, size, slots, row_codes, row_numbers, rows):  # type: ignore[no-untyped-def]
    """Row of each pair (code, number) in an open-addressing index; pairs not there yet are appended.

    `slots` (-1: free; its length a power of two, at least twice the rows) leads to rows, of which there are `size`.
    A negative number gives row -1. Returns the new number of rows.
    """
    mask = np.uint64(slots.size - 1)
    for i in range(codes.size):
        number = numbers[i]
        if number < 0:
            rows[i] = -1
            continue
        code = codes[i]
        slot = _slot(code, number, mask)
        while True:
            row = slots[slot]
            if row < 0:
                row = np.int32(size)
                slots[slot] = row
                row_codes[row] = code
                row_numbers[row] = number
                size += 1
                break
            if row_codes[row] == code and row_numbers[row] == number:
                break
            slot = np.int64((np.uint64(slot) + np.uint64(1)) & mask)
        rows[i] = row
    return size


@kernel(NONE(R_I64, R_I32, W_I32))
def pair_index(row_codes, row_numbers, slots):  # type: ignore[no-untyped-def]
    """Fill empty `slots` with rows of different pairs, as `pair_rows` would have."""
    mask = np.uint64(slots.size - 1)
    for row in range(row_codes.size):
        slot = _slot(row_codes[row], row_numbers[row], mask)
        while slots[slot] >= 0:
            slot = np.int64((np.uint64(slot) + np.uint64(1)) & mask)
        slots[slot] = row


@kernel(NONE(R_I32, I64, W_I64, W_I64))
def number_windows(ids, per_window, seen, numbers):  # type: ignore[no-untyped-def]
    """For windows of `per_window` events of a key: the window number of each row; `seen` counts the events of a key."""
    for i in range(ids.size):
        g = ids[i]
        if g < 0:
            numbers[i] = -1
            continue
        numbers[i] = seen[g] // per_window
        seen[g] += 1
