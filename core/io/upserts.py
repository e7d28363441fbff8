"""Changes of a Table as records: the last one of each key in an epoch counts, and one that goes has no value."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def last_of_each(keys: pa.Array) -> pa.Array:
    """The rows, ascending, after which no row with the same key comes."""
    table = pa.table({"key": keys, "row": np.arange(len(keys))})
    return table.group_by("key").aggregate([("row", "max")]).column("row_max").combine_chunks().sort()


def with_tombstones(values: pa.Array, weights: pa.Array) -> pa.Array:
    """The values, null where the weight is that of a row that goes."""
    return pc.if_else(pc.less(weights, 0), pa.scalar(None, values.type), values)
