"""What rows are ordered by as int64 words: the lesser, the earlier; null after everything else."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from windrow.batch import ORIGIN, Int64s, UInt64s, validity, view
from windrow.plan.rank import Rank
from windrow.state.keys.hashes import row_hashes
from windrow.state.keys.order import sortable


def width_of(rank: Rank) -> int:
    """How many words a row has."""
    return 2 * len(rank.order) + 1


def sort_words(rank: Rank, data: pa.RecordBatch) -> Int64s:
    """For each word of `width_of` its values: of each column whether it is null, and its value; then what tells rows
    apart that these do not."""
    made = np.zeros((width_of(rank), data.num_rows), np.int64)
    for at, order in enumerate(rank.order):
        column = data.column(order.column)
        made[2 * at + 1] = sortable(column, order.descending)
        valid = validity(column)
        if len(valid):
            made[2 * at] = valid == 0
    if rank.arrival:
        origins: Int64s = view(data.column(ORIGIN), np.int64)  # type: ignore[assignment]
        made[-1] = ~origins if rank.latest else origins
    else:
        hashes: UInt64s = row_hashes([data.column(name) for name, _ in rank.columns])
        made[-1] = hashes.view(np.int64)
    return made
