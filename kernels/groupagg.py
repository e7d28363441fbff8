"""Grouped aggregates: one pass over a column, adding each value to the accumulator of its group.

Every kernel takes ``ids`` (group of each row; negative: skip the row) and ``valid`` (see the package). Accumulators are
plain arrays indexed by group, so that a partial result is merged by the same kernel that adds rows.
"""

from __future__ import annotations

import numpy as np

from windrow.kernels._compile import inline, kernel
from windrow.kernels._types import B1, I64, NONE, R_F64, R_I32, R_I64, R_U8, U8, W_F64, W_I32, W_I64, W_U8


@kernel(NONE(R_I32, R_U8, W_I64))
def count_values(ids, valid, counts):  # type: ignore[no-untyped-def]
    """``counts[id] += 1`` for every valid row."""
    if valid.size == 0:
        for i in range(ids.size):
            if ids[i] >= 0:
                counts[ids[i]] += 1
    else:
        for i in range(ids.size):
            if ids[i] >= 0:
                counts[ids[i]] += valid[i] != 0


@kernel(NONE(R_I32, R_I64, R_U8, W_I64))
def sum_int(ids, values, valid, sums):  # type: ignore[no-untyped-def]
    """``sums[id] += value``; wraps on overflow: the caller knows a bound that excludes it."""
    if valid.size == 0:
        for i in range(ids.size):
            if ids[i] >= 0:
                sums[ids[i]] += values[i]
    else:
        for i in range(ids.size):
            if ids[i] >= 0 and valid[i]:
                sums[ids[i]] += values[i]


@kernel(I64(R_I32, R_I64, R_I64, R_U8, W_I64, W_I64))
def sum_wide(ids, lows, highs, valid, sum_lows, sum_highs):  # type: ignore[no-untyped-def]
    """128-bit sums: ``(sum_highs, sum_lows)[id] += (high, low)``, two's complement, low limbs unsigned in int64.

    An empty `highs` means that `lows` are plain int64 values. Returns how often a sum left the 128 bits.
    """
    overflows = 0
    for i in range(ids.size):
        g = ids[i]
        if g < 0 or (valid.size != 0 and valid[i] == 0):
            continue
        low = lows[i]
        high = highs[i] if highs.size != 0 else low >> 63
        total = np.uint64(sum_lows[g]) + np.uint64(low)
        carry = np.int64(1) if total < np.uint64(low) else np.int64(0)
        before = sum_highs[g]
        after = before + high + carry
        overflows += ((before ^ after) & (high ^ after)) < 0
        sum_lows[g] = np.int64(total)
        sum_highs[g] = after
    return overflows


@inline
def _two_sum_error(a, b, total):  # type: ignore[no-untyped-def]
    """What rounding lost in ``total = a + b`` (Knuth, TAOCP 4.2.2, theorem B)."""
    part = total - a
    return (a - (total - part)) + (b - part)


@kernel(NONE(R_I32, R_F64, R_F64, R_U8, W_F64, W_F64))
def sum_float(ids, values, value_errors, valid, sums, errors):  # type: ignore[no-untyped-def]
    """Sums in double-double: ``sums + errors`` is right to about 100 bits, so that no order of adding shows.

    `value_errors` holds the low parts of values that are sums themselves, or is empty. What is not finite makes
    `errors` meaningless (NaN); then `sums` alone is the result.
    """
    for i in range(ids.size):
        g = ids[i]
        if g < 0 or (valid.size != 0 and valid[i] == 0):
            continue
        value = values[i]
        before = sums[g]
        total = before + value
        error = errors[g] + _two_sum_error(before, value, total)
        if value_errors.size != 0:
            error += value_errors[i]
        sums[g] = total
        errors[g] = error


