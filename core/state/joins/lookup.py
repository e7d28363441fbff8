"""A table that does not change while it is looked at: its rows by key."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pyarrow as pa

from windrow.arrow_types import to_arrow_type
from windrow.batch import Int32s, Int64s, UInt64s, validity
from windrow.errors import StateError
from windrow.plan.join import RIGHT, Join
from windrow.state.joins.side import ALONE, PAIRS_AT_ONCE, SideState
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
            self._side.add(batch, ids, _NONE, None, _NO_HASHES)
        # ids are given in order of first appearance: when no key is there twice, a key's id is its row
        self._unique = len(self._keys) == self._side.end
        if not self._unique:
            self._side.link(0, self._side.end, len(self._keys))
        self._keys.settle()

    def pairs(self, keys: list[pa.Array]) -> Iterator[tuple[Int64s, Int64s]]:
        """Pairs (row of `keys`, row here) with equal keys, in bounded pieces, the first in ascending order."""
        with self._lock:
            ids = self._keys.find(keys)
        there = _keyed(keys)
        if not there.all():
            ids[~there] = ALONE
        return _found(ids) if self._unique else self._side.probe(ids, _NONE, 0, 0)

    def take(self, names: list[str], rows: Int64s) -> list[pa.Array]:
        return self._side.store.take(names, rows)


def _found(ids: Int32s) -> Iterator[tuple[Int64s, Int64s]]:
    """Pairs of a place and the row whose number is there, where one is."""
    places = np.flatnonzero(ids >= 0)
    for start in range(0, len(places), PAIRS_AT_ONCE):
        some = places[start : start + PAIRS_AT_ONCE]
        yield some, ids[some].astype(np.int64)


def _keyed(keys: list[pa.Array]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    there = np.ones(len(keys[0]), np.bool_)
    for column in keys:
        if column.null_count:
            there &= validity(column) != 0
    return there
