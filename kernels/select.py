"""Masks to row numbers."""

from __future__ import annotations

from windrow.kernels._compile import kernel
from windrow.kernels._types import I64, R_U8, W_I64


@kernel(I64(R_U8, W_I64))
def rows_where(mask, rows):  # type: ignore[no-untyped-def]
    """The numbers of the rows whose mask is 1 (each is 0 or 1); returns how many there are.

    No branch: each row number is written, and the next one overwrites it unless it counts. `rows` is as long as `mask`.
    """
    found = 0
    for i in range(mask.shape[0]):
        rows[found] = i
        found += mask[i]
    return found