@kernel(NONE(R_I32, R_F64, R_U8, W_F64, W_F64))
def sum_squares(ids, values, valid, sums, errors):  # type: ignore[no-untyped-def]
    """Sums of squares in double-double; the square itself is exact (Dekker 1971: split, multiply the halves)."""
    for i in range(ids.size):
        g = ids[i]
        if g < 0 or (valid.size != 0 and valid[i] == 0):
            continue
        value = values[i]
        square = value * value
        scaled = value * 134217729.0
        head = scaled - (scaled - value)
        tail = value - head
        square_error = ((head * head - square) + 2.0 * head * tail) + tail * tail
        before = sums[g]
        total = before + square
        errors[g] += _two_sum_error(before, square, total) + square_error
        sums[g] = total


@kernel(NONE(R_I32, R_I64, R_U8, B1, W_I64))
def extreme_int(ids, values, valid, largest, extremes):  # type: ignore[no-untyped-def]
    """The largest (or smallest) value of each group, starting from what `extremes` holds."""
    if valid.size != 0:
        for i in range(ids.size):
            g = ids[i]
            if g >= 0 and valid[i] and (values[i] > extremes[g]) == largest and values[i] != extremes[g]:
                extremes[g] = values[i]
    elif largest:
        for i in range(ids.size):
            if ids[i] >= 0:
                extremes[ids[i]] = max(extremes[ids[i]], values[i])
    else:
        for i in range(ids.size):
            if ids[i] >= 0:
                extremes[ids[i]] = min(extremes[ids[i]], values[i])


@kernel(NONE(R_I32, R_F64, R_U8, B1, W_F64))
def extreme_float(ids, values, valid, largest, extremes):  # type: ignore[no-untyped-def]
    """As `extreme_int`; NaN counts as larger than every number, as in PostgreSQL. Minima start from NaN."""
    for i in range(ids.size):
        g = ids[i]
        if g < 0 or (valid.size != 0 and valid[i] == 0):
            continue
        value = values[i]
        held = extremes[g]
        if largest:
            if value > held or value != value:  # noqa: PLR0124  (NaN is not equal to itself)
                extremes[g] = value
        elif value < held or held != held:  # noqa: PLR0124
            extremes[g] = value


@kernel(NONE(R_I32, R_I64, R_I64, R_I64, R_U8, B1, W_I64, W_I64, W_I64, W_U8))
def pick(ids, times, origins, values, valid, latest, held_times, held_origins, held_values, held):  # type: ignore[no-untyped-def]
    """The value of the earliest (or latest) row of each group by (time, origin).

    `held` is 1 where a group has a value already. Of rows with the same time and origin the first one given stays
    when looking for the earliest, the last one given when looking for the latest.
    """
    for i in range(ids.size):
        g = ids[i]
        if g < 0 or (valid.size != 0 and valid[i] == 0):
            continue
        take = held[g] == 0
        if not take:
            if times[i] != held_times[g]:
                take = (times[i] > held_times[g]) == latest
            elif origins[i] != held_origins[g]:
                take = (origins[i] > held_origins[g]) == latest
            else:
                take = latest
        if take:
            held_times[g] = times[i]
            held_origins[g] = origins[i]
            held_values[g] = values[i]
            held[g] = 1


@kernel(I64(R_I32, R_U8, U8, U8, W_U8, W_I32, I64))
def mark(ids, valid, bits, listed, flags, touched, touched_count):  # type: ignore[no-untyped-def]
    """Set `bits` in the flags of every group that has a valid row.

    Groups of which this sets the bit `listed` are appended to `touched`, which holds `touched_count` so far. Returns
    the new number of touched groups.
    """
    for i in range(ids.size):
        g = ids[i]
        if g < 0 or (valid.size != 0 and valid[i] == 0):
            continue
        held = flags[g]
        if (held & bits) != bits:
            if (listed & ~held) != 0:
                touched[touched_count] = g
                touched_count += 1
            flags[g] = held | bits
    return touched_count


@kernel(NONE(R_I32, R_I64, W_I64, W_I64, W_I64))
def count_sum_max(ids, values, counts, sums, maxima):  # type: ignore[no-untyped-def]
    """`count_values`, `sum_int` and `extreme_int` in one pass over a column without nulls, for the commonest query."""
    for i in range(ids.size):
        g = ids[i]
        if g < 0:
            continue
        value = values[i]
        counts[g] += 1
        sums[g] += value
        maxima[g] = max(maxima[g], value)
