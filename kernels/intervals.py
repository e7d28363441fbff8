"""Rows of keys in order of time, in intervals that a key's first row begins and that end a fixed time later."""

from __future__ import annotations

from windrow.kernels._compile import kernel
from windrow.kernels._types import I64, R_I32, R_I64, W_I64, W_U8

#: Which row of an interval is given.
FIRST, LAST, ALONE = 0, 1, 2


@kernel(I64(R_I32, R_I64, R_I64, I64, I64, W_I64, W_I64, W_U8, W_I64))
def pass_intervals(ids, times, rows, within, keep, ends, last, alone, given):  # type: ignore[no-untyped-def]
    """Put rows, ascending in time, into the intervals of their keys; row i is called ``rows[i]``.

    Of each key: `ends` (the end of the interval it is in), `last` (its last row in it, -1: none is held) and `alone` (1
    while that is the only one). A row at or after the end begins the next interval; the row of the interval before is
    then written to `given`, if it is to be: with `keep` `LAST` the last one, with `ALONE` the only one. With `FIRST` it
    is the row itself, and none is held. Returns how many rows were written; there is room for one a row.
    """
    count = 0
    for i in range(ids.size):
        g = ids[i]
        if times[i] >= ends[g]:
            if keep == FIRST:
                given[count] = rows[i]
                count += 1
            elif last[g] >= 0 and (keep == LAST or alone[g] == 1):
                given[count] = last[g]
                count += 1
            ends[g] = times[i] + within
            alone[g] = 1
        else:
            alone[g] = 0
        if keep != FIRST:
            last[g] = rows[i]
    return count
