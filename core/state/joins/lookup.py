"""A table that does not change while it is looked at: its rows by key."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from windrow.arrow_types import to_arrow_type
from windrow.batch import Int64s, UInt64s, validity
from windrow.errors import StateError
from windrow.plan.join import RIGHT, Join
from windrow.state.joins.side import ALONE, SideState
from windrow.state.keys.table import KeyTable

_NONE: Int64s = np.empty(0, np.int64)
_NO_HASHES: UInt64s = np.empty(0, np.uint64)


class LookupTable:
    """Side 1 of a join, all of it known. May be asked by several threads."""

    def __init__(self, join: Join, rows: pa.Table) -> None:
        side = join.sides[RIGHT]
        missing = [name for name, _ in side.columns if name not in rows.schema.names]
        if missing:
            raise StateError(f"the table to look up has no column {', '.join(missing)} any more")
        schema = pa.schema([(name, to_arrow_type(type_)) for name, type_ in side.columns])
        self._side = SideState(schema, timed=False, bounded=False, hashed=False, counted=False)
        self._keys = KeyTable(join.key_types, expected=rows.num_rows)
        self._lock = threading.Lock()
        for batch in rows.select(schema.names).cast(schema).combine_chunks().to_batches():
            keys = [batch.column(name) for name in side.keys]
            ids = self._keys.ids(keys)
            ids[~_keyed(keys)] = ALONE
            first = self._side.add(batch, ids, _NONE, None, _NO_HASHES)
            self._side.link(first, self._side.end, len(self._keys))
        self._keys.settle()

    def pairs(self, keys: list[pa.Array]) -> Iterator[tuple[Int64s, Int64s]]:
        """Pairs (row of `keys`, row here) with equal keys, in bounded pieces, the first in ascending order."""
        with self._lock:
            ids = self._keys.find(keys)
        there = _keyed(keys)
        if not there.all():
            ids[~there] = ALONE
        return self._side.probe(ids, _NONE, 0, 0)

    def take(self, names: list[str], rows: Int64s) -> list[pa.Array]:
        return self._side.store.take(names, rows)


def _keyed(keys: list[pa.Array]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    there = np.ones(len(keys[0]), np.bool_)
    for column in keys:
        if column.null_count:
            there &= validity(column) != 0
    return there
