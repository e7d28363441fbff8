"""Whether rows are the same, where their hashes are: nothing is taken back on the word of a hash alone.

Null is equal to null, NaN to NaN, -0.0 to 0.0, as for keys.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from windrow.batch import Int32s, validity
from windrow.state.keys.hashes import as_text
from windrow.state.keys.local import group_rows
from windrow.state.keys.words import kind_of, words


def all_same(left: Sequence[pa.Array], right: Sequence[pa.Array]) -> bool:
    """Whether each row of some columns is the row of the others at the same place."""
    return all(_same(one, other) for one, other in zip(left, right, strict=True))


def _same(left: pa.Array, right: pa.Array) -> bool:
    if not pa.types.is_floating(left.type):
        return bool(left.equals(right if right.type == left.type else right.cast(left.type)))
    mine, theirs = validity(left), validity(right)
    ones, others = words(left), words(right)
    if len(mine) or len(theirs):
        there, other = (valid != 0 if len(valid) else np.ones(len(left), np.bool_) for valid in (mine, theirs))
        if not np.array_equal(there, other):
            return False
        ones, others = ones[there], others[there]
    return bool(np.array_equal(ones, others))


def exact_ids(columns: Sequence[pa.Array]) -> Int32s:
    """A number a row, from 0 on: equal rows, and only those, have the same."""
    grouped = group_rows([column if kind_of(column.type) is not None else as_text(column) for column in columns])
    assert grouped is not None  # no limit was given
    return grouped[0]
